/* SPDX-License-Identifier: Apache-2.0 */
#include "train/exchange/pending.h"

#include "autograd/error.h"
#include "autograd/kernels/convert.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 2048 }; /* elements summed at a time, in L1 */

typedef struct {
    bool in_flight;
    lv_collective what;
    int64_t bucket;
    int64_t n_own;         /* gradients: elements of the own shard that are sent */
    MPI_Request *requests; /* [2 n_ranks] */
    int n_requests;
    char *received; /* n_ranks times the largest shard of a bucket, in the wire's dtype */
    char *packed;   /* a bucket in the wire's dtype; NULL if nothing is packed before it is sent */
} pending_bucket;

struct lv_pending {
    lv_params *params;
    const lv_shard *shard;
    lv_sparse_rows *rows;
    MPI_Comm comm;
    lv_dtype wire;
    MPI_Request rows_request;
    pending_bucket buckets[LV_MAX_PENDING];
};

/* ---- buffers ---- */

static size_t received_bytes(const lv_shard *shard, lv_dtype wire)
{
    int64_t most = 0;
    for (int64_t k = 0; k < shard->n_buckets; k++) {
        const lv_range first = lv_shard_part(shard, k, 0); /* no rank's is larger */
        most = first.end - first.begin > most ? first.end - first.begin : most;
    }
    return (size_t)shard->n_ranks * (size_t)most * lv_dtype_bytes(wire);
}

static size_t packed_bytes(const lv_shard *shard, lv_dtype wire, bool sparse)
{
    int64_t most = 0;
    for (int64_t k = 0; k < shard->n_buckets; k++) {
        const int64_t n = shard->buckets[k].end - shard->buckets[k].begin;
        most = n > most ? n : most;
    }
    return wire == LV_BF16 || sparse ? (size_t)most * lv_dtype_bytes(wire) : 0;
}

int64_t lv_pending_bytes(lv_params *params, lv_dtype wire)
{
    const lv_shard *shard = lv_params_shard(params);
    return lv_min_i64(shard->n_buckets, LV_MAX_PENDING) *
           (int64_t)(received_bytes(shard, wire) +
                     packed_bytes(shard, wire, lv_sparse_rows_param(params) != NULL));
}

static int create_buffers(lv_pending *p)
{
    const size_t n_received = received_bytes(p->shard, p->wire);
    const size_t n_packed = packed_bytes(p->shard, p->wire, p->rows->tensor != NULL);
    for (int i = 0; i < LV_MAX_PENDING && i < p->shard->n_buckets; i++) {
        pending_bucket *b = &p->buckets[i];
        b->requests = calloc(2 * (size_t)p->shard->n_ranks, sizeof *b->requests);
        b->received = malloc(n_received + 1);
        b->packed = n_packed > 0 ? malloc(n_packed) : NULL;
        if (!b->requests || !b->received || (!b->packed && n_packed > 0)) {
            return lv_fail(LV_ERR_MEMORY, "no memory for %zu bytes of gradients to be exchanged",
                           n_received + n_packed);
        }
    }
    return LV_OK;
}

int lv_pending_create(lv_pending **out, const lv_comm *comm, lv_params *params,
                      lv_sparse_rows *rows, lv_dtype wire)
{
    lv_pending *p = calloc(1, sizeof *p);
    LV_CHECK(p, "out of memory");
    *p = (lv_pending){.params = params,
                      .shard = lv_params_shard(params),
                      .rows = rows,
                      .comm = MPI_COMM_NULL,
                      .wire = wire,
                      .rows_request = MPI_REQUEST_NULL};
    int rc = lv_comm_agree(comm, create_buffers(p));
    if (rc == LV_OK) {
        rc = lv_comm_checked(MPI_Comm_dup(MPI_COMM_WORLD, &p->comm), "MPI_Comm_dup");
    }
    if (rc < 0) {
        lv_pending_destroy(&p);
        return rc;
    }
    *out = p;
    return LV_OK;
}

void lv_pending_destroy(lv_pending **pending)
{
    lv_pending *p = *pending;
    if (!p) {
        return;
    }
    for (int i = 0; i < LV_MAX_PENDING; i++) {
        free(p->buckets[i].requests);
        free(p->buckets[i].received);
        free(p->buckets[i].packed);
    }
    if (p->comm != MPI_COMM_NULL) {
        MPI_Comm_free(&p->comm);
    }
    free(p);
    *pending = NULL;
}

