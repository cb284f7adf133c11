/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/params/shard.h"

#include "autograd/error.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { GRAIN = 32 }; /* elements: a cache line of bf16 */

int64_t lv_shard_bucket_count(double mb, int n_ranks)
{
    const double piece_mb = 1.0 / 16;
    const double chosen = mb > 0 ? mb : fmax(8, piece_mb * n_ranks);
    return (int64_t)(chosen * (1 << 20)) / (int64_t)sizeof(float);
}

static int64_t n_buckets_of(int64_t count, int64_t bucket_count)
{
    return count > 0 ? (count - 1) / bucket_count + 1 : 0;
}

int lv_shard_create(lv_shard **out, int64_t count, int64_t border, int64_t bucket_count, int rank,
                    int n_ranks)
{
    LV_CHECK(border >= 0 && border <= count && bucket_count > 0 && rank >= 0 && rank < n_ranks,
             "shard %d of %d, buckets of %" PRId64, rank, n_ranks, bucket_count);
    const int64_t n_before = n_buckets_of(border, bucket_count);
    const int64_t n = n_before + n_buckets_of(count - border, bucket_count);
    lv_shard *s = calloc(1, sizeof *s);
    if (s) {
        s->buckets = calloc((size_t)n + 1, sizeof *s->buckets);
        s->own = calloc((size_t)n + 1, sizeof *s->own);
    }
    if (!s || !s->buckets || !s->own) {
        lv_shard_destroy(&s);
        return lv_fail(LV_ERR_MEMORY, "no memory for a list of %" PRId64 " buckets", n);
    }
    s->rank = rank;
    s->n_ranks = n_ranks;
    s->count = count;
    s->n_buckets = n;
    int64_t begin = 0;
    for (int64_t k = 0; k < n; k++) {
        const int64_t most = k < n_before ? border : count;
        s->buckets[k].begin = begin;
        s->buckets[k].end = most - begin < bucket_count ? most : begin + bucket_count;
        begin = s->buckets[k].end;
        lv_range own = lv_shard_part(s, k, rank);
        s->own[k] = (lv_bucket_shard){own.begin, own.end, s->own_count};
        s->own_count += own.end - own.begin;
    }
    *out = s;
    return LV_OK;
}

void lv_shard_destroy(lv_shard **shard)
{
    if (*shard) {
        free((*shard)->buckets);
        free((*shard)->own);
        free(*shard);
        *shard = NULL;
    }
}

lv_range lv_shard_part(const lv_shard *shard, int64_t bucket, int rank)
{
    const lv_range *b = &shard->buckets[bucket];
    lv_range part = lv_range_split(b->end - b->begin, GRAIN, rank, shard->n_ranks);
    part.begin += b->begin;
    part.end += b->begin;
    return part;
}

int64_t lv_shard_bucket_of(const lv_shard *shard, int64_t i)
{
    int64_t low = 0, high = shard->n_buckets - 1;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (i < shard->buckets[middle].end) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}
