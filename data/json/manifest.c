/* SPDX-License-Identifier: Apache-2.0 */
#include "data/json/manifest.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* The last line, the same length for every CRC. */
#define TRAILER_FORMAT ",\n\"self_crc32\":\"%08" PRIx32 "\"}\n"
enum { TRAILER_BYTES = 27, CRC_TEXT_BYTES = 9 };

static uint32_t crc_of_text(const char *text, size_t n)
{
    return (uint32_t)crc32_z(crc32(0, NULL, 0), (const unsigned char *)text, n);
}

int lv_manifest_write(const char *path, const cJSON *root)
{
    LV_CHECK(cJSON_IsObject(root) && root->child, "a manifest is an object with members");
    char *body = lv_json_print(root);
    size_t n = strlen(body) - 1; /* its closing brace, which is part of the trailer */
    char *text = lv_path("%.*s" TRAILER_FORMAT, (int)n, body, crc_of_text(body, n));
    int rc = lv_file_write(path, text, strlen(text));
    free(text);
    free(body);
    return rc;
}

int lv_manifest_read(cJSON **out, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    char trailer[TRAILER_BYTES + 1];
    int rc = lv_file_read(&text, &n, path);
    if (rc < 0) {
        return rc;
    }
    bool whole = n > TRAILER_BYTES;
    if (whole) {
        snprintf(trailer, sizeof trailer, TRAILER_FORMAT, crc_of_text(text, n - TRAILER_BYTES));
        whole = memcmp(text + n - TRAILER_BYTES, trailer, TRAILER_BYTES) == 0;
    }
    rc = whole ? lv_json_parse(out, text, n)
               : lv_fail(LV_ERR_FORMAT, "damaged or cut short: its checksum does not fit");
    free(text);
    return rc < 0 ? lv_fail_within("%s", path) : rc;
}

int lv_manifest_add_entry(cJSON *root, const char *name, int64_t n_bytes, uint32_t crc)
{
    char crc_text[CRC_TEXT_BYTES];
    cJSON *files = cJSON_GetObjectItemCaseSensitive(root, "files");
    if (!files) {
        files = cJSON_AddObjectToObject(root, "files");
    }
    cJSON *entry = cJSON_AddObjectToObject(files, name);
    snprintf(crc_text, sizeof crc_text, "%08" PRIx32, crc);
    if (!cJSON_AddNumberToObject(entry, "bytes", (double)n_bytes) ||
        !cJSON_AddStringToObject(entry, "crc32", crc_text)) {
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    return LV_OK;
}

int lv_manifest_add_file(cJSON *root, const char *directory, const char *name)
{
    uint32_t crc = 0;
    int64_t n_bytes = 0;
    char *path = lv_path("%s/%s", directory, name);
    int rc = lv_file_crc32(&crc, &n_bytes, path);
    free(path);
    return rc < 0 ? rc : lv_manifest_add_entry(root, name, n_bytes, crc);
}

static int check_hex(const char *crc)
{
    return strlen(crc) == CRC_TEXT_BYTES - 1 && strspn(crc, "0123456789abcdef") == strlen(crc)
               ? LV_OK
               : lv_fail(LV_ERR_FORMAT, "\"crc32\": expected 8 hexadecimal digits");
}

static int check_file(const cJSON *entry, const char *directory)
{
    int64_t n_bytes = 0, want_bytes = 0;
    uint32_t crc = 0;
    const char *want_crc = NULL;
    char crc_text[CRC_TEXT_BYTES];
    if (lv_json_int(entry, "bytes", true, &want_bytes) < 0 ||
        lv_json_string(entry, "crc32", true, &want_crc) < 0 || check_hex(want_crc) < 0) {
        return lv_fail_within("%s: manifest entry \"%s\"", directory, entry->string);
    }
    char *path = lv_path("%s/%s", directory, entry->string);
    int rc = lv_file_crc32(&crc, &n_bytes, path);
    snprintf(crc_text, sizeof crc_text, "%08" PRIx32, crc);
    if (rc == LV_OK && n_bytes != want_bytes) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: %" PRId64 " bytes, the manifest says %" PRId64, path,
                     n_bytes, want_bytes);
    } else if (rc == LV_OK && strcmp(crc_text, want_crc) != 0) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: damaged: CRC-32 %s, the manifest says %s", path, crc_text,
                     want_crc);
    }
    free(path);
    return rc;
}

int lv_manifest_check_file(const cJSON *root, const char *directory, const char *name)
{
    const cJSON *entry = lv_json_find(lv_json_find(root, "files"), name);
    return entry ? check_file(entry, directory)
                 : lv_fail(LV_ERR_FORMAT, "%s: the manifest does not list %s", directory, name);
}

int lv_manifest_check_files(const cJSON *root, const char *directory,
                            void (*progress)(int64_t done_bytes, int64_t all_bytes))
{
    const cJSON *files = lv_json_find(root, "files");
    const cJSON *entry;
    int64_t all_bytes = 0, done_bytes = 0;
    if (!cJSON_IsObject(files)) {
        return lv_fail(LV_ERR_FORMAT, "%s: the manifest lists no files", directory);
    }
    cJSON_ArrayForEach (entry, files) {
        int64_t n_bytes = 0;
        if (lv_json_int(entry, "bytes", true, &n_bytes) < 0 || n_bytes < 0 ||
            __builtin_add_overflow(all_bytes, n_bytes, &all_bytes)) {
            lv_fail(LV_ERR_FORMAT, "impossible \"bytes\"");
            return lv_fail_within("%s: manifest entry \"%s\"", directory, entry->string);
        }
    }
    cJSON_ArrayForEach (entry, files) {
        int64_t n_bytes = 0;
        int rc = check_file(entry, directory);
        if (rc < 0) {
            return rc;
        }
        lv_json_int(entry, "bytes", true, &n_bytes);
        done_bytes += n_bytes;
        if (progress) {
            progress(done_bytes, all_bytes);
        }
    }
    return LV_OK;
}
