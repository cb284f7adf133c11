/* SPDX-License-Identifier: Apache-2.0
 *
 * The sizes of a run's micro-batches, and batches of these sizes without content, for a dry tape.
 */
#ifndef LV_TRAIN_PLAN_BATCH_H
#define LV_TRAIN_PLAN_BATCH_H

#include "data/loader/loader.h"

/* lv_plan_sample: one sample, its images expanded and cut at the length limit. */
typedef struct {
    int64_t n_rows, n_image_rows, n_images, n_supervised;
} lv_plan_sample;

/* lv_plan_batch_bytes: of a batch of these samples. */
int64_t lv_plan_batch_bytes(const lv_plan_sample *samples, int64_t n,
                            const lv_vision_input *vision);

/* lv_plan_read_ahead: the most bytes that the loader of a rank holds, from those of its largest step
 * and its largest micro-batch. */
int64_t lv_plan_read_ahead(const lv_loader_options *options, int64_t step_bytes,
                           int64_t batch_bytes);

/* lv_plan_batch: a batch of n samples of this size; every token is 0 and the last rows of each
 * sample are supervised. lv_batch_free it.
 * fails  LV_ERR_MEMORY */
int lv_plan_batch(lv_batch *out, const lv_plan_sample *samples, int64_t n,
                  const lv_vision_input *vision);

/* lv_plan_position: the step and the rank of a micro-batch. */
typedef struct {
    int64_t step;
    int rank;
} lv_plan_position;

/* lv_plan_visit: called for each micro-batch. returns LV_OK, or an error that ends the walk. */
typedef int lv_plan_visit(void *context, const lv_plan_position *position,
                          const lv_plan_sample *samples, int64_t n);

/* lv_plan_walk: every micro-batch of steps [0, n_steps), step by step, rank by rank, in the order of
 * the run; of a long run only steps at equal distances, some two million samples and ranks in all,
 * about a second.
 * in     options: of the loader, for any rank; n_ranks in all
 * out    read_ahead_bytes: the most that a rank's loader may hold
 * fails  LV_ERR_MEMORY; as visit does */
int lv_plan_walk(int64_t *read_ahead_bytes, const lv_loader_options *options, int n_ranks,
                 int64_t n_steps, lv_plan_visit *visit, void *context);

#endif
