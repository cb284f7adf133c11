/* SPDX-License-Identifier: Apache-2.0
 *
 * The control groups that limit this process: its own, and those above it.
 */
#ifndef LV_TRAIN_HOST_CGROUP_H
#define LV_TRAIN_HOST_CGROUP_H

#include <stdint.h>

/* lv_cgroup_walk: visit the folder of each of them, from the process's own up to the top. In a
 * container the path may be the host's: then only the top exists.
 * in     list, mount: "/proc/self/cgroup", "/sys/fs/cgroup" but for tests; controller: "memory" or
 *        the like for groups of version 1, NULL for those of version 2 */
typedef void lv_cgroup_visit(void *context, const char *dir);
void lv_cgroup_walk(const char *list, const char *mount, const char *controller,
                    lv_cgroup_visit *visit, void *context);

/* lv_cpu_quota: the number of CPUs whose time these groups (version 2) allow; infinity if there is no
 * limit.
 * in     list, mount: as lv_cgroup_walk
 * out    id: the same for processes that share that quota, 0 if there is none */
double lv_cpu_quota(uint64_t *id, const char *list, const char *mount);

#endif
