/* SPDX-License-Identifier: Apache-2.0
 *
 * quick_gelu: y = x s(x), s(x) = sigmoid(1.702 x)
 *   dx += dy s(x) (1 + 1.702 x (1 - s(x))) */
#include "autograd/kernels/exp.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"

#define SLOPE ((lv_real)1.702)

lv_tensor *lv_quick_gelu(lv_tape *tape, lv_tensor *x)
{
    lv_op_expect_like("quick_gelu", "x", x, x);
    lv_tensor *out = lv_tape_tensor(tape, LV_F32, x->n_dims, x->shape);
    const lv_real *px = x->data;
    lv_real *y = lv_tensor_real(out);
    int64_t n = lv_tensor_count(x);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        y[i] = px[i] * lv_sigmoid(SLOPE * px[i]);
    }
    lv_tape_record(tape, &lv_op_quick_gelu, out, 1, &x, NULL);
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *x = node->in[0];
    const lv_real *px = x->data;
    const lv_real *dy = node->out->grad;
    lv_real *dx = lv_tape_grad_cleared(tape, x).data;
    int64_t n = lv_tensor_count(x);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) { /* y = x s(x) */
        lv_real s = lv_sigmoid(SLOPE * px[i]);
        dx[i] += dy[i] * (s * (1 + SLOPE * px[i] * (1 - s)));
    }
}

const lv_op lv_op_quick_gelu = {"quick_gelu", backward};
