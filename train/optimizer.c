/* SPDX-License-Identifier: Apache-2.0 */
#include "train/optimizer.h"

#include "autograd/error.h"
#include "autograd/kernels/parallel.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t begin, end;
    lv_adamw hyper;
} param_group;

struct lv_optimizer {
    lv_moments moments;
    param_group *groups;
    size_t n_groups;
};

static bool same_hyper(const lv_adamw *a, const lv_adamw *b)
{
    return a->lr == b->lr && a->weight_decay == b->weight_decay;
}

static void add_param(lv_optimizer *optimizer, const lv_param *param, lv_adamw hyper,
                      double projector_lr)
{
    if (projector_lr >= 0 && param->part == LV_PART_CONNECTOR) {
        hyper.lr = projector_lr;
    }
    if (!param->decay) {
        hyper.weight_decay = 0;
    }
    int64_t end = param->offset + lv_tensor_count(&param->tensor);
    param_group *last =
        optimizer->n_groups > 0 ? &optimizer->groups[optimizer->n_groups - 1] : NULL;
    if (last && same_hyper(&last->hyper, &hyper)) {
        last->end = end;
    } else {
        optimizer->groups[optimizer->n_groups++] =
            (param_group){.begin = param->offset, .end = end, .hyper = hyper};
    }
}

int lv_optimizer_create(lv_optimizer **out, lv_params *params, const lv_adamw *hyper,
                        double projector_lr, lv_dtype moments)
{
    size_t n = (size_t)lv_params_shard(params)->own_count;
    lv_optimizer *optimizer = calloc(1, sizeof *optimizer);
    if (optimizer) {
        optimizer->moments = (lv_moments){.dtype = moments,
                                          .exp_avg = calloc(n + 1, lv_dtype_bytes(moments)),
                                          .exp_avg_sq = calloc(n + 1, lv_dtype_bytes(moments))};
        optimizer->groups = calloc(lv_params_count(params) + 1, sizeof(param_group));
    }
    if (!optimizer || !optimizer->moments.exp_avg || !optimizer->moments.exp_avg_sq ||
        !optimizer->groups) {
        lv_optimizer_destroy(&optimizer);
        return lv_fail(LV_ERR_MEMORY, "no memory for the optimiser's %zu bytes",
                       2 * n * lv_dtype_bytes(moments));
    }
    static const lv_dtype in_order[] = {LV_BF16, LV_F32}; /* of the flat elements */
    for (size_t d = 0; d < sizeof in_order / sizeof *in_order; d++) {
        for (size_t i = 0; i < lv_params_count(params); i++) {
            const lv_param *param = lv_params_at(params, i);
            if (param->trainable && param->tensor.dtype == in_order[d]) {
                add_param(optimizer, param, *hyper, projector_lr);
            }
        }
    }
    *out = optimizer;
    return LV_OK;
}

void lv_optimizer_destroy(lv_optimizer **optimizer)
{
    if (*optimizer) {
        free((*optimizer)->moments.exp_avg);
        free((*optimizer)->moments.exp_avg_sq);
        free((*optimizer)->groups);
        free(*optimizer);
        *optimizer = NULL;
    }
}

int64_t lv_optimizer_bytes(const lv_params *params, lv_dtype moments)
{
    return 2 * lv_params_shard(params)->own_count * (int64_t)lv_dtype_bytes(moments);
}

lv_moments lv_optimizer_moments(const lv_optimizer *optimizer)
{
    return optimizer->moments;
}

double lv_optimizer_sum_squares(lv_params *params)
{
    const lv_shard *shard = lv_params_shard(params);
    const lv_real *grad = lv_params_flat_grad(params);
    double sum = 0;
    for (int64_t k = 0; k < shard->n_buckets; k++) {
        const lv_bucket_shard *own = &shard->own[k];
        sum += lv_sum_squares(grad + own->begin, own->end - own->begin);
    }
    return sum;
}

/* The elements of the group in this rank's shard of the bucket. */
static void update_group(lv_optimizer *optimizer, lv_params *params, const lv_bucket_shard *own,
                         const param_group *g, const lv_update *how)
{
    const int64_t begin = g->begin > own->begin ? g->begin : own->begin;
    const int64_t end = g->end < own->end ? g->end : own->end;
    const int64_t in_own = begin - own->begin;
    lv_adamw hyper = g->hyper;
    lv_dtype dtype;
    if (begin >= end) {
        return;
    }
    hyper.lr *= how->lr_factor;
    void *read = lv_params_read_at(params, begin, &dtype);
    const lv_moments *moments = &optimizer->moments;
    lv_real *w = lv_params_master(params, own) + in_own;
    uint16_t *working = dtype == LV_BF16 ? read : NULL;
    const lv_real *grad = lv_params_flat_grad(params) + begin;
    void *m = lv_element(moments->exp_avg, moments->dtype, own->at + in_own);
    void *v = lv_element(moments->exp_avg_sq, moments->dtype, own->at + in_own);
    if (moments->dtype == LV_BF16) {
        lv_adamw_step_bf16(w, m, v, working, grad, end - begin, &hyper, how->grad_scale, how->t,
                           begin);
    } else {
        lv_adamw_step(w, m, v, working, grad, end - begin, &hyper, how->grad_scale, how->t);
    }
}

void lv_optimizer_step(lv_optimizer *optimizer, lv_params *params, int64_t bucket,
                       const lv_update *how)
{
    const lv_bucket_shard *own = &lv_params_shard(params)->own[bucket];
    for (size_t i = 0; i < optimizer->n_groups; i++) {
        update_group(optimizer, params, own, &optimizer->groups[i], how);
    }
}

double lv_optimizer_step_bytes(const lv_optimizer *optimizer, const lv_params *params,
                               int64_t bucket)
{
    const lv_bucket_shard *own = &lv_params_shard(params)->own[bucket];
    lv_dtype dtype;
    lv_params_read_at(params, own->begin, &dtype);
    const size_t working = dtype == LV_BF16 ? lv_dtype_bytes(LV_BF16) : 0;
    /* values and both moments are read and written, the gradient is read */
    const size_t bytes =
        3 * sizeof(lv_real) + 2 * 2 * lv_dtype_bytes(optimizer->moments.dtype) + working;
    return (double)(own->end - own->begin) * (double)bytes;
}
