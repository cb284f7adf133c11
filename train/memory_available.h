/* SPDX-License-Identifier: Apache-2.0
 *
 * How much memory could be taken now.
 */
#ifndef LV_TRAIN_MEMORY_AVAILABLE_H
#define LV_TRAIN_MEMORY_AVAILABLE_H

#include <stdint.h>

/* lv_memory_available: bytes that this process could take without swapping: MemAvailable of the
 * host, or what the control group (version 1 or 2) of the process and those above it leave, their
 * file cache being given up, if that is less. 0 if the system does not say.
 * in     proc, mount: "/proc", "/sys/fs/cgroup" but for tests */
int64_t lv_memory_available(const char *proc, const char *mount);

#endif
