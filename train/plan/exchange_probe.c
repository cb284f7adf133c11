/* SPDX-License-Identifier: Apache-2.0 */
#include "train/plan/exchange_probe.h"

#include "autograd/error.h"
#include "data/base/clock.h"

#include <stdlib.h>

enum { ROUNDS = 5 };

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One parameter, as large as all of a run's together. */
static int declare(lv_params *params, const lv_comm *comm, int64_t n_params, double bucket_mb)
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

static int move_weights(lv_exchange *exchange)
{
    return lv_exchange_weights(exchange, NULL, NULL);
}

/* Seconds of the slowest rank. */
static int timed(double *seconds, const lv_comm *comm, lv_exchange *exchange,
                 int move(lv_exchange *exchange))
{
    int rc = lv_comm_agree(comm, LV_OK);
    const double begin_s = lv_clock_s();
    if (rc == LV_OK) rc = move(exchange);
    if (rc == LV_OK) rc = lv_exchange_finish(exchange);
    *seconds = lv_clock_s() - begin_s;
    return rc < 0 ? rc : lv_comm_max_double(comm, seconds, 1);
}

int lv_exchange_probe(double *grads_s, double *weights_s, const lv_comm *comm, int64_t n_params,
                      lv_dtype wire, double bucket_mb)
{
    const lv_exchange_options options = {.wire = wire};
    double grads[ROUNDS], weights[ROUNDS];
    lv_params *params = NULL;
    lv_exchange *exchange = NULL;
    int rc = lv_params_create(&params);
    if (rc == LV_OK) rc = declare(params, comm, n_params, bucket_mb);
    rc = lv_comm_agree(comm, rc);
    if (rc == LV_OK) rc = lv_exchange_create(&exchange, comm, params, &options);
    for (int i = -1; rc == LV_OK && i < ROUNDS; i++) {
        const int at = i < 0 ? 0 : i; /* the first round makes connections */
        rc = timed(&grads[at], comm, exchange, lv_exchange_grads);
        if (rc == LV_OK) rc = timed(&weights[at], comm, exchange, move_weights);
    }
    if (rc == LV_OK) {
        qsort(grads, ROUNDS, sizeof *grads, ascending);
        qsort(weights, ROUNDS, sizeof *weights, ascending);
        *grads_s = grads[ROUNDS / 2];
        *weights_s = weights[ROUNDS / 2];
    }
    lv_exchange_destroy(&exchange);
    lv_params_destroy(&params);
    return rc;
}
