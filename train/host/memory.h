/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory that a host has left: what the system gives as available, or what the control groups of
 * this process and those above it (version 1 or 2) leave, if that is less; and the memory in use.
 */
#ifndef LV_TRAIN_HOST_MEMORY_H
#define LV_TRAIN_HOST_MEMORY_H

#include <stdint.h>

/* lv_memory_left: what can be taken before a process is killed: all file caches of a group count as
 * left. INT64_MAX if nothing is known.
 * in     proc, mount: "/proc", "/sys/fs/cgroup" but for tests
 * unit   bytes */
int64_t lv_memory_left(const char *proc, const char *mount);

/* lv_memory_available: what can be taken without slowing anything: of a group's file caches only the
 * inactive ones count as left. 0 if nothing is known.
 * in, unit  as lv_memory_left */
int64_t lv_memory_available(const char *proc, const char *mount);

/* Resident memory: anonymous; of mapped files; shared (copies of frozen weights, MPI's buffers). */
typedef struct {
    int64_t anon_bytes, file_bytes, shmem_bytes;
} lv_process_memory;

/* lv_memory_now: of this process. */
lv_process_memory lv_memory_now(void);

#endif
