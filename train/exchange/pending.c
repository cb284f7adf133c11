/* SPDX-License-Identifier: Apache-2.0 */
#include "train/exchange/pending.h"

#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "train/cluster/comm.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 2048 }; /* elements that are added up at a time, in L1 */

static int64_t largest_bucket(const lv_shard *shard)
{
    int64_t most = 0;
    for (int64_t k = 0; k < shard->n_buckets; k++) {
        const int64_t n = shard->buckets[k].end - shard->buckets[k].begin;
        most = n > most ? n : most;
    }
    return most;
}

static int64_t largest_piece(const lv_shard *shard)
{
    int64_t most = 0;
    for (int64_t k = 0; k < shard->n_buckets; k++) {
        const lv_range first = lv_shard_part(shard, k, 0); /* none is larger */
        most = first.end - first.begin > most ? first.end - first.begin : most;
    }
    return most;
}

static size_t received_bytes(const lv_shard *shard, lv_dtype wire)
{
    return (size_t)shard->n_ranks * (size_t)largest_piece(shard) * lv_dtype_bytes(wire);
}

static size_t packed_bytes(const lv_shard *shard, lv_dtype wire, bool by_rows)
{
    return wire == LV_BF16 || by_rows ? (size_t)largest_bucket(shard) * lv_dtype_bytes(wire) : 0;
}

int64_t lv_flight_bytes(const lv_shard *shard, lv_dtype wire, bool by_rows)
{
    return (int64_t)(received_bytes(shard, wire) + packed_bytes(shard, wire, by_rows));
}

int lv_flight_create(lv_flight *flight, const lv_route *route)
{
    const size_t n_received = received_bytes(route->shard, route->wire);
    const size_t n_packed = packed_bytes(route->shard, route->wire, route->rows->tensor != NULL);
    *flight =
        (lv_flight){.requests = calloc(2 * (size_t)route->shard->n_ranks, sizeof(MPI_Request)),
                    .received = malloc(n_received + 1),
                    .packed = n_packed > 0 ? malloc(n_packed) : NULL};
    return flight->requests && flight->received && (flight->packed || n_packed == 0)
               ? LV_OK
               : lv_fail(LV_ERR_MEMORY, "no memory for %zu bytes of gradients on their way",
                         n_received + n_packed);
}

void lv_flight_destroy(lv_flight *flight)
{
    free(flight->requests);
    free(flight->received);
    free(flight->packed);
}

static MPI_Datatype type_of(lv_dtype dtype)
{
    return dtype == LV_BF16                   ? MPI_UINT16_T
           : sizeof(lv_real) == sizeof(float) ? MPI_FLOAT
                                              : MPI_DOUBLE;
}

static int send(lv_flight *flight, const lv_route *route, const void *data, int64_t n,
                lv_dtype dtype, int to)
{
    return n == 0 ? LV_OK
                  : lv_comm_checked(MPI_Isend(data, (int)n, type_of(dtype), to, flight->move,
                                              route->comm, &flight->requests[flight->n_requests++]),
                                    "MPI_Isend");
}

static int receive(lv_flight *flight, const lv_route *route, void *data, int64_t n, lv_dtype dtype,
                   int from)
{
    return n == 0 ? LV_OK
                  : lv_comm_checked(MPI_Irecv(data, (int)n, type_of(dtype), from, flight->move,
                                              route->comm, &flight->requests[flight->n_requests++]),
                                    "MPI_Irecv");
}

/* Where what a rank sends of the own piece is put. */
static char *received_from(const lv_flight *flight, const lv_route *route, int rank)
{
    return flight->received + (size_t)rank * (size_t)flight->n_own * lv_dtype_bytes(route->wire);
}

/* Some gradients in the wire's dtype; rounded in pieces, by this thread alone. */
static void pack(char *to, lv_dtype wire, const lv_real *grad, int64_t n)
{
    if (wire != LV_BF16) {
        memcpy(to, grad, (size_t)n * sizeof *grad);
        return;
    }
    for (int64_t i = 0; i < n; i += BLOCK) {
        lv_convert_from_real(lv_element(to, wire, i), wire, grad + i,
                             n - i < BLOCK ? n - i : BLOCK);
    }
}

