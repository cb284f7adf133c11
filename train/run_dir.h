/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of a run: what is in it under the names that a run writes must be of a run.
 */
#ifndef LV_TRAIN_RUN_DIR_H
#define LV_TRAIN_RUN_DIR_H

#include "train/config/config.h"

/* lv_run_dir_check: whatever the run would write over, add to or remove in run.dir is not there, or
 * is of llava, told by its content; and the run reads nothing that it would replace. By one rank,
 * before anything is written.
 * in     n_ranks: of the job; with several there are heartbeats
 * fails  LV_ERR_CONFIG naming what is there; LV_ERR_IO */
int lv_run_dir_check(const lv_config *config, int n_ranks);

#endif
