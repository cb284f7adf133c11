/* SPDX-License-Identifier: Apache-2.0 */
#include "train/exchange/exchange.h"

#include "autograd/error.h"
#include "train/exchange/reducer.h"

#include <stdlib.h>
#include <string.h>

struct lv_exchange {
    lv_params *params;
    const lv_shard *shard;
    lv_mover *mover; /* NULL: a single rank */
    int *n_open;   /* [n_buckets], as gradients are moved: parameters whose own may still change */
    int *n_params; /* [n_buckets], likewise: of which it has elements */
    int64_t n_ready;  /* of these buckets none is open */
    bool grads_begun; /* of this step some travel already */
    double waited_s;  /* before the last lv_exchange_finish */
};

static int64_t last_element(const lv_tensor *tensor, const lv_exchange *x)
{
    const lv_real *grad = tensor->grad; /* parameters lie in it as among the flat elements */
    return grad - lv_params_flat_grad(x->params) + lv_tensor_count(tensor) - 1;
}

/* Buckets that have elements of the parameter. */
static lv_range buckets_of(const lv_tensor *tensor, const lv_exchange *x)
{
    const int64_t last = last_element(tensor, x);
    return (lv_range){lv_shard_bucket_of(x->shard, last - lv_tensor_count(tensor) + 1),
                      lv_shard_bucket_of(x->shard, last) + 1};
}

/* A lv_tape_owner's await: the buckets of a parameter arrive in ascending order. */
static void await_weights(void *context, const lv_tensor *tensor)
{
    lv_exchange *x = context;
    if (lv_mover_move(x->mover) == LV_MOVE_WEIGHTS) {
        const int64_t last = buckets_of(tensor, x).end - 1;
        /* lv_exchange_finish tells what failed */
        lv_mover_wait(x->mover, lv_mover_position(x->mover, LV_MOVE_WEIGHTS, last) + 1);
    }
}

/* The first of the step to travel; all may still change. */
static int begin_grads(lv_exchange *x)
{
    if (x->grads_begun) {
        return LV_OK;
    }
    int rc = lv_mover_wait_all(x->mover);
    if (rc == LV_OK) {
        memcpy(x->n_open, x->n_params, (size_t)x->shard->n_buckets * sizeof *x->n_open);
        x->n_ready = 0;
        lv_mover_begin(x->mover, LV_MOVE_GRADS);
        x->grads_begun = true;
    }
    return rc;
}

static void close_param(lv_exchange *x, const lv_tensor *tensor)
{
    const lv_range buckets = buckets_of(tensor, x);
    for (int64_t k = buckets.begin; k < buckets.end; k++) {
        x->n_open[lv_mover_position(x->mover, LV_MOVE_GRADS, k)]--;
    }
    while (x->n_ready < x->shard->n_buckets && x->n_open[x->n_ready] == 0) {
        x->n_ready++;
    }
    lv_mover_ready_set(x->mover, x->n_ready);
}

/* A lv_tape_owner's grad_done. One that got no gradient is cleared later, in lv_params_grad_end. */
static void grad_done(void *context, const lv_tensor *tensor)
{
    lv_exchange *x = context;
    if (!tensor->grad_begun) {
        return;
    }
    if (begin_grads(x) == LV_OK) { /* if not, lv_exchange_grads fails with the same */
        close_param(x, tensor);
    }
}

/* A lv_tape_owner's grad_rows. */
static void grad_rows(void *context, const lv_tensor *tensor, const int32_t *ids, int64_t n)
{
    lv_exchange *x = context;
    lv_mover_rows_mark(x->mover, tensor, ids, n);
}

lv_tape_owner lv_exchange_owner(lv_exchange *exchange, bool last)
{
    lv_tape_owner owner = {.context = exchange};
    if (exchange->mover) {
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
    if (!x->mover) {
        return LV_OK;
    }
    int rc = begin_grads(x);
    x->grads_begun = false;
    if (rc == LV_OK) {
        lv_mover_rows_close(x->mover);
        lv_mover_ready_set(x->mover, x->shard->n_buckets);
        rc = lv_mover_wait_all(x->mover);
    }
    return rc;
}

int lv_exchange_weights(lv_exchange *x, lv_exchange_update *update, void *context)
{
    const int64_t n = x->shard->n_buckets;
    if (x->mover) {
        lv_mover_begin(x->mover, LV_MOVE_WEIGHTS);
    }
    for (int64_t p = 0; update && p < n; p++) {
        update(context, x->mover ? lv_mover_bucket(x->mover, LV_MOVE_WEIGHTS, p) : p);
        if (x->mover) {
            lv_mover_ready_set(x->mover, p + 1);
        }
    }
    if (!x->mover) {
        return LV_OK;
    }
    lv_mover_ready_set(x->mover, n);
    return lv_exchange_overlaps(x) ? LV_OK : lv_mover_wait_all(x->mover);
}

double lv_exchange_waited_s(lv_exchange *x)
{
    const double waited_s = x->waited_s + (x->mover ? lv_mover_waited_s(x->mover) : 0);
    x->waited_s = 0;
    return waited_s;
}

int lv_exchange_finish(lv_exchange *x)
{
    const double before_s = lv_exchange_waited_s(x);
    const int rc = x->mover ? lv_mover_wait_all(x->mover) : LV_OK;
    lv_exchange_waited_s(x); /* that was between steps */
    x->waited_s = before_s;
    return rc;
}

bool lv_exchange_overlaps(const lv_exchange *x)
{
    return x->mover && lv_mover_is_threaded(x->mover);
}

int64_t lv_exchange_bytes(lv_params *params, lv_dtype wire)
{
    return lv_params_shard(params)->n_ranks > 1 ? lv_mover_bytes(params, wire) : 0;
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
            x->n_params[lv_mover_position(x->mover, LV_MOVE_GRADS, k)]++;
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
        rc = lv_mover_create(&x->mover, comm, params, options);
    }
    if (rc < 0) {
        lv_exchange_destroy(&x);
        return rc;
    }
    if (x->mover) {
        count_params(x);
    }
    *out = x;
    return LV_OK;
}

void lv_exchange_destroy(lv_exchange **exchange)
{
    lv_exchange *x = *exchange;
    if (x) {
        lv_mover_destroy(&x->mover);
        free(x->n_open);
        free(x->n_params);
        free(x);
        *exchange = NULL;
    }
}