/* ---- sending ---- */

static MPI_Datatype type_of(lv_dtype dtype)
{
    return dtype == LV_BF16                   ? MPI_UINT16_T
           : sizeof(lv_real) == sizeof(float) ? MPI_FLOAT
                                              : MPI_DOUBLE;
}

static int send(const lv_pending *p, pending_bucket *b, const void *data, int64_t n, lv_dtype dtype,
                int to)
{
    return n == 0 ? LV_OK
                  : lv_comm_checked(MPI_Isend(data, (int)n, type_of(dtype), to, b->what, p->comm,
                                              &b->requests[b->n_requests++]),
                                    "MPI_Isend");
}

static int receive(const lv_pending *p, pending_bucket *b, void *data, int64_t n, lv_dtype dtype,
                   int from)
{
    return n == 0 ? LV_OK
                  : lv_comm_checked(MPI_Irecv(data, (int)n, type_of(dtype), from, b->what, p->comm,
                                              &b->requests[b->n_requests++]),
                                    "MPI_Irecv");
}

/* Where a rank's gradients of the own shard are received. */
static char *received_from(const lv_pending *p, const pending_bucket *b, int rank)
{
    return b->received + (size_t)rank * (size_t)b->n_own * lv_dtype_bytes(p->wire);
}

/* Gradients in the wire's dtype; rounded in blocks, by this thread alone. */
static void pack(char *to, lv_dtype wire, const lv_real *grad, int64_t n)
{
    if (wire != LV_BF16) {
        memcpy(to, grad, (size_t)n * sizeof *grad);
        return;
    }
    for (int64_t i = 0; i < n; i += BLOCK) {
        lv_convert_from_real(lv_element(to, wire, i), wire, grad + i, lv_min_i64(n - i, BLOCK));
    }
}

/* The gradients of a rank's shard of the bucket as they are sent, *n of them. */
static const void *to_be_sent(int64_t *n, const lv_pending *p, const pending_bucket *b,
                              lv_range shard)
{
    const lv_real *grad = lv_params_flat_grad(p->params);
    lv_range s = lv_sparse_rows_next(p->rows, shard.begin, shard.end);
    *n = s.end - s.begin;
    if (p->wire != LV_BF16 && *n == shard.end - shard.begin) {
        return grad + shard.begin;
    }
    char *to = lv_element(b->packed, p->wire, shard.begin - p->shard->buckets[b->bucket].begin);
    *n = 0;
    while (s.begin < s.end) {
        pack(lv_element(to, p->wire, *n), p->wire, grad + s.begin, s.end - s.begin);
        *n += s.end - s.begin;
        s = lv_sparse_rows_next(p->rows, s.end, shard.end);
    }
    return to;
}

static int start_grads(const lv_pending *p, pending_bucket *b, int peer)
{
    int64_t n;
    int rc = receive(p, b, received_from(p, b, peer), b->n_own, p->wire, peer);
    const void *data = to_be_sent(&n, p, b, lv_shard_part(p->shard, b->bucket, peer));
    return rc < 0 ? rc : send(p, b, data, n, p->wire, peer);
}

static int start_weights(const lv_pending *p, pending_bucket *b, int peer)
{
    const lv_bucket_shard *own = &p->shard->own[b->bucket];
    const lv_range theirs = lv_shard_part(p->shard, b->bucket, peer);
    lv_dtype dtype;
    void *to = lv_params_read_at(p->params, theirs.begin, &dtype);
    int rc = receive(p, b, to, theirs.end - theirs.begin, dtype, peer);
    const void *from = lv_params_read_at(p->params, own->begin, &dtype);
    return rc < 0 ? rc : send(p, b, from, own->end - own->begin, dtype, peer);
}

/* -1: all are in flight. */
static int free_slot(const lv_pending *p)
{
    for (int i = 0; i < LV_MAX_PENDING && i < p->shard->n_buckets; i++) {
        if (!p->buckets[i].in_flight) {
            return i;
        }
    }
    return -1;
}

bool lv_pending_has_room(const lv_pending *pending)
{
    return free_slot(pending) >= 0;
}

