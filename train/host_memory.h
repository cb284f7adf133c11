/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory that a host has left.
 */
#ifndef LV_TRAIN_HOST_MEMORY_H
#define LV_TRAIN_HOST_MEMORY_H

#include <stdint.h>

/* lv_memory_left: what can be taken before something is killed: what the system says is available,
 * or what the control groups (version 2) of this process leave, if that is less. File caches, which
 * give way, count as left. INT64_MAX if nothing is said.
 * in     meminfo, list, mount: "/proc/meminfo", "/proc/self/cgroup", "/sys/fs/cgroup" but for tests
 * unit   bytes */
int64_t lv_memory_left(const char *meminfo, const char *list, const char *mount);

#endif
