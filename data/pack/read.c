/* SPDX-License-Identifier: Apache-2.0
 *
 * Samples and images out of a pack, every one of them checked.
 */
#include "data/pack/reader.h"

#include "autograd/error.h"
#include "data/chat/template.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* ---- samples ---- */

lv_pack_shard_state *lv_pack_shard_of_sample(const lv_pack *pack, int64_t i)
{
    LV_CHECK(i >= 0 && i < pack->samples.n, "sample %" PRId64 " of %" PRId64, i, pack->samples.n);
    int64_t low = 0,
            high = pack->samples.n_shards; /* shards[low].first <= i < shards[high].first */
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (pack->samples.shards[middle].first <= i) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &pack->samples.shards[low];
}

static int read_rows(const lv_pack_shard_state *shard, int field, int offset_field, int64_t i,
                     void *rows)
{
    const int64_t *offset = lv_pack_int64(&shard->index, offset_field);
    return lv_pack_shard_read(rows, shard->file, shard->path, shard->index.kind, field, offset[i],
                              offset[i + 1] - offset[i]);
}

static char *copy_id(const lv_pack_shard_state *shard, int64_t i)
{
    const int64_t *offset = lv_pack_int64(&shard->index, LV_PACK_ID_OFFSET);
    const char *bytes = shard->index.columns[LV_PACK_ID_BYTES].data;
    return strndup(bytes + offset[i], (size_t)(offset[i + 1] - offset[i]));
}

/* The invariants of a sample, checked here for all later users. */
static int check_sample(const lv_pack *pack, const lv_sample_counts *c, uint32_t crc,
                        const int32_t *tokens, const uint8_t *supervised, const int64_t *image_ids)
{
    int32_t n_marks = 0, n_supervised = 0;
    bool good = lv_pack_sample_crc(tokens, supervised, c->n_tokens, image_ids, c->n_images) == crc;
    if (!good) {
        return lv_fail(LV_ERR_FORMAT, "damaged: its checksum does not fit");
    }
    for (int32_t t = 0; t < c->n_tokens; t++) {
        good = good && (tokens[t] >= 0 || tokens[t] == LV_IMAGE_TOKEN) && supervised[t] <= 1;
        n_marks += tokens[t] == LV_IMAGE_TOKEN;
        n_supervised += supervised[t];
    }
    for (int32_t k = 0; k < c->n_images; k++) {
        good = good && image_ids[k] >= 0 && image_ids[k] < pack->images.n;
    }
    return good && n_marks == c->n_images && n_supervised == c->n_supervised
               ? LV_OK
               : lv_fail(LV_ERR_FORMAT, "impossible tokens, labels or image ids");
}

