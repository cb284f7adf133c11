/* SPDX-License-Identifier: Apache-2.0
 *
 * The folder of a run's checkpoints: run_dir/checkpoints/step-000500. What is not a whole
 * checkpoint has another name: step-000500.tmp is being written, .removed is being removed, .aside
 * is of a later step than the one that the run was resumed from. For rank 0.
 */
#ifndef LV_TRAIN_CHECKPOINT_DIR_H
#define LV_TRAIN_CHECKPOINT_DIR_H

#include <stddef.h>
#include <stdint.h>

/* lv_checkpoint_path: run_dir/checkpoints/step-000500; free() it. */
char *lv_checkpoint_path(const char *run_dir, int64_t step);

/* lv_checkpoint_list: the steps of all folders with the name of a checkpoint, newest first; free() it.
 * fails  LV_ERR_IO, also for a dangling link; a missing folder is an empty one */
int lv_checkpoint_list(int64_t **steps, size_t *n, const char *run_dir);

/* lv_checkpoint_check_own: every folder there with the name of a checkpoint, whole or not, holds
 * nothing else than the files of one: it may be removed.
 * fails  LV_ERR_CONFIG naming what else is there; LV_ERR_IO */
int lv_checkpoint_check_own(const char *run_dir);

/* lv_checkpoint_clean: remove what a killed job left half written or half removed.
 * fails  LV_ERR_IO */
int lv_checkpoint_clean(const char *run_dir);

/* lv_checkpoint_install: rename the directory tmp_dir, whose files are synced, to dir; an older one
 * of that name is removed.
 * fails  LV_ERR_IO */
int lv_checkpoint_install(const char *tmp_dir, const char *dir);

/* lv_checkpoint_prune: keep the newest `keep` of the checkpoints up to `step`, which is whole, and
 * rename those of later steps to .aside.
 * in     keep >= 1
 * fails  LV_ERR_IO */
int lv_checkpoint_prune(const char *run_dir, int64_t keep, int64_t step);

#endif
