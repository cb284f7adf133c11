/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_shard: the owners of the trainable elements. The flat elements [0, count) are divided into
 * buckets, the units of communication of gradients and new weights, and each bucket evenly among
 * the ranks. A rank keeps master weights and moments of its own elements only: one shard of each
 * bucket (ZeRO stage 1; Rajbhandari et al. 2020, arXiv:1910.02054). A single rank owns all.
 */
#ifndef LV_TRAIN_MODEL_PARAMS_SHARD_H
#define LV_TRAIN_MODEL_PARAMS_SHARD_H

#include "autograd/kernels/parallel.h"

/* A rank's shard of a bucket. */
typedef struct {
    int64_t begin, end; /* flat elements; none if they are equal */
    int64_t at;         /* of the first, among those that the rank owns */
} lv_bucket_shard;

typedef struct {
    int rank, n_ranks;
    int64_t count, own_count;
    int64_t n_buckets;
    lv_range *buckets;    /* ascending, end to end */
    lv_bucket_shard *own; /* of this rank: one a bucket */
} lv_shard;

/* lv_shard_bucket_count: elements of buckets of so many MB (2^20 bytes) of f32. 0 MB: 8, or as much
 * as lets each rank's shard have 64 KB: messages much smaller take as long. */
int64_t lv_shard_bucket_count(double mb, int n_ranks);

/* lv_shard_create: buckets of at most bucket_count elements, none of them across `border`.
 * in     border: in [0, count]
 * fails  LV_ERR_MEMORY */
int lv_shard_create(lv_shard **out, int64_t count, int64_t border, int64_t bucket_count, int rank,
                    int n_ranks);
void lv_shard_destroy(lv_shard **shard);

/* lv_shard_part: flat elements of a bucket that a rank owns. */
lv_range lv_shard_part(const lv_shard *shard, int64_t bucket, int rank);

/* lv_shard_bucket_of: the bucket of flat element i. */
int64_t lv_shard_bucket_of(const lv_shard *shard, int64_t i);

#endif
