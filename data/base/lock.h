/* SPDX-License-Identifier: Apache-2.0
 *
 * Directories that one job at a time may write to.
 */
#ifndef LV_DATA_BASE_LOCK_H
#define LV_DATA_BASE_LOCK_H

#define LV_LOCK_NAME "lock"

/* lv_lock_take: lock the directory by a file "lock" in it, which names host and process. The system
 * gives a lock back when its process ends, in whatever way.
 * out    *fd: to be passed to lv_lock_release
 * fails  LV_ERR_CONFIG naming who holds it; LV_ERR_IO */
int lv_lock_take(int *fd, const char *dir);

/* lv_lock_release: remove the file and give the lock back; nothing if *fd < 0. *fd becomes -1. */
void lv_lock_release(int *fd, const char *dir);

/* lv_lock_take_file, lv_lock_release_file: the same by a file of any name, for what it is of. */
int lv_lock_take_file(int *fd, const char *path, const char *of);
void lv_lock_release_file(int *fd, const char *path);

#endif
