/* SPDX-License-Identifier: Apache-2.0
 *
 * The OpenMP threads of a rank: as many as there are cores for it, each bound to one. A launcher's
 * binding is kept: ranks that may use the same CPUs share out those. OMP_NUM_THREADS, and
 * OMP_PROC_BIND or OMP_PLACES, are the user's word and win.
 */
#ifndef LV_TRAIN_CLUSTER_THREADS_H
#define LV_TRAIN_CLUSTER_THREADS_H

#include "train/cluster/comm.h"
#include "train/host/cores.h"

typedef struct {
    int n_threads;
    bool bound;       /* each thread to a core, by lv_threads_start */
    lv_cpu_set slice; /* the CPUs that this rank may use, without others' if it is bound */
    char line[160];   /* on rank 0: "1 host, 2 ranks of 4 threads, each bound to a core" */
} lv_threads;

/* lv_threads_release: for a process that is about to exec: if OpenMP, as OMP_PROC_BIND says, has
 * bound its first thread, that thread may use all of OpenMP's places again, and so may what comes
 * after it. */
void lv_threads_release(void);

/* lv_threads_check_env: before any parallel region: OpenMP takes any OMP_NUM_THREADS, and crashes.
 * fails  LV_ERR_CONFIG if it is more than a system can have CPUs */
int lv_threads_check_env(void);

/* lv_threads_start: collective; before the first parallel region, and the number of threads is not
 * to be changed afterwards. Rank 0 says what will be slow: more threads than cores, or cores that
 * the launcher keeps from its ranks.
 * fails  LV_ERR_COMM, LV_ERR_IO, LV_ERR_MEMORY */
int lv_threads_start(lv_threads *out, const lv_comm *comm);

/* lv_threads_leave_core: for a thread that the bound one has started beside those of OpenMP: lets
 * it run anywhere in the rank's slice. threads: an lv_threads */
void lv_threads_leave_core(const void *threads);

/* lv_threads_check: collective, for ranks that compute with a single thread: nothing is bound, but
 * rank 0 says so if there are more of them than cores. */
int lv_threads_check(const lv_comm *comm);

#endif
