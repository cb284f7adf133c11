/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_saver: writes checkpoints while training continues. What a rank owns is copied (12 bytes an
 * element, 8 with moments of bf16) and a thread writes the copy; if any rank lacks the memory for it, the steps wait.
 * Between steps the ranks agree whether all have written; then rank 0 writes the manifest and gives
 * the checkpoint its name. The thread does not call MPI.
 *
 * Every function but the last is collective, called between steps by all ranks alike.
 */
#ifndef LV_TRAIN_CHECKPOINT_SAVE_H
#define LV_TRAIN_CHECKPOINT_SAVE_H

#include "train/checkpoint/checkpoint.h"

#include <stdbool.h>

typedef struct lv_saver lv_saver;

typedef struct {
    const lv_comm *comm;
    const char *run_dir;
    int64_t keep;           /* newest checkpoints to keep, >= 1 */
    bool continue_on_error; /* a checkpoint that can not be written is a warning */
    int64_t last;           /* step of the checkpoint that the run resumed from, -1: none */
} lv_saver_options;

/* lv_saver_create: also removes what a killed job left half written. run_dir is locked; all that the
 * options point to outlives the saver. */
int lv_saver_create(lv_saver **out, const lv_saver_options *options);

/* lv_saver_destroy: waits for the writer's thread; a checkpoint in progress is lost. Rank 0 prints
 * how many checkpoints could not be written, if any. NULL-safe; not collective. */
void lv_saver_destroy(lv_saver **saver);

/* lv_saver_begin: a checkpoint of the present state, run_dir/checkpoints/step-<state->step>. One in
 * progress is finished first. The arguments may change after the return.
 * fails  as lv_saver_poll, for the one before; LV_ERR_COMM */
int lv_saver_begin(lv_saver *saver, const lv_train_state *state, const lv_run_identity *identity,
                   lv_params *params, const lv_moments *moments);

/* lv_saver_poll: if all ranks have written, publishes the checkpoint; then all but the newest `keep`
 * up to its step are removed, and those of later steps renamed to step-<n>.aside.
 * fails  LV_ERR_COMM; without continue_on_error LV_ERR_IO with the step and the path. Older
 *        checkpoints are untouched, the incomplete one is removed */
int lv_saver_poll(lv_saver *saver);

/* lv_saver_finish: waits for the checkpoint that was begun last.
 * fails  if it could not be written, also with continue_on_error */
int lv_saver_finish(lv_saver *saver);

/* The step of the last whole checkpoint, -1: none; how long the longest save took on any rank. */
int64_t lv_saver_last_step(const lv_saver *saver);
double lv_saver_longest_s(const lv_saver *saver);

#endif