int lv_pack_read_sample(lv_pack *pack, int64_t i, int32_t *tokens, uint8_t *supervised,
                        int64_t *image_ids, char **id)
{
    lv_pack_shard_state *shard = lv_pack_shard_of_sample(pack, i);
    int64_t at = i - shard->first;
    pthread_mutex_lock(&pack->lock);
    int rc = lv_pack_use_shard(pack, &pack->samples, shard);
    if (rc == LV_OK) rc = read_rows(shard, LV_PACK_TOKENS, LV_PACK_SAMPLE_OFFSET, at, tokens);
    if (rc == LV_OK) {
        rc = read_rows(shard, LV_PACK_SUPERVISED, LV_PACK_SAMPLE_OFFSET, at, supervised);
    }
    if (rc == LV_OK) {
        rc = read_rows(shard, LV_PACK_SAMPLE_IMAGE, LV_PACK_SAMPLE_IMAGE_OFFSET, at, image_ids);
    }
    pthread_mutex_unlock(&pack->lock);
    if (rc == LV_OK) {
        const uint32_t *crc = shard->index.columns[LV_PACK_SAMPLE_CRC].data;
        rc = check_sample(pack, &pack->counts[i], crc[at], tokens, supervised, image_ids);
        if (rc < 0) {
            lv_fail_within("%s: sample %" PRId64, shard->path, i);
        }
    }
    if (rc == LV_OK && id && !(*id = copy_id(shard, at))) {
        rc = lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    return rc;
}

/* ---- images ---- */

lv_pack_shard_state *lv_pack_shard_of_image(const lv_pack *pack, int64_t image_id)
{
    LV_CHECK(image_id >= 0 && image_id < pack->images.n, "image %" PRId64 " of %" PRId64, image_id,
             pack->images.n);
    return &pack->images.shards[image_id / pack->identity.shard_images];
}

typedef struct {
    int format, width, height;
    uint32_t crc;
    size_t n_bytes;
} image_entry;

static image_entry entry_of(const lv_pack_shard_state *shard, int64_t at)
{
    const lv_pack_column *c = shard->index.columns;
    const int64_t *offset = lv_pack_int64(&shard->index, LV_PACK_IMAGE_OFFSET);
    return (image_entry){.format = ((const uint8_t *)c[LV_PACK_FORMAT].data)[at],
                         .width = ((const int32_t *)c[LV_PACK_WIDTH].data)[at],
                         .height = ((const int32_t *)c[LV_PACK_HEIGHT].data)[at],
                         .crc = ((const uint32_t *)c[LV_PACK_IMAGE_CRC].data)[at],
                         .n_bytes = (size_t)(offset[at + 1] - offset[at])};
}

/* The image of the bytes, which it takes over or frees. */
static int image_from(lv_image *out, const lv_pack *pack, const image_entry *e, uint8_t *bytes)
{
    lv_aspect aspect;
    int size = lv_pack_stored_size(pack, &aspect);
    lv_image image = {0};
    int rc = LV_OK;
    if ((uint32_t)crc32_z(0, bytes, e->n_bytes) != e->crc) {
        rc = lv_fail(LV_ERR_FORMAT, "damaged: its checksum does not fit");
    } else if (size > 0) {
        bool fits = e->format == LV_IMAGE_RGB && e->width == size && e->height == size &&
                    e->n_bytes == (size_t)size * (size_t)size * 3;
        if (fits) {
            *out = (lv_image){.width = size, .height = size, .rgb = bytes};
            return LV_OK;
        }
        rc = lv_fail(LV_ERR_FORMAT, "%d x %d pixels in %zu bytes, in a pack of %d x %d", e->width,
                     e->height, e->n_bytes, size, size);
    } else {
        rc = lv_image_decode(&image, bytes, e->n_bytes);
    }
    free(bytes);
    if (rc == LV_OK && (image.width != e->width || image.height != e->height)) {
        rc = lv_fail(LV_ERR_FORMAT, "%d x %d pixels, the pack says %d x %d", image.width,
                     image.height, e->width, e->height);
        lv_image_free(&image);
    }
    if (rc == LV_OK) {
        *out = image;
    }
    return rc;
}

static int fail_image(const lv_pack_shard_state *shard, int64_t at)
{
    const int64_t *offset = lv_pack_int64(&shard->index, LV_PACK_NAME_OFFSET);
    const char *names = shard->index.columns[LV_PACK_NAME_BYTES].data;
    return lv_fail_within("%s: image %" PRId64 " \"%.*s\"", shard->path, shard->first + at,
                          (int)(offset[at + 1] - offset[at]), names + offset[at]);
}

int lv_pack_read_image(lv_pack *pack, int64_t image_id, lv_image *out)
{
    lv_pack_shard_state *shard = lv_pack_shard_of_image(pack, image_id);
    int64_t at = image_id - shard->first;
    image_entry entry = {0};
    uint8_t *bytes = NULL;
    pthread_mutex_lock(&pack->lock);
    int rc = lv_pack_use_shard(pack, &pack->images, shard);
    bool is_indexed = rc == LV_OK;
    if (rc == LV_OK) {
        entry = entry_of(shard, at);
        bytes = entry.n_bytes ? malloc(entry.n_bytes) : NULL;
        rc = bytes           ? read_rows(shard, LV_PACK_BYTES, LV_PACK_IMAGE_OFFSET, at, bytes)
             : entry.n_bytes ? lv_fail(LV_ERR_MEMORY, "no memory for %zu bytes", entry.n_bytes)
                             : lv_fail(LV_ERR_FORMAT, "could not be used when it was packed");
    }
    pthread_mutex_unlock(&pack->lock);
    if (rc == LV_OK) {
        rc = image_from(out, pack, &entry, bytes);
    } else {
        free(bytes);
    }
    return rc < 0 && is_indexed ? fail_image(shard, at) : rc;
}
