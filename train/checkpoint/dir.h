/* SPDX-License-Identifier: Apache-2.0
 *
 * The folder of a run's checkpoints: run_dir/checkpoints/step-000500. What is not a whole
 * checkpoint has another name: step-000500.tmp is being written, .removed is on its way out, .aside
 * is of a step that the run, going on from an earlier one, has yet to do again. For rank 0.
 */
#ifndef LV_TRAIN_CHECKPOINT_DIR_H
#define LV_TRAIN_CHECKPOINT_DIR_H

#include <stddef.h>
#include <stdint.h>

/* lv_checkpoint_list: the steps of all that have the name of a checkpoint, newest first; free() it.
 * fails  LV_ERR_IO; a folder that is not there yet is an empty one, a link to nothing an error */
int lv_checkpoint_list(int64_t **steps, size_t *n, const char *run_dir);

/* lv_checkpoint_clean: remove what a job that was killed left half written or half removed.
 * fails  LV_ERR_IO */
int lv_checkpoint_clean(const char *run_dir);

/* lv_checkpoint_install: give the directory beside, whose files are synced, its name; a damaged or
 * unwanted one of that name makes room.
 * fails  LV_ERR_IO */
int lv_checkpoint_install(const char *beside, const char *dir);

/* lv_checkpoint_prune: of the checkpoints up to `step`, which is whole, the newest `keep` stay;
 * those of later steps are set aside.
 * in     keep >= 1
 * fails  LV_ERR_IO */
int lv_checkpoint_prune(const char *run_dir, int64_t keep, int64_t step);

#endif
