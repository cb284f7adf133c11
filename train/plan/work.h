/* SPDX-License-Identifier: Apache-2.0
 *
 * The work of a run's steps: floating-point operations of each rank, counted over its micro-batches
 * (lv_plan_walk).
 */
#ifndef LV_TRAIN_PLAN_WORK_H
#define LV_TRAIN_PLAN_WORK_H

#include "train/model/llava/llava.h"
#include "train/plan/batch.h"

/* lv_flop_cost: of the matrix products of a micro-batch, forward and backward. Sequences do not
 * attend to each other, so that the sum over samples is exact:
 *   FLOP = sum over samples of row n_rows + pair n_rows (n_rows + 1) / 2 + image n_images
 *                              + supervised n_supervised */
typedef struct {
    double row, pair, image, supervised;
} lv_flop_cost;

/* With an image in the micro-batch, or with text alone, which has no backward pass if only vision
 * parts are trained. */
typedef struct {
    lv_flop_cost with_image, text;
} lv_flop_costs;

/* lv_flop_costs_find: from a few passes on a dry tape.
 * fails  LV_ERR_MEMORY */
int lv_flop_costs_find(lv_flop_costs *out, lv_llava *model, const lv_vision_input *vision);

/* lv_flop_of: of one micro-batch; 0 if nothing in it is supervised: the step skips it. */
double lv_flop_of(const lv_flop_costs *costs, const lv_plan_sample *samples, int64_t n);

enum { LV_TYPICAL_SAMPLES = 64 };

/* lv_step_work: start with {.costs = ...}; the counts are for lv_step_work_mean. */
typedef struct {
    lv_flop_costs costs;
    int64_t n_steps;
    struct {
        lv_plan_position position;
        double flop, first_flop, last_flop; /* of this rank: so far; its first, last micro-batch */
        double most_flop, most_first_flop, most_last_flop;
    } now;
    double sum_most_flop, sum_first_flop, sum_last_flop, sum_flop, sum_rows, sum_text_rows;
    lv_plan_sample typical[LV_TYPICAL_SAMPLES]; /* of the first micro-batch */
    int64_t n_typical;
} lv_step_work;

/* lv_step_work_add: a micro-batch; in the order of lv_plan_walk. */
void lv_step_work_add(lv_step_work *work, const lv_plan_position *position,
                      const lv_plan_sample *samples, int64_t n);

/* lv_step_mean: over the counted steps. The slowest rank is the one with most FLOP. */
typedef struct {
    double slowest_flop;          /* of the slowest rank */
    double first_flop, last_flop; /* ... of its first and its last micro-batch */
    double all_flop;              /* of all ranks */
    double rows, text_rows;       /* of the global batch; text: not of images */
} lv_step_mean;

/* lv_step_work_mean: ends the count. All 0 if there was no step. */
lv_step_mean lv_step_work_mean(lv_step_work *work);

#endif
