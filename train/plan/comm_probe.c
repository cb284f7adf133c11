/* SPDX-License-Identifier: Apache-2.0 */
#include "train/plan/comm_probe.h"

#include "autograd/error.h"
#include "data/base/clock.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 9, PINGS = 100 };

static const double ROUND_S = 0.1; /* messages of a round, by the first one's time */

typedef struct {
    const lv_comm *comm;
    MPI_Comm host; /* the ranks of this host */
    MPI_Comm ring; /* those with this local rank, one a host */
    char *out, *in;
    int n_bytes;
} probe;

static int checked(int mpi_rc)
{
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;
    if (mpi_rc == MPI_SUCCESS) {
        return LV_OK;
    }
    MPI_Error_string(mpi_rc, text, &n);
    return lv_fail(LV_ERR_COMM, "measuring messages: %.*s", n, text);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, ascending);
    return x[n / 2];
}

/* Ranks 0 and 1, 2 and 3, ... send 8 bytes there and back, `pings` times. */
static int ping(MPI_Comm among, int pings)
{
    int rank, size;
    int64_t word = 0;
    MPI_Comm_rank(among, &rank);
    MPI_Comm_size(among, &size);
    const int other = rank ^ 1;
    int rc = LV_OK;
    for (int i = 0; rc == LV_OK && other < size && i < pings; i++) {
        if (rank % 2 == 0) {
            rc = checked(MPI_Send(&word, 1, MPI_INT64_T, other, 0, among));
        }
        if (rc == LV_OK) {
            rc = checked(MPI_Recv(&word, 1, MPI_INT64_T, other, 0, among, MPI_STATUS_IGNORE));
        }
        if (rc == LV_OK && rank % 2 == 1) {
            rc = checked(MPI_Send(&word, 1, MPI_INT64_T, other, 0, among));
        }
    }
    return rc;
}

/* Everyone sends to the next and receives from the one before, `times` times. */
static int pass_on(const probe *p, MPI_Comm among, int times)
{
    int rank, size, rc = LV_OK;
    MPI_Comm_rank(among, &rank);
    MPI_Comm_size(among, &size);
    const int next = (rank + 1) % size, before = (rank + size - 1) % size;
    for (int i = 0; rc == LV_OK && size > 1 && i < times; i++) {
        rc = checked(MPI_Sendrecv(p->out, p->n_bytes, MPI_BYTE, next, 1, p->in, p->n_bytes,
                                  MPI_BYTE, before, 1, among, MPI_STATUS_IGNORE));
    }
    return rc;
}

/* Seconds until all ranks have done it, as the last one sees them. times: 0: pings */
static int timed(double *seconds, const probe *p, MPI_Comm among, int times)
{
    int rc = checked(MPI_Barrier(MPI_COMM_WORLD));
    const double begin_s = lv_clock_s();
    if (rc == LV_OK) rc = times > 0 ? pass_on(p, among, times) : ping(among, PINGS);
    *seconds = lv_clock_s() - begin_s;
    return rc < 0 ? rc : lv_comm_max_double(p->comm, seconds, 1);
}

/* n_senders: ranks that leave a host's bytes to others at the same time */
static int measure(lv_link_rates *out, const probe *p, MPI_Comm among, int n_senders)
{
    double latency[ROUNDS], seconds[ROUNDS], once_s;
    double largest;
    int size;
    MPI_Comm_size(among, &size);
    largest = size;
    int rc = lv_comm_max_double(p->comm, &largest, 1);
    if (rc < 0 || largest < 2) {
        return rc;
    }
    rc = timed(&once_s, p, among, 1); /* connections are made */
    if (rc == LV_OK) rc = timed(&once_s, p, among, 1);
    if (rc < 0) {
        return rc;
    }
    const double wanted = ROUND_S / (once_s > 1e-9 ? once_s : 1e-9);
    const int times = wanted > 1000 ? 1000 : wanted > 1 ? (int)wanted : 1;
    for (int i = 0; rc == LV_OK && i < ROUNDS; i++) {
        rc = timed(&latency[i], p, among, 0);
        if (rc == LV_OK) rc = timed(&seconds[i], p, among, times);
    }
    if (rc == LV_OK) {
        out->latency_s = median(latency, ROUNDS) / (2 * PINGS);
        out->bytes_per_s = (double)n_senders * p->n_bytes * (double)times / median(seconds, ROUNDS);
    }
    return rc;
}

static int split(probe *p)
{
    const lv_comm *c = p->comm;
    int rc = checked(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, c->rank,
                                         MPI_INFO_NULL, &p->host));
    return rc < 0 ? rc : checked(MPI_Comm_split(MPI_COMM_WORLD, c->local_rank, c->rank, &p->ring));
}

int lv_comm_probe(lv_comm_rates *out, const lv_comm *comm, int64_t message_bytes)
{
    lv_comm_rates rates = {.n_hosts = 1};
    probe p = {.comm = comm,
               .host = MPI_COMM_NULL,
               .ring = MPI_COMM_NULL,
               .out = malloc((size_t)message_bytes),
               .in = malloc((size_t)message_bytes),
               .n_bytes = (int)message_bytes};
    int rc = lv_comm_agree(comm, p.out && p.in ? LV_OK
                                               : lv_fail(LV_ERR_MEMORY,
                                                         "no memory for two messages of %lld bytes",
                                                         (long long)message_bytes));
    if (rc == LV_OK) {
        memset(p.out, 1, (size_t)message_bytes);
        memset(p.in, 1, (size_t)message_bytes);
        rc = comm->n_ranks > 1 ? split(&p) : LV_OK;
    }
    if (rc == LV_OK && comm->n_ranks > 1) {
        int64_t n_hosts = comm->local_rank == 0;
        rc = lv_comm_sum_int64(comm, &n_hosts, 1);
        rates.n_hosts = (int)n_hosts;
        if (rc == LV_OK) rc = measure(&rates.local, &p, p.host, comm->n_local_ranks);
        if (rc == LV_OK) rc = measure(&rates.remote, &p, p.ring, comm->n_local_ranks);
    }
    if (p.host != MPI_COMM_NULL) {
        MPI_Comm_free(&p.host);
    }
    if (p.ring != MPI_COMM_NULL) {
        MPI_Comm_free(&p.ring);
    }
    free(p.out);
    free(p.in);
    if (rc == LV_OK) {
        *out = rates;
    }
    return rc;
}
