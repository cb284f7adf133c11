/* SPDX-License-Identifier: Apache-2.0
 *
 * Exclusive locks of directories, so that one job at a time writes to them.
 */
#ifndef LV_DATA_BASE_LOCK_H
#define LV_DATA_BASE_LOCK_H

#define LV_LOCK_NAME "lock"

/* lv_lock_take: lock the directory by a file "lock" in it, which names host and process. The
 * system releases a lock when its process ends, however it ends.
 * out    *fd: to be passed to lv_lock_release
 * fails  LV_ERR_CONFIG naming who holds it; LV_ERR_IO */
int lv_lock_take(int *fd, const char *dir);

/* lv_lock_release: remove the file and release the lock; nothing if *fd < 0. *fd becomes -1. */
void lv_lock_release(int *fd, const char *dir);

/* lv_lock_take_file, lv_lock_release_file: the same with a lock file of any name; of: what it
 * locks, for the message. */
int lv_lock_take_file(int *fd, const char *path, const char *of);
void lv_lock_release_file(int *fd, const char *path);

#endif
