/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that ranks of a host share. It has no name in any file system: the leader of a group makes
 * it (memfd_create), the others open it as /proc/<pid>/fd/<n> of the leader, so that nothing of it is
 * left when the processes are gone, however they end. It takes one user and one PID namespace for
 * the ranks of a host.
 */
#ifndef LV_TRAIN_CLUSTER_SHARED_COPY_H
#define LV_TRAIN_CLUSTER_SHARED_COPY_H

#include "train/cluster/comm.h"

typedef struct {
    void *data; /* 64-byte aligned at least; cleared */
    int64_t n_bytes;
    int part, n_parts; /* this rank's number among those that share it */
    int n_copies;      /* groups on this host */
} lv_shared_copy;

/* lv_shared_copy_create: collective over all ranks. The ranks of a host that give the same group
 * get the same memory. A page is on the NUMA node of the thread that first writes to it; huge pages
 * are used where the system has them.
 * in     n_bytes > 0, the same on all ranks
 * fails  on all ranks with the message of one: LV_ERR_MEMORY with what was asked for and what the
 *        host has left, LV_ERR_IO with what to do if a rank cannot open it, LV_ERR_COMM */
int lv_shared_copy_create(lv_shared_copy *out, const lv_comm *comm, int group, int64_t n_bytes);

/* lv_shared_copy_seal: after all have written: read-only from here on, for this rank.
 * fails  LV_ERR_IO */
int lv_shared_copy_seal(const lv_shared_copy *copy);

/* lv_shared_copy_destroy: unmaps it, for this rank. Not collective. Sets it to {0}. */
void lv_shared_copy_destroy(lv_shared_copy *copy);

#endif
