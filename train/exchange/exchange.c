/* SPDX-License-Identifier: Apache-2.0 */
#include "train/exchange/exchange.h"

#include "autograd/error.h"
#include "train/exchange/reducer.h"

#include <stdlib.h>
#include <string.h>

struct lv_exchange {
    lv_params *params;
    const lv_shard *shard;
    lv_reducer *reducer; /* NULL: a single rank */
    int *n_open;         /* [n_buckets], by position: parameters whose gradients may still change */
    int *n_params;       /* [n_buckets], by position: parameters with elements in it */
    int64_t n_ready;     /* no bucket before this position is open */
    bool grads_begun;    /* the reduce-scatter of this step has begun */
    double waited_s;     /* before the last lv_exchange_finish */
};

/* Buckets with elements of the parameter, whose gradient is part of the flat one. */
static lv_range buckets_of(const lv_tensor *tensor, const lv_exchange *x)
{
    const lv_real *grad = tensor->grad;
    const int64_t first = grad - lv_params_flat_grad(x->params);
    return (lv_range){lv_shard_bucket_of(x->shard, first),
                      lv_shard_bucket_of(x->shard, first + lv_tensor_count(tensor) - 1) + 1};
}

/* A lv_tape_owner's await: a parameter's buckets are gathered in ascending order. */
static void await_weights(void *context, const lv_tensor *tensor)
{
    lv_exchange *x = context;
    if (lv_reducer_current(x->reducer) == LV_ALL_GATHER) {
        const int64_t last = buckets_of(tensor, x).end - 1;
        /* a failure is lv_exchange_finish's */
        lv_reducer_wait(x->reducer, lv_reducer_position(x->reducer, LV_ALL_GATHER, last) + 1);
    }
}

/* The step's reduce-scatter, unless it has begun; no bucket is ready. */
static int begin_grads(lv_exchange *x)
{
    if (x->grads_begun) {
        return LV_OK;
    }
    int rc = lv_reducer_wait_all(x->reducer);
    if (rc == LV_OK) {
        memcpy(x->n_open, x->n_params, (size_t)x->shard->n_buckets * sizeof *x->n_open);
        x->n_ready = 0;
        lv_reducer_begin(x->reducer, LV_REDUCE_SCATTER);
        x->grads_begun = true;
    }
    return rc;
}

static void close_param(lv_exchange *x, const lv_tensor *tensor)
{
    const lv_range buckets = buckets_of(tensor, x);
    for (int64_t k = buckets.begin; k < buckets.end; k++) {
        x->n_open[lv_reducer_position(x->reducer, LV_REDUCE_SCATTER, k)]--;
    }
    while (x->n_ready < x->shard->n_buckets && x->n_open[x->n_ready] == 0) {
        x->n_ready++;
    }
    lv_reducer_ready_set(x->reducer, x->n_ready);
}

/* A lv_tape_owner's grad_done. A parameter without a gradient is cleared in lv_params_grad_end. */
static void grad_done(void *context, const lv_tensor *tensor)
{
    lv_exchange *x = context;
    if (tensor->grad_begun && begin_grads(x) == LV_OK) { /* or lv_exchange_grads fails likewise */
        close_param(x, tensor);
    }
}

/* A lv_tape_owner's grad_rows. */
static void grad_rows(void *context, const lv_tensor *tensor, const int32_t *ids, int64_t n)
{
    lv_exchange *x = context;
    lv_reducer_rows_mark(x->reducer, tensor, ids, n);
}

lv_tape_owner lv_exchange_owner(lv_exchange *exchange, bool last)
{
    lv_tape_owner owner = {.context = exchange};
    if (exchange->reducer) {
        owner.grad_rows = grad_rows;
    }
    if (lv_exchange_overlaps(exchange)) {
        owner.await = await_weights;
        owner.grad_done = last ? grad_done : NULL;
    }
    return owner;
}

