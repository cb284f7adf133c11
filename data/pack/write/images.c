/* SPDX-License-Identifier: Apache-2.0
 *
 * The image shards. Every image is proved whole here, whatever is stored, so that each image of a
 * pack can be used; one that cannot is kept with its reason and no bytes.
 */
#include "data/pack/write/job.h"

#include "autograd/error.h"
#include "data/base/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum { MAX_FILE_BYTES = 1 << 30 };

/* One image as it is stored, or the reason for which it cannot be. */
typedef struct {
    uint8_t format;
    int32_t width, height;
    uint8_t *bytes;
    size_t n_bytes;
    char *reason;
} stored_image;

static void stored_image_free(stored_image *image)
{
    free(image->bytes);
    free(image->reason);
    *image = (stored_image){0};
}

/* The name relative to the folder: an absolute one may begin with the folder's. */
static const char *within_folder(const char *name, const char *dir)
{
    size_t n = strlen(dir);
    while (n > 0 && dir[n - 1] == '/') {
        n--;
    }
    bool below = name[0] == '/' && dir[0] == '/' && strncmp(name, dir, n) == 0 && name[n] == '/';
    return below ? name + n + strspn(name + n, "/") : name;
}

/* Names from a data file must not lead out of the folder of images. */
static bool leaves_folder(const char *name)
{
    size_t n = strlen(name);
    return name[0] == '/' || strcmp(name, "..") == 0 || strncmp(name, "../", 3) == 0 ||
           strstr(name, "/../") || (n >= 3 && strcmp(name + n - 3, "/..") == 0);
}

static int read_image_file(char **bytes, size_t *n, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        return lv_fail_errno(LV_ERR_IO, "%s", path);
    }
    if (st.st_size > MAX_FILE_BYTES) {
        return lv_fail(LV_ERR_FORMAT, "%s: larger than 1 GiB", path);
    }
    return lv_file_read(bytes, n, path);
}

static int read_source_image(stored_image *out, int64_t *n_read, const lv_pack_options *options,
                             const char *name)
{
    lv_image image = {0}, square = {0};
    lv_image_format format;
    char *bytes = NULL;
    size_t n = 0;
    int width = 0, height = 0;
    const char *rest = within_folder(name, options->image_dir);
    if (leaves_folder(rest)) {
        return lv_fail(LV_ERR_FORMAT, "the name leads out of the folder of images, %s",
                       options->image_dir);
    }
    char *path = lv_path("%s/%s", options->image_dir, rest);
    int rc = read_image_file(&bytes, &n, path);
    *n_read = (int64_t)n;
    if (rc == LV_OK) {
        rc = lv_image_format_of(&format, (const uint8_t *)bytes, n);
        if (rc == LV_OK) {
            rc = options->store_rgb ? lv_image_decode(&image, (const uint8_t *)bytes, n)
                                    : lv_image_check(&width, &height, (const uint8_t *)bytes, n);
        }
        if (rc < 0) {
            lv_fail_within("%s", path);
        }
    }
    if (rc == LV_OK && options->store_rgb) {
        rc = lv_image_square(&square, &image, options->image_size, options->aspect);
    }
    if (rc == LV_OK && options->store_rgb) {
        *out = (stored_image){.format = LV_IMAGE_RGB,
                              .width = square.width,
                              .height = square.height,
                              .bytes = square.rgb,
                              .n_bytes = (size_t)square.width * (size_t)square.height * 3};
    } else if (rc == LV_OK) {
        *out = (stored_image){.format = (uint8_t)format,
                              .width = width,
                              .height = height,
                              .bytes = (uint8_t *)bytes,
                              .n_bytes = n};
        bytes = NULL;
    }
    free(bytes);
    free(path);
    lv_image_free(&image);
    return rc;
}

/* read_image, but a bad file is a result, not a failure, unless the run is strict. */
static int examine(stored_image *out, int64_t *n_read, const lv_pack_job *job, int64_t number)
{
    const lv_pack_name *item = &job->names.items[number];
    int rc = read_source_image(out, n_read, job->options, item->name);
    if (rc == LV_OK || rc == LV_ERR_MEMORY) {
        return rc < 0 ? lv_fail_within("image \"%s\"", item->name) : rc;
    }
    if (job->options->strict) {
        return lv_fail(LV_ERR_FORMAT, "record %" PRId64 ", image \"%s\": %s", item->first_record,
                       item->name, lv_error_message());
    }
    out->reason = strdup(lv_error_message());
    return out->reason ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory");
}