/* Those gradients of a part that travel, *n of them, as they travel. */
static const void *on_the_wire(int64_t *n, const lv_flight *flight, const lv_route *route,
                               lv_range part)
{
    const lv_real *grad = lv_params_flat_grad(route->params);
    lv_range s = lv_touched_rows_next(route->rows, part.begin, part.end);
    *n = s.end - s.begin;
    if (route->wire != LV_BF16 && *n == part.end - part.begin) {
        return grad + part.begin;
    }
    char *to = lv_element(flight->packed, route->wire,
                          part.begin - route->shard->buckets[flight->bucket].begin);
    *n = 0;
    while (s.begin < s.end) {
        pack(lv_element(to, route->wire, *n), route->wire, grad + s.begin, s.end - s.begin);
        *n += s.end - s.begin;
        s = lv_touched_rows_next(route->rows, s.end, part.end);
    }
    return to;
}

static int start_grads(lv_flight *flight, const lv_route *route, int peer)
{
    int64_t n;
    int rc = receive(flight, route, received_from(flight, route, peer), flight->n_own, route->wire,
                     peer);
    const void *data =
        on_the_wire(&n, flight, route, lv_shard_part(route->shard, flight->bucket, peer));
    return rc < 0 ? rc : send(flight, route, data, n, route->wire, peer);
}

static int start_weights(lv_flight *flight, const lv_route *route, int peer)
{
    const lv_piece *own = &route->shard->pieces[flight->bucket];
    const lv_range theirs = lv_shard_part(route->shard, flight->bucket, peer);
    lv_dtype dtype;
    void *to = lv_params_read_at(route->params, theirs.begin, &dtype);
    int rc = receive(flight, route, to, theirs.end - theirs.begin, dtype, peer);
    const void *from = lv_params_read_at(route->params, own->begin, &dtype);
    return rc < 0 ? rc : send(flight, route, from, own->end - own->begin, dtype, peer);
}

int lv_flight_start(lv_flight *flight, const lv_route *route, lv_move move, int64_t bucket)
{
    const int rank = route->shard->rank, n_ranks = route->shard->n_ranks;
    const lv_piece *own = &route->shard->pieces[bucket];
    int rc = LV_OK;
    flight->flying = true;
    flight->move = move;
    flight->bucket = bucket;
    flight->n_requests = 0;
    flight->n_own = move == LV_MOVE_GRADS
                        ? lv_touched_rows_count(route->rows, (lv_range){own->begin, own->end})
                        : 0;
    for (int i = 1; rc == LV_OK && i < n_ranks; i++) {
        const int peer = (rank + i) % n_ranks; /* not all ranks to the same one first */
        rc = move == LV_MOVE_GRADS ? start_grads(flight, route, peer)
                                   : start_weights(flight, route, peer);
    }
    return rc;
}

/* Some own gradients = the sum over ranks, from rank 0 on; what came begins with element `at`. */
static void add_stretch(const lv_flight *flight, const lv_route *route, lv_range stretch,
                        int64_t at)
{
    lv_real sum[BLOCK], one[BLOCK];
    for (int64_t i = stretch.begin; i < stretch.end; i += BLOCK) {
        const int64_t n = stretch.end - i < BLOCK ? stretch.end - i : BLOCK;
        lv_real *grad = lv_params_flat_grad(route->params) + i;
        memset(sum, 0, (size_t)n * sizeof *sum);
        for (int rank = 0; rank < route->shard->n_ranks; rank++) {
            const lv_real *part = grad;
            if (rank != route->shard->rank) {
                const char *from = lv_element(received_from(flight, route, rank), route->wire,
                                              at + i - stretch.begin);
                if (route->wire == LV_BF16) {
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

static void add_up(const lv_flight *flight, const lv_route *route)
{
    const lv_piece *own = &route->shard->pieces[flight->bucket];
    int64_t at = 0;
    lv_range s = lv_touched_rows_next(route->rows, own->begin, own->end);
    while (s.begin < s.end) {
        add_stretch(flight, route, s, at);
        at += s.end - s.begin;
        s = lv_touched_rows_next(route->rows, s.end, own->end);
    }
}

int lv_flight_test(lv_flight *flight, const lv_route *route, bool *landed)
{
    int all = 0;
    int rc = lv_comm_checked(
        MPI_Testall(flight->n_requests, flight->requests, &all, MPI_STATUSES_IGNORE),
        "MPI_Testall");
    *landed = rc == LV_OK && all;
    if (*landed) {
        flight->flying = false;
        if (flight->move == LV_MOVE_GRADS) {
            add_up(flight, route);
        }
    }
    return rc;
}