int lv_exchange_grads(lv_exchange *x)
{
    if (!x->reducer) {
        return LV_OK;
    }
    int rc = begin_grads(x);
    x->grads_begun = false;
    if (rc == LV_OK) {
        lv_reducer_rows_close(x->reducer);
        lv_reducer_ready_set(x->reducer, x->shard->n_buckets);
        rc = lv_reducer_wait_all(x->reducer);
    }
    return rc;
}

int lv_exchange_weights(lv_exchange *x, lv_exchange_update *update, void *context)
{
    const int64_t n = x->shard->n_buckets;
    if (x->reducer) {
        lv_reducer_begin(x->reducer, LV_ALL_GATHER);
    }
    for (int64_t p = 0; update && p < n; p++) {
        update(context, x->reducer ? lv_reducer_bucket(x->reducer, LV_ALL_GATHER, p) : p);
        if (x->reducer) {
            lv_reducer_ready_set(x->reducer, p + 1);
        }
    }
    if (!x->reducer) {
        return LV_OK;
    }
    lv_reducer_ready_set(x->reducer, n);
    return lv_exchange_overlaps(x) ? LV_OK : lv_reducer_wait_all(x->reducer);
}

double lv_exchange_waited_s(lv_exchange *x)
{
    const double waited_s = x->waited_s + (x->reducer ? lv_reducer_waited_s(x->reducer) : 0);
    x->waited_s = 0;
    return waited_s;
}

int lv_exchange_finish(lv_exchange *x)
{
    const double before_s = lv_exchange_waited_s(x);
    const int rc = x->reducer ? lv_reducer_wait_all(x->reducer) : LV_OK;
    lv_exchange_waited_s(x); /* between steps: not counted */
    x->waited_s = before_s;
    return rc;
}

bool lv_exchange_overlaps(const lv_exchange *x)
{
    return x->reducer && lv_reducer_is_threaded(x->reducer);
}

int64_t lv_exchange_bytes(lv_params *params, lv_dtype wire)
{
    return lv_params_shard(params)->n_ranks > 1 ? lv_pending_bytes(params, wire) : 0;
}

static void count_params(lv_exchange *x)
{
    for (size_t i = 0; i < lv_params_count(x->params); i++) {
        const lv_tensor *tensor = &lv_params_at(x->params, i)->tensor;
        if (!tensor->requires_grad) {
            continue;
        }
        const lv_range buckets = buckets_of(tensor, x);
        for (int64_t k = buckets.begin; k < buckets.end; k++) {
            x->n_params[lv_reducer_position(x->reducer, LV_REDUCE_SCATTER, k)]++;
        }
    }
}

int lv_exchange_create(lv_exchange **out, const lv_comm *comm, lv_params *params,
                       const lv_exchange_options *options)
{
    const lv_shard *shard = lv_params_shard(params);
    const size_t n = (size_t)shard->n_buckets + 1;
    lv_exchange *x = calloc(1, sizeof *x);
    LV_CHECK(x, "out of memory");
    *x = (lv_exchange){.params = params,
                       .shard = shard,
                       .n_open = calloc(n, sizeof *x->n_open),
                       .n_params = calloc(n, sizeof *x->n_params)};
    int rc = x->n_open && x->n_params
                 ? LV_OK
                 : lv_fail(LV_ERR_MEMORY, "no memory for a list of %zu buckets", n);
    rc = lv_comm_agree(comm, rc);
    if (rc == LV_OK && comm->n_ranks > 1) {
        rc = lv_reducer_create(&x->reducer, comm, params, options);
    }
    if (rc < 0) {
        lv_exchange_destroy(&x);
        return rc;
    }
    if (x->reducer) {
        count_params(x);
    }
    *out = x;
    return LV_OK;
}

void lv_exchange_destroy(lv_exchange **exchange)
{
    lv_exchange *x = *exchange;
    if (x) {
        lv_reducer_destroy(&x->reducer);
        free(x->n_open);
        free(x->n_params);
        free(x);
        *exchange = NULL;
    }
}
