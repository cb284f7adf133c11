/* SPDX-License-Identifier: Apache-2.0
 *
 * linear:     W0 x + b0
 * mlpNx_gelu: the same, then N-1 times W gelu(.) + b, with the exact gelu. The indices of the
 *             names count the gelus too, as torch's Sequential does.
 * source Liu et al. 2023, arXiv:2304.08485 and arXiv:2310.03744
 */
#include "train/model/connector/connector.h"

#include "autograd/error.h"
#include "autograd/ops.h"

#include <math.h>
#include <stdio.h>

static int64_t rows_out(const lv_projector_config *config, int64_t rows_in)
{
    (void)config;
    return rows_in;
}

static int declare(lv_projector *projector, lv_params *params)
{
    const lv_projector_config *c = &projector->config;
    const int depth = c->kind == LV_PROJECTOR_LINEAR ? 1 : c->depth;
    if (depth < 1 || depth > LV_PROJECTOR_MAX_DEPTH) {
        return lv_fail(LV_ERR_CONFIG, "projector mlp%dx_gelu: a depth from 1 to %d is possible",
                       depth, LV_PROJECTOR_MAX_DEPTH);
    }
    for (int i = 0; i < depth; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "projector.%d", 2 * i);
        const int64_t in_size = i == 0 ? c->in_size : c->out_size;
        const lv_init init = {LV_INIT_UNIFORM, 1 / sqrt((double)in_size)}; /* torch's Linear */
        projector->layers[i] =
            lv_dense_declare(params, prefix, c->out_size, in_size, true, true, init);
    }
    projector->n_layers = depth;
    return LV_OK;
}

static lv_tensor *forward(const lv_projector *projector, lv_tape *tape, lv_tensor *x, int64_t I)
{
    (void)I;
    x = lv_dense_apply(tape, &projector->layers[0], x);
    for (int i = 1; i < projector->n_layers; i++) {
        lv_tensor *active = lv_gelu(tape, x);
        lv_tape_done(tape, x);
        x = lv_dense_apply(tape, &projector->layers[i], active);
        lv_tape_done(tape, active);
    }
    return x;
}

const lv_projector_ops lv_projector_mlp = {rows_out, declare, forward};
