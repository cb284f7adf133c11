/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of a run, held by one job at a time.
 */
#ifndef LV_TRAIN_RUN_DIR_H
#define LV_TRAIN_RUN_DIR_H

#include <cjson/cJSON.h>

/* lv_run_dir_lock: make the directory and take its lock, which the system gives back when the
 * process ends in whatever way. Rank 0's.
 * out    *fd: to be passed to lv_run_dir_unlock
 * fails  LV_ERR_CONFIG naming host and process that hold it; LV_ERR_IO */
int lv_run_dir_lock(int *fd, const char *dir);
void lv_run_dir_unlock(int fd);

/* lv_run_dir_write_config: config.json, for those who look at the run. fails  LV_ERR_IO */
int lv_run_dir_write_config(const char *dir, const cJSON *config);

#endif
