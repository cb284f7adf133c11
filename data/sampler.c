/* SPDX-License-Identifier: Apache-2.0 */
#include "data/sampler.h"

#include "autograd/error.h"
#include "autograd/rng.h"
#include "data/hash.h"

#include <stdlib.h>
#include <string.h>

enum {
    N_ROUNDS = 8,        /* of the Feistel network: many, for the sake of small n */
    KEY_STREAM = 0x5a4d, /* keeps the key of an epoch apart from other uses of the seed */
};

int64_t lv_sampler_steps_per_epoch(const lv_sampler *sampler)
{
    LV_CHECK(sampler->global_batch_size > 0, "global batch size %lld",
             (long long)sampler->global_batch_size);
    return sampler->n_samples / sampler->global_batch_size +
           (sampler->n_samples % sampler->global_batch_size != 0);
}

static uint64_t random_word(uint64_t key, uint64_t counter_high, uint64_t counter_low)
{
    uint32_t words[4];
    lv_philox(words, key, counter_high, counter_low);
    return (uint64_t)words[1] << 32 | words[0];
}

/* The smallest s with s * s >= n, for n >= 1. */
static uint64_t ceil_root(uint64_t n)
{
    uint64_t low = 1, high = (uint64_t)1 << 32;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (middle >= (n + middle - 1) / middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* permute: where a keyed pseudo-random permutation of 0..n-1 sends i.
 *   A Feistel network over pairs (a, b) of digits to the base ceil(sqrt(n)):
 *     a += F(key, round, b),  swap a and b        each round can be undone, so it is a bijection
 *   Its pairs are a few more than n; from one beyond n it is applied again until it comes back
 *   (cycle walking), which keeps it a bijection of 0..n-1.
 * source Black & Rogaway 2002, "Ciphers with arbitrary finite domains", methods 2 and 3 */
static uint64_t permute(uint64_t i, uint64_t n, uint64_t base, uint64_t key)
{
    do {
        uint64_t a = i / base, b = i % base;
        for (uint64_t round = 0; round < N_ROUNDS; round++) {
            uint64_t sum = (a + random_word(key, round, b) % base) % base;
            a = b;
            b = sum;
        }
        i = a * base + b;
    } while (i >= n);
    return i;
}

int64_t lv_sampler_batch(const lv_sampler *sampler, int64_t epoch, int64_t step, int64_t *ids)
{
    int64_t n_steps = lv_sampler_steps_per_epoch(sampler);
    LV_CHECK(epoch >= 0 && step >= 0 && step < n_steps, "epoch %lld, step %lld of %lld",
             (long long)epoch, (long long)step, (long long)n_steps);
    int64_t first = step * sampler->global_batch_size;
    int64_t left = sampler->n_samples - first;
    int64_t n = left < sampler->global_batch_size ? left : sampler->global_batch_size;
    uint64_t key = random_word(sampler->seed, KEY_STREAM, (uint64_t)epoch);
    uint64_t base = ceil_root((uint64_t)sampler->n_samples);
    for (int64_t i = 0; i < n; i++) {
        ids[i] = first + i;
        if (sampler->shuffle) {
            ids[i] = (int64_t)permute((uint64_t)ids[i], (uint64_t)sampler->n_samples, base, key);
        }
    }
    return n;
}

uint64_t lv_sampler_hash(const int64_t *ids, int64_t n)
{
    uint64_t hash = LV_HASH_START;
    for (int64_t i = 0; i < n; i++) {
        hash = lv_hash_uint64(hash, (uint64_t)ids[i]);
    }
    return hash;
}

typedef struct {
    int64_t id, length, place;
} plan_sample;

static int longest_first(const void *a, const void *b)
{
    const plan_sample *x = a, *y = b;
    if (x->length != y->length) {
        return x->length > y->length ? -1 : 1;
    }
    return x->place < y->place ? -1 : x->place > y->place;
}

/* Keeps, in their order, the samples that fall to this rank. returns how many */
static int64_t keep_share(plan_sample *samples, int64_t n, int64_t *rank_rows, int rank,
                          int n_ranks)
{
    int64_t n_kept = 0;
    for (int64_t i = 0; i < n; i++) {
        int to = 0;
        for (int r = 1; r < n_ranks; r++) {
            if (rank_rows[r] < rank_rows[to]) {
                to = r;
            }
        }
        rank_rows[to] += samples[i].length;
        if (to == rank) {
            samples[n_kept++] = samples[i];
        }
    }
    return n_kept;
}

int lv_plan_make(lv_plan *out, const int64_t *ids, const int64_t *length, int64_t n, int rank,
                 int n_ranks, int64_t budget_rows)
{
    LV_CHECK(n >= 0 && rank >= 0 && rank < n_ranks && budget_rows > 0,
             "%lld samples, rank %d of %d, budget %lld", (long long)n, rank, n_ranks,
             (long long)budget_rows);
    int rc = LV_OK;
    lv_plan plan = {0};
    plan_sample *samples = calloc((size_t)n + 1, sizeof *samples);
    int64_t *rank_rows = calloc((size_t)n_ranks, sizeof *rank_rows);
    plan.sample_ids = calloc((size_t)n + 1, sizeof *plan.sample_ids);
    plan.micro_start = calloc((size_t)n + 1, sizeof *plan.micro_start);
    if (!samples || !rank_rows || !plan.sample_ids || !plan.micro_start) {
        rc = lv_fail(LV_ERR_MEMORY, "no memory to plan a step of %lld samples", (long long)n);
        goto fail;
    }
    for (int64_t i = 0; i < n; i++) {
        samples[i] = (plan_sample){ids[i], length[i], i};
    }
    qsort(samples, (size_t)n, sizeof *samples, longest_first);
    plan.n_samples = keep_share(samples, n, rank_rows, rank, n_ranks);
    plan.n_rows = rank_rows[rank];

    int64_t rows = 0;
    for (int64_t i = 0; i < plan.n_samples; i++) {
        if (i == 0 || rows + samples[i].length > budget_rows) {
            plan.micro_start[plan.n_micro_batches++] = i;
            rows = 0;
        }
        rows += samples[i].length;
        plan.sample_ids[i] = samples[i].id;
    }
    plan.micro_start[plan.n_micro_batches] = plan.n_samples;
    *out = plan;
    plan = (lv_plan){0};
fail:
    lv_plan_free(&plan);
    free(rank_rows);
    free(samples);
    return rc;
}

void lv_plan_free(lv_plan *plan)
{
    free(plan->sample_ids);
    free(plan->micro_start);
    *plan = (lv_plan){0};
}
