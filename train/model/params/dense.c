/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/params/dense.h"

#include "autograd/ops.h"

#include <stdio.h>

enum { NAME_BYTES = 256 };

static lv_tensor *declare_named(lv_params *params, const char *prefix, const char *suffix,
                                int n_dims, const int64_t *shape, bool used, lv_init init)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.%s", prefix, suffix);
    lv_tensor *tensor = lv_params_declare(params, name, n_dims, shape, n_dims > 1, used);
    lv_params_of(params, tensor)->init = init;
    return tensor;
}

lv_dense lv_dense_declare(lv_params *params, const char *prefix, int64_t N, int64_t K, bool bias,
                          bool used, lv_init init)
{
    const lv_init zero = {.kind = LV_INIT_ZERO};
    lv_dense dense = {
        .w = declare_named(params, prefix, "weight", 2, (int64_t[]){N, K}, used, init)};
    lv_params_of(params, dense.w)->takes_bf16 = true;
    if (bias) {
        dense.b = declare_named(params, prefix, "bias", 1, &N, used,
                                init.kind == LV_INIT_UNIFORM ? init : zero);
    }
    return dense;
}

lv_dense lv_norm_declare(lv_params *params, const char *prefix, int64_t H, bool bias, bool used)
{
    const lv_init zero = {.kind = LV_INIT_ZERO}, one = {.kind = LV_INIT_ONE};
    lv_dense norm = {.w = declare_named(params, prefix, "weight", 1, &H, used, one)};
    norm.b = bias ? declare_named(params, prefix, "bias", 1, &H, used, zero) : NULL;
    return norm;
}

lv_tensor *lv_dense_apply(lv_tape *tape, const lv_dense *dense, lv_tensor *x)
{
    return lv_linear(tape, x, dense->w, dense->b, NULL);
}

lv_tensor *lv_dense_apply_add(lv_tape *tape, const lv_dense *dense, lv_tensor *x,
                              lv_tensor *residual)
{
    return lv_linear(tape, x, dense->w, dense->b, residual);
}
