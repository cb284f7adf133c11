/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pack_source.h"

#include "autograd/error.h"
#include "data/file.h"
#include "data/json.h"

#include <stdlib.h>
#include <zlib.h>

struct lv_pack_source {
    cJSON *root;
    int64_t n_records, n_bytes;
    uint32_t crc32;
    int64_t index;     /* of next */
    const cJSON *next; /* NULL behind the last */
};

int lv_pack_source_open(lv_pack_source **out, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    cJSON *root = NULL;
    int rc = lv_file_read(&text, &n, path);
    if (rc < 0) {
        return rc;
    }
    uint32_t crc = (uint32_t)crc32_z(0, (const unsigned char *)text, n);
    rc = lv_json_parse(&root, text, n);
    free(text);
    if (rc == LV_OK && !cJSON_IsArray(root)) {
        rc = lv_fail(LV_ERR_FORMAT, "expected an array of samples, found %s", lv_json_kind(root));
    }
    lv_pack_source *source = rc == LV_OK ? malloc(sizeof *source) : NULL;
    if (rc == LV_OK && !source) {
        rc = lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    if (rc < 0) {
        cJSON_Delete(root);
        return lv_fail_within("%s", path);
    }
    *source = (lv_pack_source){.root = root,
                               .n_records = cJSON_GetArraySize(root),
                               .n_bytes = (int64_t)n,
                               .crc32 = crc,
                               .next = root->child};
    *out = source;
    return LV_OK;
}

void lv_pack_source_close(lv_pack_source **source)
{
    if (*source) {
        cJSON_Delete((*source)->root);
        free(*source);
    }
    *source = NULL;
}

int64_t lv_pack_source_n_records(const lv_pack_source *source)
{
    return source->n_records;
}

int64_t lv_pack_source_n_bytes(const lv_pack_source *source)
{
    return source->n_bytes;
}

uint32_t lv_pack_source_crc32(const lv_pack_source *source)
{
    return source->crc32;
}

void lv_pack_source_seek(lv_pack_source *source, int64_t index)
{
    LV_CHECK(index >= 0 && index <= source->n_records, "seeking outside the source");
    if (index < source->index) {
        source->index = 0;
        source->next = source->root->child;
    }
    while (source->index < index) {
        source->next = source->next->next;
        source->index++;
    }
}

int lv_pack_source_next(lv_pack_source *source, int64_t *index, const cJSON **record)
{
    if (source->index == source->n_records) {
        return 0;
    }
    *index = source->index++;
    *record = source->next;
    source->next = source->next->next;
    return 1;
}
