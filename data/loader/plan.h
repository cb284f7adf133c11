/* SPDX-License-Identifier: Apache-2.0
 *
 * Which rank takes which samples of a step, and in what micro-batches.
 */
#ifndef LV_DATA_LOADER_PLAN_H
#define LV_DATA_LOADER_PLAN_H

#include <stdint.h>

/* lv_shares: one step's samples, distributed over all ranks. */
typedef struct {
    int n_ranks;
    int64_t *place;      /* [n] of samples, rank by rank, each rank's longest first */
    int64_t *rank_start; /* [n_ranks + 1] into place */
} lv_shares;

/* lv_shares_make: distribute n samples over the ranks, balanced by length: longest first (of equals
 * the first one), each to the rank with the fewest rows so far (of equals the lowest).
 * A rank may be left without any. Ranks' sums differ by no more than the longest sample.
 * in     length[n] rows of each, >= 0
 * fails  LV_ERR_MEMORY */
int lv_shares_make(lv_shares *out, const int64_t *length, int64_t n, int n_ranks);
void lv_shares_free(lv_shares *shares);

/* lv_shares_cut: the end of the micro-batch that begins with place[begin] and ends by end: as many
 * samples as budget_rows allow, at least one. */
int64_t lv_shares_cut(const lv_shares *shares, const int64_t *length, int64_t begin, int64_t end,
                      int64_t budget_rows);

/* lv_plan: one step's samples as micro-batches of one rank. */
typedef struct {
    int64_t n_samples;   /* of this rank */
    int64_t *sample_ids; /* [n_samples], in the order of the micro-batches */
    int64_t n_micro_batches;
    int64_t *micro_start; /* [n_micro_batches + 1] into sample_ids */
    int64_t n_rows;       /* of this rank */
} lv_plan;

/* lv_plan_make: a rank's part of lv_shares_make, longest first, so that the step's largest
 * micro-batch comes first, and cut in that order into micro-batches of at most budget_rows rows, or
 * of one sample that is longer. Every rank computes the same shares.
 * in     length[n] rows of each, >= 0; budget_rows > 0
 * fails  LV_ERR_MEMORY */
int lv_plan_make(lv_plan *out, const int64_t *ids, const int64_t *length, int64_t n, int rank,
                 int n_ranks, int64_t budget_rows);
void lv_plan_free(lv_plan *plan);

#endif
