/* SPDX-License-Identifier: Apache-2.0
 *
 * Facts about samples and images beside their contents: source index, id, size, format.
 */
#include "data/pack/reader.h"

#include "autograd/error.h"

#include <inttypes.h>
#include <string.h>

int lv_pack_source_index(lv_pack *pack, int64_t i, int64_t *source_index)
{
    lv_pack_shard_state *shard = lv_pack_shard_of_sample(pack, i);
    pthread_mutex_lock(&pack->lock);
    int64_t n = 0;
    int rc = lv_pack_use_shard(pack, &pack->samples, shard);
    if (rc == LV_OK) {
        rc = lv_pack_shard_n_rows(&n, shard->file, shard->path, shard->index.kind,
                                  LV_PACK_SOURCE_INDEX);
    }
    if (rc == LV_OK && n != shard->n) {
        rc = lv_fail(LV_ERR_FORMAT,
                     "%s: the places in the source of %" PRId64 " samples, not %" PRId64,
                     shard->path, n, shard->n);
    }
    if (rc == LV_OK) {
        rc = lv_pack_shard_read(source_index, shard->file, shard->path, shard->index.kind,
                                LV_PACK_SOURCE_INDEX, i - shard->first, 1);
    }
    pthread_mutex_unlock(&pack->lock);
    return rc;
}

static void release(lv_pack_shard_state *shard)
{
    if (shard->is_indexed) {
        lv_pack_shard_free(&shard->index);
        shard->is_indexed = false;
    }
}

static bool has_id(const lv_pack_shard_state *shard, int64_t at, const char *id, size_t n)
{
    const int64_t *offset = lv_pack_int64(&shard->index, LV_PACK_ID_OFFSET);
    const char *bytes = shard->index.columns[LV_PACK_ID_BYTES].data;
    return offset[at + 1] - offset[at] == (int64_t)n &&
           (n == 0 || memcmp(bytes + offset[at], id, n) == 0);
}

int lv_pack_find_id(lv_pack *pack, const char *id, int64_t *first, int64_t *n_found)
{
    const size_t n = strlen(id);
    int rc = LV_OK;
    *first = -1;
    *n_found = 0;
    for (int64_t k = 0; rc == LV_OK && k < pack->samples.n_shards; k++) {
        lv_pack_shard_state *shard = &pack->samples.shards[k];
        pthread_mutex_lock(&pack->lock);
        rc = lv_pack_use_shard(pack, &pack->samples, shard);
        pthread_mutex_unlock(&pack->lock);
        for (int64_t at = 0; rc == LV_OK && at < shard->n; at++) {
            if (has_id(shard, at, id, n)) {
                *first = *first < 0 ? shard->first + at : *first;
                *n_found += 1;
            }
        }
        release(shard);
    }
    return rc;
}

int64_t lv_pack_n_images(const lv_pack *pack)
{
    return pack->images.n;
}

int lv_pack_image_facts(lv_pack *pack, int64_t image_id, lv_image_facts *out)
{
    lv_pack_shard_state *shard = lv_pack_shard_of_image(pack, image_id);
    pthread_mutex_lock(&pack->lock);
    int rc = lv_pack_use_shard(pack, &pack->images, shard);
    pthread_mutex_unlock(&pack->lock);
    if (rc < 0) {
        return rc;
    }
    const int64_t at = image_id - shard->first;
    const lv_pack_column *c = shard->index.columns;
    const int64_t *bytes = lv_pack_int64(&shard->index, LV_PACK_IMAGE_OFFSET);
    const int64_t *name = lv_pack_int64(&shard->index, LV_PACK_NAME_OFFSET);
    const char *names = c[LV_PACK_NAME_BYTES].data;
    lv_image_facts facts = {.name = name[at + 1] > name[at] ? names + name[at] : "",
                            .name_bytes = (size_t)(name[at + 1] - name[at]),
                            .format = ((const uint8_t *)c[LV_PACK_FORMAT].data)[at],
                            .width = ((const int32_t *)c[LV_PACK_WIDTH].data)[at],
                            .height = ((const int32_t *)c[LV_PACK_HEIGHT].data)[at],
                            .n_bytes = bytes[at + 1] - bytes[at]};
    *out = facts;
    return LV_OK;
}

void lv_pack_release(lv_pack *pack)
{
    lv_pack_shard_list *lists[] = {&pack->samples, &pack->images};
    pthread_mutex_lock(&pack->lock);
    for (size_t l = 0; l < 2; l++) {
        for (int64_t k = 0; k < lists[l]->n_shards; k++) {
            release(&lists[l]->shards[k]);
        }
    }
    pthread_mutex_unlock(&pack->lock);
}
