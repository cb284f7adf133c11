/* SPDX-License-Identifier: Apache-2.0
 *
 * exchange_sums f32|bf16 OVERLAP [FAILING]: to be run by mpirun. Steps of an exchange with
 * gradients that every rank can compute: the sums, the number of elements sent, and the new weights
 * are as expected. Each step has gradients in other rows of an embedding, some of them on one rank
 * alone, the last rank none. Rank 0 has a step without a gradient of "c", after the embedding, and
 * one whose last micro-batch does not read it. The program ends while weights are being sent. On the
 * rank that is FAILING, MPI fails in the middle of a step.
 */
#include "train/exchange/exchange.h"

#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "data/base/thread.h"

#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BEFORE = 700, ROWS = 150, WIDTH = 37, AFTER = 900, NORM = 41, BUCKET = 512, STEPS = 6 };
enum { WITHOUT_GRAD = 4, NOT_IN_LAST = 5 }; /* steps of rank 0, its "c" */
enum { EMBED_END = BEFORE + ROWS * WIDTH, COUNT = EMBED_END + AFTER + NORM };

static int64_t n_sent;

/* Called by the exchange for gradients and weights alone. */
int MPI_Isend(const void *data, int n, MPI_Datatype type, int to, int tag, MPI_Comm comm,
              MPI_Request *request)
{
    n_sent += n;
    return PMPI_Isend(data, n, type, to, tag, comm, request);
}

static int failing_in = -1; /* calls of MPI_Testall; -1: never */

int MPI_Testall(int n, MPI_Request requests[], int *all, MPI_Status statuses[])
{
    failing_in -= failing_in > 0;
    return failing_in == 0 ? MPI_ERR_OTHER : PMPI_Testall(n, requests, all, statuses);
}

static bool touches(int rank, int n_ranks, int step, int64_t row)
{
    const bool all = step == 2 && rank == 0,
               none = step == 3 || (n_ranks > 1 && rank == n_ranks - 1);
    return all || (!none && (row * 7 + step * 5) % (11 + 3 * rank) < 3);
}

static bool touched(int n_ranks, int step, int64_t row)
{
    for (int rank = 0; rank < n_ranks; rank++) {
        if (touches(rank, n_ranks, step, row)) {
            return true;
        }
    }
    return false;
}

static bool in_embedding(int64_t i)
{
    return i >= BEFORE && i < EMBED_END;
}

static bool has_grad(int rank, int n_ranks, int step, int64_t i)
{
    if (in_embedding(i)) {
        return touches(rank, n_ranks, step, (i - BEFORE) / WIDTH);
    }
    return rank != 0 || step != WITHOUT_GRAD || i < EMBED_END || i >= EMBED_END + AFTER;
}

/* A rank's gradient; exact in bf16. */
static lv_real grad_of(int rank, int n_ranks, int step, int64_t i)
{
    return !has_grad(rank, n_ranks, step, i)
               ? 0
               : (lv_real)((i * 31 + step * 17 + rank * 5) % 127 - 63) / 8;
}

static lv_real weight_of(int step, int64_t i)
{
    return (lv_real)((i * 13 + step * 7) % 101 - 50) / 4;
}

static int open_params(lv_params **out, const lv_comm *comm)
{
    static const char *const all[] = {"a", "b", "c", "norm"};
    const int64_t shapes[][2] = {{BEFORE / 100, 100}, {ROWS, WIDTH}, {AFTER / 100, 100}, {NORM, 0}};
    int rc = lv_params_create(out);
    if (rc < 0) {
        return rc;
    }
    for (int i = 0; i < 4; i++) {
        lv_tensor *t = lv_params_declare(*out, all[i], i < 3 ? 2 : 1, shapes[i], true, true);
        lv_param *param = lv_params_of(*out, t);
        param->takes_bf16 = i < 3;
        param->by_rows = i == 1;
    }
    lv_params_dtype_set(*out, LV_BF16);
    lv_params_share_set(*out, comm->rank, comm->n_ranks, BUCKET);
    rc = lv_params_set_trainable(*out, all, 4);
    return rc < 0 ? rc : lv_params_allocate(*out);
}

static void nap(int ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000L * 1000}, NULL);
}

/* A thread that is slow to begin. */
static void oversleep(const void *context)
{
    (void)context;
    nap(200);
}

/* As a backward pass does it: the last layer first, then rows of the embedding. */
static void compute_grads(lv_params *params, const lv_comm *comm, const lv_tape_owner *owner,
                          int step)
{
    static const char *const order[] = {"norm", "c", "b", "a"};
    int32_t ids[ROWS];
    int64_t n = 0;
    for (int32_t row = 0; row < ROWS; row++) {
        if (touches(comm->rank, comm->n_ranks, step, row)) {
            ids[n++] = row;
        }
    }
    for (int p = 0; p < 4; p++) {
        lv_param *param = lv_params_find(params, order[p]);
        const bool in_last = comm->rank != 0 || step != NOT_IN_LAST || p != 1;
        param->tensor.grad_begun =
            p == 2 ? n > 0 : has_grad(comm->rank, comm->n_ranks, step, param->offset);
        for (int64_t i = 0; i < lv_tensor_count(&param->tensor); i++) {
            lv_params_flat_grad(params)[param->offset + i] =
                param->tensor.grad_begun
                    ? grad_of(comm->rank, comm->n_ranks, step, param->offset + i)
                    : NAN;
        }
        if (p == 2 && owner->grad_rows) { /* in two parts, as of two micro-batches */
            owner->grad_rows(owner->context, &param->tensor, ids, n / 2);
            owner->grad_rows(owner->context, &param->tensor, ids + n / 2, n - n / 2);
        }
        if (owner->grad_done && in_last) {
            owner->grad_done(owner->context, &param->tensor);
            nap(4); /* a gradient that is done is sent now */
        }
    }
}

