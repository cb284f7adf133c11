/* SPDX-License-Identifier: Apache-2.0
 *
 * gelu: y = x c(x), c(x) = (1 + erf(x/sqrt 2)) / 2, the normal distribution function
 *   dx += dy (c(x) + x exp(-x^2/2) / sqrt(2 pi)) */
#include "autograd/kernels/exp.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"

#include <tgmath.h>

#define SQRT_HALF ((lv_real)0.70710678118654752440)
#define INV_SQRT_2PI ((lv_real)0.39894228040143267794)

lv_tensor *lv_gelu(lv_tape *tape, lv_tensor *x)
{
    lv_op_expect_like("gelu", "x", x, x);
    lv_tensor *out = lv_tape_tensor(tape, LV_F32, x->n_dims, x->shape);
    const lv_real *px = x->data;
    lv_real *y = lv_tensor_real(out);
    int64_t n = lv_tensor_count(x);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        y[i] = px[i] * (lv_real)0.5 * (1 + erf(px[i] * SQRT_HALF));
    }
    lv_tape_record(tape, &lv_op_gelu, out, 1, &x, NULL);
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *x = node->in[0];
    const lv_real *px = x->data;
    const lv_real *dy = node->out->grad;
    lv_real *dx = lv_tape_grad_cleared(tape, x).data;
    int64_t n = lv_tensor_count(x);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) { /* y = x c(x) */
        lv_real c = (lv_real)0.5 * (1 + erf(px[i] * SQRT_HALF));
        lv_real density = INV_SQRT_2PI * lv_exp((lv_real)-0.5 * px[i] * px[i]);
        dx[i] += dy[i] * (c + px[i] * density);
    }
}

const lv_op lv_op_gelu = {"gelu", backward};
