/* SPDX-License-Identifier: Apache-2.0
 *
 * linear: y = x W^T + b + residual. T rows, K inputs, N outputs.
 *   dx += dy W,  dW += dy^T x,  db += sum_t dy[t],  dresidual += dy */
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/pointwise.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

lv_tensor *lv_linear(lv_tape *tape, lv_tensor *x, lv_tensor *w, lv_tensor *b, lv_tensor *residual)
{
    LV_OP_FORWARD(tape, linear);
    lv_op_expect_float("linear", "x", x, 2, (int64_t[]){-1, -1});
    int64_t T = x->shape[0];
    int64_t K = x->shape[1];
    lv_op_expect_float("linear", "W", w, 2, (int64_t[]){-1, K});
    int64_t N = w->shape[0];
    if (b) {
        lv_op_expect("linear", "b", b, 1, &N);
    }
    lv_tape_await(tape, w);
    lv_tape_await(tape, b);
    lv_tensor *out = lv_tape_tensor(tape, x->dtype, 2, (int64_t[]){T, N});
    if (residual) {
        lv_op_expect_like("linear", "residual", residual, out);
    }
    lv_tensor *in[] = {x, w, b, residual};
    lv_tape_record(tape, &lv_op_linear, out, 4, in, NULL);
    lv_tape_count_flop(tape, 2.0 * (double)T * (double)N * (double)K);
    if (!lv_tape_is_dry(tape)) {
        lv_gemm(&(lv_gemm_args){.M = T,
                                .N = N,
                                .K = K,
                                .A = {x->data, x->dtype, K, false},
                                .B = {w->data, w->dtype, K, true},
                                .C = out->data,
                                .C_dtype = out->dtype,
                                .ldc = N,
                                .bias = b ? b->data : NULL,
                                .residual = residual ? residual->data : NULL});
    }
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *x = node->in[0];
    lv_tensor *w = node->in[1];
    lv_tensor *b = node->in[2];
    lv_tensor *residual = node->in[3];
    lv_tensor *y = node->out;
    int64_t T = x->shape[0];
    int64_t K = x->shape[1];
    int64_t N = w->shape[0];
    double flop = 2.0 * (double)T * (double)N * (double)K;
    bool dry = lv_tape_is_dry(tape);
    if (x->requires_grad) { /* y = x W^T */
        lv_grad dx = lv_tape_grad(tape, x);
        lv_tape_count_flop(tape, flop);
        if (!dry) {
            lv_gemm(&(lv_gemm_args){.M = T,
                                    .N = K,
                                    .K = N,
                                    .A = {y->grad, y->dtype, N, false},
                                    .B = {w->data, w->dtype, K, false},
                                    .C = dx.data,
                                    .C_dtype = dx.dtype,
                                    .ldc = K,
                                    .add = dx.add});
        }
    }
    if (w->requires_grad) { /* y = x W^T */
        lv_grad dw = lv_tape_grad(tape, w);
        lv_tape_count_flop(tape, flop);
        if (!dry) {
            lv_gemm(&(lv_gemm_args){.M = N,
                                    .N = K,
                                    .K = T,
                                    .A = {y->grad, y->dtype, N, true},
                                    .B = {x->data, x->dtype, K, false},
                                    .C = dw.data,
                                    .C_dtype = dw.dtype,
                                    .ldc = K,
                                    .add = dw.add});
        }
    }
    if (b && b->requires_grad) { /* y = ... + b */
        lv_grad db = lv_tape_grad(tape, b);
        if (!dry) {
            lv_columns_sum(db.data, db.add, y->grad, y->dtype, T, N);
        }
    }
    if (residual && residual->requires_grad) { /* y = ... + residual */
        lv_tape_grad_pass(tape, y, residual);
    }
}

static unsigned needs(const lv_node *node)
{
    return (node->in[1]->requires_grad ? LV_NEEDS_IN(0) : 0) |
           (node->in[0]->requires_grad ? LV_NEEDS_IN(1) : 0);
}

const lv_op lv_op_linear = {"linear", backward, needs};