static int append_text(lv_pack_shard *shard, int bytes_field, int offset_field, const char *text)
{
    int rc = lv_pack_append(shard, bytes_field, text, (int64_t)strlen(text));
    return rc < 0 ? rc : lv_pack_append_int64(shard, offset_field, shard->columns[bytes_field].n);
}

static int append_image(lv_pack_shard *shard, const char *name, const stored_image *image)
{
    uint32_t crc =
        (uint32_t)crc32_z(0, image->bytes ? image->bytes : (const uint8_t *)"", image->n_bytes);
    int rc = lv_pack_append(shard, LV_PACK_BYTES, image->bytes, (int64_t)image->n_bytes);
    if (rc == LV_OK) {
        rc = lv_pack_append_int64(shard, LV_PACK_IMAGE_OFFSET, shard->columns[LV_PACK_BYTES].n);
    }
    if (rc == LV_OK) rc = lv_pack_append(shard, LV_PACK_FORMAT, &image->format, 1);
    if (rc == LV_OK) rc = lv_pack_append(shard, LV_PACK_WIDTH, &image->width, 1);
    if (rc == LV_OK) rc = lv_pack_append(shard, LV_PACK_HEIGHT, &image->height, 1);
    if (rc == LV_OK) rc = lv_pack_append(shard, LV_PACK_IMAGE_CRC, &crc, 1);
    if (rc == LV_OK) rc = append_text(shard, LV_PACK_NAME_BYTES, LV_PACK_NAME_OFFSET, name);
    return rc < 0 ? rc
                  : append_text(shard, LV_PACK_REASON_BYTES, LV_PACK_REASON_OFFSET,
                                image->reason ? image->reason : "");
}

/* ---- the reasons of bad images, from all ranks to all ---- */

static int note_reason(lv_pack_job *job, int64_t number, const char *reason)
{
    lv_pack_notes *notes = &job->notes;
    const int64_t n_text = (int64_t)strlen(reason) + 1, n = (int64_t)sizeof number + n_text;
    if (n > notes->capacity - notes->n) {
        int64_t capacity = 2 * (notes->n + n);
        char *bytes = realloc(notes->bytes, (size_t)capacity);
        if (!bytes) {
            return lv_fail(LV_ERR_MEMORY, "no memory for the reasons of bad images");
        }
        notes->bytes = bytes;
        notes->capacity = capacity;
    }
    memcpy(notes->bytes + notes->n, &number, sizeof number);
    memcpy(notes->bytes + notes->n + sizeof number, reason, (size_t)n_text);
    notes->n += n;
    job->n_rejects += job->names.items[number].n_led;
    return LV_OK;
}

/* A rank's notes, of n bytes, as the reasons of the names. */
static int set_reasons(lv_pack_names *names, const char *notes, int64_t n)
{
    int rc = LV_OK;
    for (const char *at = notes; rc == LV_OK && at < notes + n; at += strlen(at) + 1) {
        int64_t number;
        memcpy(&number, at, sizeof number);
        at += sizeof number;
        rc = lv_pack_names_set_reason(names, number, at);
    }
    return rc;
}

/* All ranks' notes, each in as many bytes as the longest has. */
static int gather_reasons(lv_pack_job *job, const int64_t *n_bytes, int64_t longest)
{
    const size_t n_ranks = (size_t)job->team.n_ranks;
    char *own = calloc(1, (size_t)longest);
    job->all_notes = calloc(n_ranks, (size_t)longest);
    int rc = own && job->all_notes ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory");
    rc = lv_pack_barrier(job, rc);
    if (rc == LV_OK && job->notes.n > 0) {
        memcpy(own, job->notes.bytes, (size_t)job->notes.n);
    }
    if (rc == LV_OK) rc = lv_pack_gather(job, job->all_notes, own, longest);
    for (size_t r = 0; rc == LV_OK && r < n_ranks; r++) {
        rc = set_reasons(&job->names, job->all_notes + r * (size_t)longest, n_bytes[r]);
    }
    free(own);
    return lv_pack_barrier(job, rc);
}

