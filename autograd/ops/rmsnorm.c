/* SPDX-License-Identifier: Apache-2.0
 *
 * rmsnorm: n[t,h] = x[t,h] r_t, r_t = 1/sqrt(mean_h x[t,h]^2 + eps);  y = n w
 *   with g = dy w:  dx[t] += r_t (g - n mean(g n)),  dw += sum_t dy n
 * T rows of H. */
#include "autograd/kernels/norm.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

static lv_norm_rows rows_of(const lv_tensor *x, const lv_tensor *w, lv_real *r)
{
    return (lv_norm_rows){
        .x = x->data, .dtype = x->dtype, .T = x->shape[0], .H = x->shape[1], .w = w->data, .r = r};
}

lv_tensor *lv_rmsnorm(lv_tape *tape, lv_tensor *x, lv_tensor *w, double eps)
{
    LV_OP_FORWARD(tape, rmsnorm);
    lv_op_expect_float("rmsnorm", "x", x, 2, (int64_t[]){-1, -1});
    lv_op_expect("rmsnorm", "w", w, 1, &x->shape[1]);
    lv_tape_await(tape, w);
    lv_tensor *out = lv_tape_tensor(tape, x->dtype, 2, x->shape);
    lv_real *r = lv_tape_alloc(tape, (size_t)x->shape[0] * sizeof *r);
    lv_tensor *in[] = {x, w};
    lv_tape_record(tape, &lv_op_rmsnorm, out, 2, in, r);
    if (!lv_tape_is_dry(tape)) {
        lv_norm_rows rows = rows_of(x, w, r);
        lv_norm_forward(out->data, &rows, eps);
    }
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *x = node->in[0];
    lv_tensor *w = node->in[1];
    lv_norm_rows rows = rows_of(x, w, (lv_real *)node->saved);
    lv_grad dx = lv_tape_grad_wanted(tape, x);
    lv_grad dw = lv_tape_grad_wanted(tape, w);
    size_t mark = lv_tape_mark(tape);
    int64_t n = lv_norm_scratch_count(rows.H, dw.data ? 1 : 0);
    lv_real *scratch = lv_tape_alloc(tape, (size_t)n * sizeof *scratch);
    if (!lv_tape_is_dry(tape)) { /* y = x r(x) w */
        lv_norm_backward(dx, dw, (lv_grad){.data = NULL}, node->out->grad, &rows, scratch);
    }
    lv_tape_release(tape, mark);
}

static unsigned needs(const lv_node *node)
{
    (void)node;
    return LV_NEEDS_IN(0) | LV_NEEDS_IN(1);
}

const lv_op lv_op_rmsnorm = {"rmsnorm", backward, needs};
