/* SPDX-License-Identifier: Apache-2.0 */
#include "train/plan/comm_probe.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "train/plan/probe.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 9, PINGS = 100, EXCHANGES = 5 };

static const double ROUND_S = 0.1; /* messages of a round, by the first one's time */

typedef struct {
    const lv_comm *comm;
    MPI_Comm host; /* the ranks of this host */
    MPI_Comm ring; /* those with this local rank, one a host */
    char *out, *in;
    int n_bytes;
} comm_probe;

static int checked(int mpi_rc)
{
    return lv_comm_checked(mpi_rc, "measuring messages");
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

/* Each rank sends to the next and receives from the one before, `times` times. */
static int shift_ring(const comm_probe *p, MPI_Comm among, int times)
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

/* Seconds of the slowest rank. times: 0: pings */
static int time_messages(double *seconds, const comm_probe *p, MPI_Comm among, int times)
{
    int rc = checked(MPI_Barrier(MPI_COMM_WORLD));
    const double begin_s = lv_clock_s();
    if (rc == LV_OK) rc = times > 0 ? shift_ring(p, among, times) : ping(among, PINGS);
    *seconds = lv_clock_s() - begin_s;
    return rc < 0 ? rc : lv_comm_max_double(p->comm, seconds, 1);
}

/* n_senders: ranks of a host that send at the same time. */
static int measure_link(lv_link_rates *out, const comm_probe *p, MPI_Comm among, int n_senders)
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
    rc = time_messages(&once_s, p, among, 1); /* connections are made */
    if (rc == LV_OK) rc = time_messages(&once_s, p, among, 1);
    if (rc < 0) {
        return rc;
    }
    const double wanted = ROUND_S / (once_s > 1e-9 ? once_s : 1e-9);
    const int times = wanted > 1000 ? 1000 : wanted > 1 ? (int)wanted : 1;
    for (int i = 0; rc == LV_OK && i < ROUNDS; i++) {
        rc = time_messages(&latency[i], p, among, 0);
        if (rc == LV_OK) rc = time_messages(&seconds[i], p, among, times);
    }
    if (rc == LV_OK) {
        out->latency_s = lv_median(latency, ROUNDS) / (2 * PINGS);
        out->bytes_per_s =
            (double)n_senders * p->n_bytes * (double)times / lv_median(seconds, ROUNDS);
    }
    return rc;
}

static int split_comms(comm_probe *p)
{
    const lv_comm *c = p->comm;
    int rc = checked(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, c->rank,
                                         MPI_INFO_NULL, &p->host));
    return rc < 0 ? rc : checked(MPI_Comm_split(MPI_COMM_WORLD, c->local_rank, c->rank, &p->ring));
}

int lv_comm_probe(lv_comm_rates *out, const lv_comm *comm, int64_t message_bytes)
{
    lv_comm_rates rates = {.n_hosts = 1};
    comm_probe p = {.comm = comm,
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
        rc = comm->n_ranks > 1 ? split_comms(&p) : LV_OK;
    }
    if (rc == LV_OK && comm->n_ranks > 1) {
        int64_t n_hosts = comm->local_rank == 0;
        rc = lv_comm_sum_int64(comm, &n_hosts, 1);
        rates.n_hosts = (int)n_hosts;
        if (rc == LV_OK) rc = measure_link(&rates.local, &p, p.host, comm->n_local_ranks);
        if (rc == LV_OK) rc = measure_link(&rates.remote, &p, p.ring, comm->n_local_ranks);
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

/* ---- the exchange of a step ---- */

/* One parameter, as large as all of a run's together. */
static int declare_params(lv_params *params, const lv_comm *comm, int64_t n_params,
                          double bucket_mb)
{
    static const char *const all[] = {"weight"};
    lv_tensor *tensor = lv_params_declare(params, all[0], 1, &n_params, true, true);
    lv_param *param = lv_params_of(params, tensor);
    param->takes_bf16 = true;
    lv_params_dtype_set(params, LV_BF16);
    lv_params_share_set(params, comm->rank, comm->n_ranks,
                        lv_shard_bucket_count(bucket_mb, comm->n_ranks));
    int rc = lv_params_set_trainable(params, all, 1);
    if (rc == LV_OK) rc = lv_params_allocate(params);
    return rc < 0 ? rc : lv_params_init(params, param, (lv_init){.kind = LV_INIT_ONE}, 0);
}

static int exchange_weights(lv_exchange *exchange)
{
    return lv_exchange_weights(exchange, NULL, NULL);
}

/* Seconds of the slowest rank. */
static int time_exchange(double *seconds, const lv_comm *comm, lv_exchange *exchange,
                         int run(lv_exchange *exchange))
{
    int rc = lv_comm_agree(comm, LV_OK);
    const double begin_s = lv_clock_s();
    if (rc == LV_OK) rc = run(exchange);
    if (rc == LV_OK) rc = lv_exchange_finish(exchange);
    *seconds = lv_clock_s() - begin_s;
    return rc < 0 ? rc : lv_comm_max_double(comm, seconds, 1);
}

int lv_exchange_probe(double *grads_s, double *weights_s, const lv_comm *comm, int64_t n_params,
                      lv_dtype wire, double bucket_mb)
{
    const lv_exchange_options options = {.wire = wire};
    double grads[EXCHANGES], weights[EXCHANGES];
    lv_params *params = NULL;
    lv_exchange *exchange = NULL;
    int rc = lv_params_create(&params);
    if (rc == LV_OK) rc = declare_params(params, comm, n_params, bucket_mb);
    rc = lv_comm_agree(comm, rc);
    if (rc == LV_OK) rc = lv_exchange_create(&exchange, comm, params, &options);
    for (int i = -1; rc == LV_OK && i < EXCHANGES; i++) {
        const int at = i < 0 ? 0 : i; /* the first round makes connections */
        rc = time_exchange(&grads[at], comm, exchange, lv_exchange_grads);
        if (rc == LV_OK) rc = time_exchange(&weights[at], comm, exchange, exchange_weights);
    }
    if (rc == LV_OK) {
        *grads_s = lv_median(grads, EXCHANGES);
        *weights_s = lv_median(weights, EXCHANGES);
    }
    lv_exchange_destroy(&exchange);
    lv_params_destroy(&params);
    return rc;
}
