/* SPDX-License-Identifier: Apache-2.0
 *
 * linear: y = x W^T + b. T rows, K inputs, N outputs.
 *   dx += dy W,  dW += dy^T x,  db += sum_t dy[t] */
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/rows.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"

#include <string.h>

lv_tensor *lv_linear(lv_tape *tape, lv_tensor *x, lv_tensor *w, lv_tensor *b)
{
    lv_op_expect("linear", "x", x, 2, (int64_t[]){-1, -1});
    int64_t T = x->shape[0];
    int64_t K = x->shape[1];
    lv_op_expect_weight("linear", "W", w, 2, (int64_t[]){-1, K});
    int64_t N = w->shape[0];
    lv_tensor *out = lv_tape_tensor(tape, LV_F32, 2, (int64_t[]){T, N});
    lv_real *y = lv_tensor_real(out);
    if (b) {
        lv_op_expect("linear", "b", b, 1, &N);
#pragma omp parallel for schedule(static)
        for (int64_t t = 0; t < T; t++) {
            memcpy(y + t * N, b->data, (size_t)N * sizeof *y);
        }
    }
    lv_gemm(false, true, T, N, K, x->data, K, w->data, w->dtype, K, b ? 1 : 0, y, N);
    lv_tensor *in[] = {x, w, b};
    lv_tape_record(tape, &lv_op_linear, out, 3, in, NULL);
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *x = node->in[0];
    lv_tensor *w = node->in[1];
    lv_tensor *b = node->in[2];
    const lv_real *dy = node->out->grad;
    int64_t T = x->shape[0];
    int64_t K = x->shape[1];
    int64_t N = w->shape[0];
    if (x->requires_grad) { /* y = x W^T */
        lv_real *dx = lv_tape_grad(tape, x);
        lv_gemm(false, false, T, K, N, dy, N, w->data, w->dtype, K, 1, dx, K);
    }
    if (w->requires_grad) {
        lv_real *dw = lv_tape_grad(tape, w);
        lv_gemm(true, false, N, K, T, dy, N, x->data, LV_F32, K, 1, dw, K);
    }
    if (b && b->requires_grad) { /* y = ... + b */
        lv_columns_add(lv_tape_grad(tape, b), dy, T, N);
    }
}

const lv_op lv_op_linear = {"linear", backward};