int lv_pending_start(lv_pending *p, lv_collective what, int64_t bucket)
{
    const int rank = p->shard->rank, n_ranks = p->shard->n_ranks;
    const lv_bucket_shard *own = &p->shard->own[bucket];
    pending_bucket *b = &p->buckets[free_slot(p)];
    int rc = LV_OK;
    b->in_flight = true;
    b->what = what;
    b->bucket = bucket;
    b->n_requests = 0;
    b->n_own = what == LV_REDUCE_SCATTER
                   ? lv_sparse_rows_count(p->rows, (lv_range){own->begin, own->end})
                   : 0;
    for (int i = 1; rc == LV_OK && i < n_ranks; i++) {
        const int peer = (rank + i) % n_ranks; /* not all ranks to the same one first */
        rc = what == LV_REDUCE_SCATTER ? start_grads(p, b, peer) : start_weights(p, b, peer);
    }
    return rc;
}

/* ---- receiving ---- */

/* Own gradients of a range = the sum over ranks, from rank 0 on; its first element was received as
 * element `at`. */
static void sum_range(const lv_pending *p, const pending_bucket *b, lv_range range, int64_t at)
{
    lv_real sum[BLOCK], one[BLOCK];
    for (int64_t i = range.begin; i < range.end; i += BLOCK) {
        const int64_t n = lv_min_i64(range.end - i, BLOCK);
        lv_real *grad = lv_params_flat_grad(p->params) + i;
        memset(sum, 0, (size_t)n * sizeof *sum);
        for (int rank = 0; rank < p->shard->n_ranks; rank++) {
            const lv_real *part = grad;
            if (rank != p->shard->rank) {
                const char *from =
                    lv_element(received_from(p, b, rank), p->wire, at + i - range.begin);
                if (p->wire == LV_BF16) {
                    lv_convert_to_real(one, from, LV_BF16, n);
                } else {
                    memcpy(one, from, (size_t)n * sizeof *one);
                }
                part = one;
            }
            for (int64_t k = 0; k < n; k++) {
                sum[k] += part[k];
            }
        }
        memcpy(grad, sum, (size_t)n * sizeof *sum);
    }
}

static void sum_own(const lv_pending *p, const pending_bucket *b)
{
    const lv_bucket_shard *own = &p->shard->own[b->bucket];
    int64_t at = 0;
    lv_range s = lv_sparse_rows_next(p->rows, own->begin, own->end);
    while (s.begin < s.end) {
        sum_range(p, b, s, at);
        at += s.end - s.begin;
        s = lv_sparse_rows_next(p->rows, s.end, own->end);
    }
}

static int test_bucket(const lv_pending *p, pending_bucket *b)
{
    int all = 0;
    int rc = lv_comm_checked(MPI_Testall(b->n_requests, b->requests, &all, MPI_STATUSES_IGNORE),
                             "MPI_Testall");
    b->in_flight = rc < 0 || !all;
    if (!b->in_flight && b->what == LV_REDUCE_SCATTER) {
        sum_own(p, b);
    }
    return rc;
}

int lv_pending_test(lv_pending *p, int64_t done[LV_MAX_PENDING], int *n)
{
    int rc = LV_OK;
    *n = 0;
    for (int i = 0; rc == LV_OK && i < LV_MAX_PENDING; i++) {
        pending_bucket *b = &p->buckets[i];
        if (b->in_flight) {
            rc = test_bucket(p, b);
            done[*n] = b->bucket;
            *n += !b->in_flight;
        }
    }
    return rc;
}

int lv_pending_unite_rows(lv_pending *p)
{
    lv_sparse_rows *rows = p->rows;
    int rc = LV_OK, done = 0;
    if (rows->complete || !rows->tensor) {
        return LV_OK;
    }
    if (p->rows_request == MPI_REQUEST_NULL) {
        rc = lv_comm_checked(MPI_Iallreduce(MPI_IN_PLACE, rows->bits,
                                            (int)lv_sparse_rows_words(rows), MPI_UINT64_T, MPI_BOR,
                                            p->comm, &p->rows_request),
                             "MPI_Iallreduce");
    }
    if (rc == LV_OK) {
        rc = lv_comm_checked(MPI_Test(&p->rows_request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    }
    rows->complete = rc == LV_OK && done;
    return rc;
}
