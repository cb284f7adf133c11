/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/params/dense.h"

#include "autograd/ops.h"

#include <stdio.h>

enum { NAME_BYTES = 256 };

static lv_tensor *declare_named(lv_params *params, const char *prefix, const char *suffix,
                                int n_dims, const int64_t *shape, bool decay, bool used)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.%s", prefix, suffix);
    return lv_params_declare(params, name, n_dims, shape, decay, used);
}

lv_dense lv_dense_declare(lv_params *params, const char *prefix, int64_t N, int64_t K, bool bias,
                          bool used)
{
    lv_dense dense = {
        .w = declare_named(params, prefix, "weight", 2, (int64_t[]){N, K}, true, used)};
    lv_params_of(params, dense.w)->takes_bf16 = true;
    dense.b = bias ? declare_named(params, prefix, "bias", 1, &N, false, used) : NULL;
    return dense;
}

lv_dense lv_norm_declare(lv_params *params, const char *prefix, int64_t H, bool bias, bool used)
{
    lv_dense norm = {
        .w = declare_named(params, prefix, "weight", 1, &H, false, used),
        .b = bias ? declare_named(params, prefix, "bias", 1, &H, false, used) : NULL,
    };
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
