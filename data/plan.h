/* SPDX-License-Identifier: Apache-2.0
 *
 * Which rank takes which samples of a step, and in what micro-batches.
 */
#ifndef LV_DATA_PLAN_H
#define LV_DATA_PLAN_H

#include <stdint.h>

/* lv_plan: one step's samples as micro-batches of one rank. */
typedef struct {
    int64_t n_samples;   /* of this rank */
    int64_t *sample_ids; /* [n_samples], in the order of the micro-batches */
    int64_t n_micro_batches;
    int64_t *micro_start; /* [n_micro_batches + 1] into sample_ids */
    int64_t n_rows;       /* of this rank */
} lv_plan;

/* lv_plan_make: share n samples out over the ranks, balanced by length: longest first (of equals
 * the one that stands first in ids), each to the rank with the fewest rows so far (of equals the
 * lowest). A rank's samples stay longest first, so that the step's largest micro-batch comes
 * first, and are cut in that order into micro-batches of at most budget_rows rows, or of one
 * sample that is longer. A rank may be left without any. Ranks' sums differ by no more than the
 * longest sample. Every rank computes the same shares.
 * in     length[n] rows of each, >= 0; budget_rows > 0
 * fails  LV_ERR_MEMORY */
int lv_plan_make(lv_plan *out, const int64_t *ids, const int64_t *length, int64_t n, int rank,
                 int n_ranks, int64_t budget_rows);
void lv_plan_free(lv_plan *plan);

#endif
