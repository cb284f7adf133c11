/* SPDX-License-Identifier: Apache-2.0
 *
 * The image shards. Every image is proved whole here, whatever is stored, so that a pack holds no
 * image that cannot be used; what cannot is kept with its reason and no bytes.
 */
#include "data/pack_job.h"

#include "autograd/error.h"
#include "data/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { MAX_FILE_BYTES = 1 << 30, PROGRESS_EVERY = 16 };

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

/* Names come from a data file: they must not lead out of the folder of images. */
static bool leaves_folder(const char *name)
{
    size_t n = strlen(name);
    return name[0] == '/' || strcmp(name, "..") == 0 || strncmp(name, "../", 3) == 0 ||
           strstr(name, "/../") || (n >= 3 && strcmp(name + n - 3, "/..") == 0);
}

static int read_file(char **bytes, size_t *n, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        return lv_fail_errno(LV_ERR_IO, "%s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return lv_fail(LV_ERR_IO, "%s: not a regular file", path);
    }
    if (st.st_size > MAX_FILE_BYTES) {
        return lv_fail(LV_ERR_FORMAT, "%s: larger than 1 GiB", path);
    }
    return lv_file_read(bytes, n, path);
}

static int read_image(stored_image *out, const lv_pack_options *options, const char *name)
{
    lv_image image = {0}, square = {0};
    lv_image_format format;
    char *bytes = NULL;
    size_t n = 0;
    int width = 0, height = 0;
    if (leaves_folder(name)) {
        return lv_fail(LV_ERR_FORMAT, "the name leads out of the folder of images");
    }
    char *path = lv_path("%s/%s", options->image_dir, name);
    int rc = read_file(&bytes, &n, path);
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
static int examine(stored_image *out, const lv_pack_job *job, int64_t number)
{
    const lv_pack_name *item = &job->names.items[number];
    int rc = read_image(out, job->options, item->name);
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
    rc = rc < 0
             ? rc
             : lv_pack_append_int64(shard, LV_PACK_IMAGE_OFFSET, shard->columns[LV_PACK_BYTES].n);
    rc = rc < 0 ? rc : lv_pack_append(shard, LV_PACK_FORMAT, &image->format, 1);
    rc = rc < 0 ? rc : lv_pack_append(shard, LV_PACK_WIDTH, &image->width, 1);
    rc = rc < 0 ? rc : lv_pack_append(shard, LV_PACK_HEIGHT, &image->height, 1);
    rc = rc < 0 ? rc : lv_pack_append(shard, LV_PACK_IMAGE_CRC, &crc, 1);
    rc = rc < 0 ? rc : append_text(shard, LV_PACK_NAME_BYTES, LV_PACK_NAME_OFFSET, name);
    return rc < 0 ? rc
                  : append_text(shard, LV_PACK_REASON_BYTES, LV_PACK_REASON_OFFSET,
                                image->reason ? image->reason : "");
}

/* A file without a name in the folder of the pack, for what may not fit into memory. */
static int open_spool(FILE **out, const char *path)
{
    char *beside = lv_path("%s.tmp.bytes", path);
    FILE *spool = fopen(beside, "w+b");
    int rc = spool && unlink(beside) == 0 ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s", beside);
    if (rc < 0 && spool) {
        fclose(spool);
        spool = NULL;
    }
    free(beside);
    *out = spool;
    return rc;
}

static int write_shard(const lv_pack_job *job, const char *path, int64_t index, int64_t first,
                       int64_t end, int64_t *done, int64_t share)
{
    lv_pack_shard shard = {.kind = &LV_PACK_IMAGES};
    int rc = open_spool(&shard.columns[LV_PACK_BYTES].spool, path);
    static const int offsets[] = {LV_PACK_IMAGE_OFFSET, LV_PACK_NAME_OFFSET, LV_PACK_REASON_OFFSET};
    for (size_t i = 0; rc == LV_OK && i < sizeof offsets / sizeof *offsets; i++) {
        rc = lv_pack_append_int64(&shard, offsets[i], 0);
    }
    for (int64_t i = first; rc == LV_OK && i < end; i++) {
        stored_image image = {0};
        rc = examine(&image, job, i);
        if (rc == LV_OK) {
            rc = append_image(&shard, job->names.items[i].name, &image);
        }
        stored_image_free(&image);
        if (++*done % PROGRESS_EVERY == 0) {
            lv_pack_progress(job, "images", *done, share);
        }
    }
    if (rc == LV_OK) {
        rc = lv_pack_shard_write(path, &shard, index, &job->identity);
    }
    lv_pack_shard_free(&shard);
    return rc;
}

/* The reasons of a shard's images, checked: image first + i has reason_bytes[offset[i]...]. */
static int load_reasons(lv_pack_shard *shard, hid_t file, const char *path, int64_t n)
{
    int rc = lv_pack_shard_load(shard, file, path, LV_PACK_REASON_BYTES);
    if (rc == LV_OK) {
        rc = lv_pack_shard_load(shard, file, path, LV_PACK_REASON_OFFSET);
    }
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

/* Of a shard that an earlier run wrote: are the images that were bad then bad now, and for the same
 * reason? returns 1 or 0, or an error */
static int still_bad(const lv_pack_job *job, hid_t file, const char *path, int64_t first,
                     int64_t end)
{
    lv_pack_shard shard = {.kind = &LV_PACK_IMAGES};
    int rc = load_reasons(&shard, file, path, end - first);
    bool same = rc == LV_OK;
    for (int64_t i = first; rc == LV_OK && same && i < end; i++) {
        char *reason = reason_of(&shard, i - first);
        if (reason) {
            stored_image image = {0};
            rc = examine(&image, job, i);
            same = image.reason && strcmp(image.reason, reason) == 0;
            stored_image_free(&image);
        }
        free(reason);
    }
    lv_pack_shard_free(&shard);
    return rc < 0 ? rc : same;
}

int lv_pack_write_images(lv_pack_job *job)
{
    int64_t n = job->names.n, done = 0;
    int64_t share = lv_pack_share(job, n, LV_PACK_SHARD_IMAGES);
    int rc = LV_OK;
    for (int64_t k = job->team.rank; rc >= 0 && k * LV_PACK_SHARD_IMAGES < n;
         k += job->team.n_ranks) {
        int64_t first = k * LV_PACK_SHARD_IMAGES;
        int64_t end = n - first < LV_PACK_SHARD_IMAGES ? n : first + LV_PACK_SHARD_IMAGES;
        char *name = lv_pack_shard_name(&LV_PACK_IMAGES, k);
        char *path = lv_path("%s/%s", job->options->out_dir, name);
        hid_t file = H5I_INVALID_HID;
        rc = lv_pack_open_whole(&file, job, path, &LV_PACK_IMAGES, k);
        if (rc == 1) {
            rc = still_bad(job, file, path, first, end);
        }
        lv_pack_shard_close(&file);
        if (rc == 0) {
            rc = write_shard(job, path, k, first, end, &done, share);
        } else {
            done += end - first;
        }
        lv_pack_progress(job, "images", done, share);
        free(path);
        free(name);
    }
    return rc < 0 ? rc : LV_OK;
}

int lv_pack_load_reasons(lv_pack_job *job)
{
    int rc = LV_OK;
    for (int64_t first = 0; rc == LV_OK && first < job->names.n; first += LV_PACK_SHARD_IMAGES) {
        int64_t k = first / LV_PACK_SHARD_IMAGES;
        int64_t n = job->names.n - first;
        n = n < LV_PACK_SHARD_IMAGES ? n : LV_PACK_SHARD_IMAGES;
        char *name = lv_pack_shard_name(&LV_PACK_IMAGES, k);
        char *path = lv_path("%s/%s", job->options->out_dir, name);
        lv_pack_shard shard = {.kind = &LV_PACK_IMAGES};
        lv_pack_identity identity;
        hid_t file = H5I_INVALID_HID;
        rc = lv_pack_shard_open(&file, &identity, path, &LV_PACK_IMAGES, k);
        if (rc == LV_OK) {
            rc = load_reasons(&shard, file, path, n);
        }
        for (int64_t i = 0; rc == LV_OK && i < n; i++) {
            job->names.items[first + i].reason = reason_of(&shard, i);
        }
        lv_pack_shard_close(&file);
        lv_pack_shard_free(&shard);
        free(path);
        free(name);
    }
    return rc;
}