static int check_grads(lv_params *params, const lv_comm *comm, int step)
{
    const lv_shard *shard = lv_params_shard(params);
    int64_t n_theirs = 0;
    for (int64_t k = 0; k < shard->n_buckets; k++) {
        for (int64_t i = shard->buckets[k].begin; i < shard->buckets[k].end; i++) {
            if (i < shard->own[k].begin || i >= shard->own[k].end) {
                n_theirs += !in_embedding(i) || touched(comm->n_ranks, step, (i - BEFORE) / WIDTH);
                continue;
            }
            lv_real sum = 0;
            for (int rank = 0; rank < comm->n_ranks; rank++) {
                sum += grad_of(rank, comm->n_ranks, step, i);
            }
            if (lv_params_flat_grad(params)[i] != sum) {
                return lv_fail(LV_ERR_FORMAT, "step %d: gradient %lld is %g, not %g", step,
                               (long long)i, (double)lv_params_flat_grad(params)[i], (double)sum);
            }
        }
    }
    return n_sent == n_theirs ? LV_OK
                              : lv_fail(LV_ERR_FORMAT, "step %d: %lld elements sent, not %lld",
                                        step, (long long)n_sent, (long long)n_theirs);
}

typedef struct {
    lv_params *params;
    int step;
} new_weights;

/* A lv_exchange_update. */
static void set_own_weights(void *context, int64_t bucket)
{
    const new_weights *to_be = context;
    const lv_bucket_shard *own = &lv_params_shard(to_be->params)->own[bucket];
    for (int64_t i = own->begin; i < own->end; i++) {
        lv_dtype dtype;
        void *to = lv_params_read_at(to_be->params, i, &dtype);
        lv_convert_from_real(to, dtype, &(lv_real){weight_of(to_be->step, i)}, 1);
    }
}

static int check_weights(lv_params *params, int step)
{
    for (int64_t i = 0; i < COUNT; i++) {
        lv_dtype dtype;
        lv_real value;
        const void *at = lv_params_read_at(params, i, &dtype);
        lv_convert_to_real(&value, at, dtype, 1);
        if (value != weight_of(step, i)) {
            return lv_fail(LV_ERR_FORMAT, "step %d: weight %lld is %g, not %g", step, (long long)i,
                           (double)value, (double)weight_of(step, i));
        }
    }
    return LV_OK;
}

static int run_step(lv_exchange *exchange, lv_params *params, const lv_comm *comm, int step)
{
    const lv_tape_owner owner = lv_exchange_owner(exchange, true);
    n_sent = 0;
    lv_params_grad_begin(params);
    compute_grads(params, comm, &owner, step);
    lv_params_grad_end(params);
    int rc = lv_exchange_grads(exchange);
    if (rc < 0) {
        return rc;
    }
    rc = check_grads(params, comm, step);
    new_weights to_be = {params, step};
    const int weights_rc = lv_exchange_weights(exchange, set_own_weights, &to_be);
    rc = rc < 0 ? rc : weights_rc;
    if (step == STEPS - 1) {
        return rc; /* being sent at the end */
    }
    const int finish_rc = lv_exchange_finish(exchange);
    rc = rc < 0 ? rc : finish_rc;
    return rc < 0 ? rc : check_weights(params, step);
}

static int end_before_the_thread_looks(lv_params *params, const lv_comm *comm,
                                       const lv_exchange_options *options)
{
    lv_exchange *exchange;
    int rc = lv_exchange_create(&exchange, comm, params, options);
    if (rc < 0) {
        return rc;
    }
    new_weights to_be = {params, STEPS};
    for (int64_t k = 0; k < lv_params_shard(params)->n_buckets; k++) {
        set_own_weights(&to_be, k);
    }
    rc = lv_exchange_weights(exchange, NULL, NULL);
    lv_exchange_destroy(&exchange);
    return lv_comm_agree(comm, rc < 0 ? rc : check_weights(params, STEPS));
}

int main(int argc, char **argv)
{
    lv_comm comm;
    lv_params *params = NULL;
    lv_exchange *exchange = NULL;
    int rc = lv_comm_start(&comm);
    if (rc < 0 || argc < 3) {
        fprintf(stderr, "exchange_sums: %s\n", rc < 0 ? lv_error_message() : "f32|bf16 0|1 [RANK]");
        return 2;
    }
    if (argc > 3 && atoi(argv[3]) == comm.rank) {
        failing_in = 20;
    }
    const lv_exchange_options options = {.wire = strcmp(argv[1], "bf16") == 0 ? LV_BF16 : LV_F32,
                                         .overlap = atoi(argv[2]) != 0};
    lv_thread_hook_set(oversleep, NULL);
    rc = lv_comm_agree(&comm, open_params(&params, &comm));
    rc = rc < 0 ? rc : lv_exchange_create(&exchange, &comm, params, &options);
    for (int step = 0; rc == LV_OK && step < STEPS; step++) {
        rc = lv_comm_agree(&comm, run_step(exchange, params, &comm, step));
    }
    lv_exchange_destroy(&exchange);
    rc = rc < 0 ? rc : lv_comm_agree(&comm, check_weights(params, STEPS - 1));
    rc = rc < 0 ? rc : end_before_the_thread_looks(params, &comm, &options);
    if (rc < 0) {
        fprintf(stderr, "exchange_sums: rank %d: %s\n", comm.rank, lv_error_message());
    }
    if (rc == LV_ERR_COMM) { /* as the command does */
        lv_comm_abort();
    }
    lv_params_destroy(&params);
    lv_comm_stop(&comm);
    return rc < 0;
}