static int share_reasons(lv_pack_job *job)
{
    int64_t *n_bytes = calloc((size_t)job->team.n_ranks, sizeof *n_bytes), longest = 0;
    int rc = lv_pack_barrier(job, n_bytes ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory"));
    if (rc == LV_OK) rc = lv_pack_gather(job, n_bytes, &job->notes.n, sizeof *n_bytes);
    for (int r = 0; rc == LV_OK && r < job->team.n_ranks; r++) {
        longest = n_bytes[r] > longest ? n_bytes[r] : longest;
    }
    if (rc == LV_OK && longest > 0) rc = gather_reasons(job, n_bytes, longest);
    free(n_bytes);
    return rc;
}

/* ---- shards ---- */

static int add_source_image(lv_pack_job *job, lv_pack_shard *shard, lv_pack_entry *entry,
                            int64_t number)
{
    stored_image image = {0};
    int64_t n_read = 0;
    int rc = examine(&image, &n_read, job, number);
    if (rc == LV_OK) rc = append_image(shard, job->names.items[number].name, &image);
    if (rc == LV_OK && image.reason) {
        entry->n_bad++;
        rc = note_reason(job, number, image.reason);
    }
    stored_image_free(&image);
    lv_pack_tick(job, n_read);
    return rc;
}

static int write_image_shard(lv_pack_job *job, lv_pack_entry *entry, const char *path,
                             int64_t index, int64_t first, int64_t n)
{
    static const int offsets[] = {LV_PACK_IMAGE_OFFSET, LV_PACK_NAME_OFFSET, LV_PACK_REASON_OFFSET};
    lv_pack_shard shard = {.kind = &LV_PACK_IMAGES, .path = path};
    lv_pack_entry made = {0};
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < sizeof offsets / sizeof *offsets; i++) {
        rc = lv_pack_append_int64(&shard, offsets[i], 0);
    }
    for (int64_t i = first; rc == LV_OK && i < first + n; i++) {
        rc = add_source_image(job, &shard, &made, i);
        if (lv_pack_too_many(job, job->n_rejects)) {
            goto done;
        }
    }
    if (rc == LV_OK) {
        rc = lv_pack_shard_write(&made.n_bytes, &made.crc32, &shard, index, &job->identity);
    }
    if (rc == LV_OK) {
        *entry = made;
    }
done:
    lv_pack_shard_free(&shard);
    return rc;
}

/* The reasons of a shard's images, checked: image first + i has reason_bytes[offset[i]...]. */
static int load_reasons(lv_pack_shard *shard, hid_t file, const char *path, int64_t n)
{
    int rc = lv_pack_shard_load(shard, file, path, LV_PACK_REASON_BYTES);
    if (rc == LV_OK) rc = lv_pack_shard_load(shard, file, path, LV_PACK_REASON_OFFSET);
    return rc < 0 ? rc
                  : lv_pack_check_offsets(shard, path, LV_PACK_REASON_OFFSET, n,
                                          shard->columns[LV_PACK_REASON_BYTES].n);
}

static char *reason_of(const lv_pack_shard *shard, int64_t i)
{
    const int64_t *offset = lv_pack_int64(shard, LV_PACK_REASON_OFFSET);
    const char *bytes = shard->columns[LV_PACK_REASON_BYTES].data;
    int n = (int)(offset[i + 1] - offset[i]);
    return n ? lv_path("%.*s", n, bytes + offset[i]) : NULL;
}

/* Whether the image is still bad, for the same reason. returns 1 or 0, or an error */
static int is_still_bad(const lv_pack_job *job, int64_t number, const char *reason)
{
    stored_image image = {0};
    int64_t n_read = 0;
    int rc = examine(&image, &n_read, job, number);
    bool same = rc == LV_OK && image.reason && strcmp(image.reason, reason) == 0;
    stored_image_free(&image);
    return rc < 0 ? rc : same;
}

static int check_image_shard(lv_pack_job *job, lv_pack_entry *entry, hid_t file, const char *path,
                             int64_t first, int64_t n)
{
    lv_pack_shard shard = {.kind = &LV_PACK_IMAGES};
    int rc = load_reasons(&shard, file, path, n) == LV_OK; /* one that cannot is written again */
    for (int64_t pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; rc == 1 && i < n; i++) {
            char *reason = reason_of(&shard, i);
            if (reason && pass == 0) {
                rc = is_still_bad(job, first + i, reason);
            } else if (reason) {
                int noted = note_reason(job, first + i, reason);
                rc = noted < 0 ? noted : rc;
                entry->n_bad++;
            }
            free(reason);
        }
    }
    lv_pack_shard_free(&shard);
    return rc;
}

lv_pack_phase lv_pack_image_phase(const lv_pack_job *job)
{
    return (lv_pack_phase){.kind = &LV_PACK_IMAGES,
                           .what = "images",
                           .n = job->names.n,
                           .per_shard = job->identity.shard_images,
                           .check = check_image_shard,
                           .write = write_image_shard,
                           .finish = share_reasons};
}
