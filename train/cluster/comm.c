/* SPDX-License-Identifier: Apache-2.0 */
#include "train/cluster/comm.h"

#include "autograd/error.h"
#include "train/host/activity.h"
#include "train/host/crash.h"

#include <inttypes.h>
#include <limits.h>
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_ELEMENTS = 1 << 28 }; /* counts are int: a 7B model has more elements than that */

int lv_comm_checked(int mpi_rc, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;
    if (mpi_rc == MPI_SUCCESS) {
        return LV_OK;
    }
    MPI_Error_string(mpi_rc, text, &n);
    return lv_fail(LV_ERR_COMM, "%s: %.*s", what, n, text);
}

static int end_wait(int mpi_rc, const char *what)
{
    lv_activity_wait_end();
    return lv_comm_checked(mpi_rc, what);
}
/* A call in which the main thread waits for other ranks. */
#define COLLECTIVE(call, what) (lv_activity_wait_begin(), end_wait(call, what))

/* No report of SIGABRT follows the message that has been printed. The alarm ends the process if
 * MPI_Abort does not return. */
_Noreturn void lv_comm_abort(void)
{
    enum { PATIENCE_S = 10 };
    lv_message_pause();
    signal(SIGALRM, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    alarm(PATIENCE_S);
    MPI_Abort(MPI_COMM_WORLD, 1);
    abort();
}

bool lv_comm_launched(void)
{
    static const char *const variables[] = {
        "OMPI_COMM_WORLD_SIZE", /* OpenMPI's mpirun */
        "PMIX_RANK",            /* PMIx: OpenMPI 5, srun --mpi=pmix */
        "PMI_RANK",             /* PMI: MPICH, Intel MPI, srun --mpi=pmi2, Flux */
        "PMI_FD",
        "PMI_PORT",
        "MV2_COMM_WORLD_SIZE", /* MVAPICH2's mpirun_rsh */
        "PALS_RANKID",         /* HPE Cray */
        "ALPS_APP_PE",         /* Cray, before that */
        "JSM_NAMESPACE_RANK",  /* IBM's jsrun */
    };
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        if (getenv(variables[i])) {
            return true;
        }
    }
    const char *tasks = getenv("SLURM_STEP_NUM_TASKS"); /* srun's, also in a shell of one task */
    return tasks && strcmp(tasks, "1") != 0;
}

/* The ranks that share memory, which are those of a host. */
static int split_host(MPI_Comm *host, const lv_comm *comm)
{
    return COLLECTIVE(
        MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, host),
        "MPI_Comm_split_type");
}

static int find_local_ranks(lv_comm *comm)
{
    MPI_Comm host;
    int rc = split_host(&host, comm);
    if (rc < 0) {
        return rc;
    }
    MPI_Comm_rank(host, &comm->local_rank);
    MPI_Comm_size(host, &comm->n_local_ranks);
    MPI_Comm_free(&host);
    return LV_OK;
}

int lv_comm_start(lv_comm *comm)
{
    int provided = 0;
    char host[256] = "", label[300];
    *comm = lv_comm_single();
    lv_crash_catch();
    lv_abort_hook_set(lv_crash_abort);
    if (!lv_comm_launched()) {
        return LV_OK;
    }
    int rc = lv_comm_checked(MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided),
                             "MPI_Init_thread");
    if (rc < 0) {
        return rc;
    }
    comm->started = true;
    lv_crash_catch();
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &comm->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &comm->n_ranks);
    lv_abort_hook_set(lv_comm_abort);
    gethostname(host, sizeof host - 1);
    snprintf(label, sizeof label, "rank %d on %s", comm->rank, host);
    lv_rank_label_set(label);
    if (provided < MPI_THREAD_FUNNELED) {
        return lv_fail(LV_ERR_COMM, "this MPI does not allow threads beside it");
    }
    comm->any_thread = provided >= MPI_THREAD_MULTIPLE;
    return find_local_ranks(comm);
}

void lv_comm_stop(lv_comm *comm)
{
    if (comm->started) {
        MPI_Finalize();
        comm->started = false;
    }
}

/* A message is labelled with its rank unless all ranks failed, or rank 0 found an error in the
 * command. */
static bool names_its_rank(int first, bool all_failed, int code)
{
    return !all_failed && !(first == 0 && code == LV_ERR_CONFIG);
}

int lv_comm_agree(const lv_comm *comm, int rc)
{
    const int own[2] = {rc < 0 ? comm->rank : comm->n_ranks, rc < 0};
    int least[2] = {0, 0}; /* the lowest rank that failed, and whether all did */
    struct {
        int code;
        char text[2048];
    } message = {.code = rc};
    if (comm->n_ranks == 1 || rc == LV_ERR_COMM) { /* others may wait for what MPI did not do */
        return rc;
    }
    int mpi_rc =
        COLLECTIVE(MPI_Allreduce(own, least, 2, MPI_INT, MPI_MIN, MPI_COMM_WORLD), "MPI_Allreduce");
    if (mpi_rc < 0 || least[0] == comm->n_ranks) {
        return mpi_rc;
    }
    bool marked = names_its_rank(least[0], least[1], rc);
    snprintf(message.text, sizeof message.text, "%s%s%s", marked ? lv_rank_label() : "",
             marked ? ": " : "", lv_error_message());
    mpi_rc = COLLECTIVE(
        MPI_Bcast(&message, (int)sizeof message, MPI_BYTE, least[0], MPI_COMM_WORLD), "MPI_Bcast");
    return mpi_rc < 0 ? mpi_rc : lv_fail(message.code, "%s", message.text);
}

