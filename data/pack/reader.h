/* SPDX-License-Identifier: Apache-2.0
 *
 * The struct lv_pack. The offsets of each shard used stay in memory (some 40 bytes a sample or
 * image); tokens and bytes are read on demand.
 */
#ifndef LV_DATA_PACK_READER_H
#define LV_DATA_PACK_READER_H

#include "data/pack/pack.h"
#include "data/pack/shard.h"

#include <pthread.h>
#include <stdbool.h>

typedef struct {
    char *path;
    hid_t file; /* invalid: closed */
    uint64_t last_use;
    bool is_indexed;
    lv_pack_shard index; /* its small columns, once loaded never changed */
    int64_t first, n;    /* its samples or images among all */
} lv_pack_shard_state;

typedef struct {
    const lv_pack_kind *kind;
    int64_t n_shards, n; /* shards; samples or images in all */
    lv_pack_shard_state *shards;
} lv_pack_shard_list;

struct lv_pack {
    char *dir;
    cJSON *manifest;
    lv_pack_identity identity;
    lv_pack_shard_list samples, images;
    lv_sample_counts *counts; /* [samples.n] */
    pthread_mutex_t lock;     /* of the rest, and of file, last_use, is_indexed of all shards */
    int n_open;
    uint64_t clock;
};

/* lv_pack_use_shard: file open and index loaded and checked; with pack->lock held.
 * fails  LV_ERR_FORMAT, LV_ERR_IO, LV_ERR_MEMORY, naming the shard */
int lv_pack_use_shard(lv_pack *pack, lv_pack_shard_list *list, lv_pack_shard_state *shard);

/* The shard that holds sample i or an image. Abort if there is no such sample or image. */
lv_pack_shard_state *lv_pack_shard_of_sample(const lv_pack *pack, int64_t i);
lv_pack_shard_state *lv_pack_shard_of_image(const lv_pack *pack, int64_t image_id);

#endif
