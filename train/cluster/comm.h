/* SPDX-License-Identifier: Apache-2.0
 *
 * The ranks of a job, by MPI 3.1 alone. Every function is collective over all ranks unless it says
 * otherwise, and returns LV_ERR_COMM if MPI fails. lv_comm_single() is a job of one rank, without
 * MPI.
 */
#ifndef LV_TRAIN_CLUSTER_COMM_H
#define LV_TRAIN_CLUSTER_COMM_H

#include "autograd/real.h"
#include "data/pack/pack.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int rank, n_ranks;
    int local_rank, n_local_ranks; /* among the ranks of this host */
    bool started;                  /* MPI is running */
    bool any_thread;               /* any thread may call MPI, several at once */
} lv_comm;

static inline lv_comm lv_comm_single(void)
{
    return (lv_comm){.n_ranks = 1, .n_local_ranks = 1};
}

/* lv_comm_launched: whether a launcher (mpirun, srun or the like) started this process as one of a
 * job's ranks, by the variables that it sets. Not collective. */
bool lv_comm_launched(void);

/* lv_comm_start: MPI_Init; from here on LV_CHECK ends the job on all ranks, and fatal signals are
 * reported (train/host/crash.h). Without a launcher a single rank: MPI, which takes 0.4 s to start,
 * is not used. */
int lv_comm_start(lv_comm *comm);
void lv_comm_stop(lv_comm *comm);

/* lv_comm_abort: end the job on all ranks at once, with exit status 1, after the error was printed:
 * when MPI itself failed, or one rank alone while others may be waiting. Not collective. */
_Noreturn void lv_comm_abort(void);

/* lv_comm_agree: the end of a phase that may have failed on some ranks. If all pass LV_OK, LV_OK;
 * otherwise every rank gets the code and the message of the lowest rank that failed, "rank 3 on
 * node07: ..." unless all of them did. Where MPI itself failed ranks cannot agree: LV_ERR_COMM
 * is returned at once, on which the caller ends the job (lv_comm_abort). */
int lv_comm_agree(const lv_comm *comm, int rc);

/* Sums and largest values over ranks, in place; the same bits on all. */
int lv_comm_sum_double(const lv_comm *comm, double *x, int n);
int lv_comm_max_double(const lv_comm *comm, double *x, int n);

int lv_comm_sum_int64(const lv_comm *comm, int64_t *x, int64_t n);

/* lv_comm_broadcast: n bytes of rank 0 to all. */
int lv_comm_broadcast(const lv_comm *comm, void *data, int64_t n);

/* lv_comm_gather_all: all[rank] = the n bytes of each rank. */
int lv_comm_gather_all(const lv_comm *comm, void *all, const void *own, int n);

/* lv_comm_gather_host: all[local_rank] = the n bytes of each rank of this host. */
int lv_comm_gather_host(const lv_comm *comm, void *all, const void *own, int n);

/* lv_comm_gather: on rank 0 all[rank] = the n bytes of each rank; elsewhere all is not used. */
int lv_comm_gather(const lv_comm *comm, void *all, const void *own, int n);

/* lv_comm_team: the ranks as those that write a pack; warn and progress are the caller's to set. Not
 * collective. */
lv_pack_team lv_comm_team(lv_comm *comm);

/* lv_comm_checked: of an MPI function's result: LV_OK, or LV_ERR_COMM with `what` and MPI's message.
 * Not collective. */
int lv_comm_checked(int mpi_rc, const char *what);

/* lv_comm_library: name and version of the MPI in use, "" if it was not started. Not collective. */
void lv_comm_library(char *out, size_t n, const lv_comm *comm);

#endif