static int reduce_double(const lv_comm *comm, double *x, int n, MPI_Op op)
{
    return comm->n_ranks == 1
               ? LV_OK
               : COLLECTIVE(MPI_Allreduce(MPI_IN_PLACE, x, n, MPI_DOUBLE, op, MPI_COMM_WORLD),
                            "MPI_Allreduce");
}

int lv_comm_sum_double(const lv_comm *comm, double *x, int n)
{
    return reduce_double(comm, x, n, MPI_SUM);
}

int lv_comm_sum_int64(const lv_comm *comm, int64_t *x, int64_t n)
{
    int rc = LV_OK;
    for (int64_t at = 0; comm->n_ranks > 1 && rc == LV_OK && at < n; at += PIECE_ELEMENTS) {
        int count = (int)(n - at < PIECE_ELEMENTS ? n - at : PIECE_ELEMENTS);
        rc = COLLECTIVE(
            MPI_Allreduce(MPI_IN_PLACE, x + at, count, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD),
            "MPI_Allreduce");
    }
    return rc;
}

int lv_comm_max_double(const lv_comm *comm, double *x, int n)
{
    return reduce_double(comm, x, n, MPI_MAX);
}

int lv_comm_broadcast(const lv_comm *comm, void *data, int64_t n)
{
    int rc = LV_OK;
    for (int64_t at = 0; comm->n_ranks > 1 && rc == LV_OK && at < n; at += PIECE_ELEMENTS) {
        int count = (int)(n - at < PIECE_ELEMENTS ? n - at : PIECE_ELEMENTS);
        rc = COLLECTIVE(MPI_Bcast((char *)data + at, count, MPI_BYTE, 0, MPI_COMM_WORLD),
                        "MPI_Bcast");
    }
    return rc;
}

int lv_comm_gather_all(const lv_comm *comm, void *all, const void *own, int n)
{
    if (comm->n_ranks == 1) {
        memcpy(all, own, (size_t)n);
        return LV_OK;
    }
    return COLLECTIVE(MPI_Allgather(own, n, MPI_BYTE, all, n, MPI_BYTE, MPI_COMM_WORLD),
                      "MPI_Allgather");
}

int lv_comm_gather_host(const lv_comm *comm, void *all, const void *own, int n)
{
    MPI_Comm host;
    if (comm->n_ranks == 1) {
        memcpy(all, own, (size_t)n);
        return LV_OK;
    }
    int rc = split_host(&host, comm);
    if (rc == LV_OK) {
        rc = COLLECTIVE(MPI_Allgather(own, n, MPI_BYTE, all, n, MPI_BYTE, host), "MPI_Allgather");
        MPI_Comm_free(&host);
    }
    return rc;
}

int lv_comm_gather(const lv_comm *comm, void *all, const void *own, int n)
{
    if (comm->n_ranks == 1) {
        memcpy(all, own, (size_t)n);
        return LV_OK;
    }
    return COLLECTIVE(MPI_Gather(own, n, MPI_BYTE, all, n, MPI_BYTE, 0, MPI_COMM_WORLD),
                      "MPI_Gather");
}

/* ---- a pack's team ---- */

static int team_barrier(void *context, int error)
{
    return lv_comm_agree(context, error);
}

static int team_broadcast(void *context, void *data, int64_t n)
{
    return lv_comm_broadcast(context, data, n);
}

static int team_sum(void *context, int64_t *x, int64_t n)
{
    return lv_comm_sum_int64(context, x, n);
}

static int team_gather(void *context, void *all, const void *own, int64_t n)
{
    return n <= INT_MAX ? lv_comm_gather_all(context, all, own, (int)n)
                        : lv_fail(LV_ERR_COMM, "%" PRId64 " bytes of each rank are too many", n);
}

lv_pack_team lv_comm_team(lv_comm *comm)
{
    return (lv_pack_team){.rank = comm->rank,
                          .n_ranks = comm->n_ranks,
                          .barrier = team_barrier,
                          .broadcast = team_broadcast,
                          .sum = team_sum,
                          .gather = team_gather,
                          .context = comm};
}

void lv_comm_library(char *out, size_t n, const lv_comm *comm)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    if (comm->started) {
        MPI_Get_library_version(text, &length);
    }
    /* "Open MPI v4.1.4, package: ...", "MPICH Version:\t4.0.2\nMPICH Release date: ..." */
    text[strcspn(text, ",\n")] = '\0';
    for (char *tab = text; (tab = strchr(tab, '\t')); *tab = ' ') {
    }
    snprintf(out, n, "%s", text);
}
