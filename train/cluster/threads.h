/* SPDX-License-Identifier: Apache-2.0
 *
 * The OpenMP threads of a rank: one for each of its cores, each bound to one. A launcher's binding is
 * kept: ranks that may use the same CPUs share them out. OMP_NUM_THREADS, OMP_PROC_BIND and
 * OMP_PLACES take precedence.
 */
#ifndef LV_TRAIN_CLUSTER_THREADS_H
#define LV_TRAIN_CLUSTER_THREADS_H

#include "train/cluster/comm.h"
#include "train/host/cores.h"

typedef struct {
    int n_threads;
    bool bound;       /* each thread to a core, by lv_threads_start */
    lv_cpu_set slice; /* the CPUs that this rank may use; if it is bound, its own alone */
    char line[160];   /* on rank 0: "1 host, 2 ranks of 4 threads, each bound to a core" */
} lv_threads;

/* lv_threads_release: before exec: undo OpenMP's binding of the first thread (OMP_PROC_BIND), which
 * the new program would inherit. */
void lv_threads_release(void);

/* lv_threads_check_env: before any parallel region, in which OpenMP crashes if OMP_NUM_THREADS is too
 * large.
 * fails  LV_ERR_CONFIG if it is more than a system can have CPUs */
int lv_threads_check_env(void);

/* lv_threads_start: collective; before the first parallel region, whose number of threads
 * must not be changed afterwards. Rank 0 warns of more threads than cores, and of cores that the
 * launcher keeps from its ranks.
 * fails  LV_ERR_COMM, LV_ERR_IO, LV_ERR_MEMORY */
int lv_threads_start(lv_threads *out, const lv_comm *comm);

/* lv_threads_leave_core: for a thread that the bound one has started beside those of OpenMP: lets
 * it run anywhere in the rank's slice. threads: an lv_threads */
void lv_threads_leave_core(const void *threads);

/* lv_threads_check: collective, for ranks that compute with a single thread: nothing is bound; rank 0
 * warns if there are more of them than cores. */
int lv_threads_check(const lv_comm *comm);

#endif
