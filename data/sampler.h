/* SPDX-License-Identifier: Apache-2.0
 *
 * Which samples a step takes, and which rank takes which of them. A function of (seed, epoch,
 * step) alone: no state, nothing per rank.
 */
#ifndef LV_DATA_SAMPLER_H
#define LV_DATA_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t n_samples;
    int64_t global_batch_size;
    uint64_t seed;
    bool shuffle;
} lv_sampler;

/* lv_sampler_steps_per_epoch: ceil(n_samples / global_batch_size); the last batch is what is
 * left. */
int64_t lv_sampler_steps_per_epoch(const lv_sampler *sampler);

/* lv_sampler_batch: the ids of step s (0-based) of an epoch, into ids[global_batch_size].
 * returns how many. */
int64_t lv_sampler_batch(const lv_sampler *sampler, int64_t epoch, int64_t step, int64_t *ids);

/* lv_sampler_hash: of ids in their order, for metrics ("samples_hash"). */
uint64_t lv_sampler_hash(const int64_t *ids, int64_t n);

/* lv_plan: one step's samples as micro-batches of one rank. */
typedef struct {
    int64_t n_samples;   /* of this rank */
    int64_t *sample_ids; /* [n_samples], in the order of the micro-batches */
    int64_t n_micro_batches;
    int64_t *micro_start; /* [n_micro_batches + 1] into sample_ids */
    int64_t n_rows;       /* of this rank */
} lv_plan;

/* lv_plan_make: share n samples out over the ranks, balanced by length (longest first, each to the
 * rank with the fewest rows so far), then cut a rank's into micro-batches of at most budget_rows
 * rows (one sample at least). The same on every rank.
 * in     length[n] rows of each; budget_rows > 0
 * fails  LV_ERR_MEMORY */
int lv_plan_make(lv_plan *out, const int64_t *ids, const int64_t *length, int64_t n, int rank,
                 int n_ranks, int64_t budget_rows);
void lv_plan_free(lv_plan *plan);

#endif
