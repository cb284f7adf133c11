/* SPDX-License-Identifier: Apache-2.0
 *
 * layernorm: n[t,h] = (x[t,h] - mean_t) r_t, r_t = 1/sqrt(var_t + eps);  y = n w + b
 *   with g = dy w:  dx[t] += r_t (g - mean(g) - n mean(g n)),  dw += sum_t dy n,  db += sum_t dy
 * T rows of H. */
#include "autograd/kernels/norm.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

typedef struct {
    lv_real *mean, *r; /* (T) */
} saved_layernorm;

static lv_norm_rows rows_of(const lv_tensor *x, const lv_tensor *w, const lv_tensor *b,
                            const saved_layernorm *saved)
{
    return (lv_norm_rows){.x = x->data,
                          .dtype = x->dtype,
                          .T = x->shape[0],
                          .H = x->shape[1],
                          .w = w->data,
                          .b = b->data,
                          .mean = saved->mean,
                          .r = saved->r};
}

lv_tensor *lv_layernorm(lv_tape *tape, lv_tensor *x, lv_tensor *w, lv_tensor *b, double eps)
{
    LV_OP_FORWARD(tape, layernorm);
    lv_op_expect_float("layernorm", "x", x, 2, (int64_t[]){-1, -1});
    lv_op_expect("layernorm", "w", w, 1, &x->shape[1]);
    lv_op_expect("layernorm", "b", b, 1, &x->shape[1]);
    lv_tape_await(tape, w);
    lv_tape_await(tape, b);
    lv_tensor *out = lv_tape_tensor(tape, x->dtype, 2, x->shape);
    saved_layernorm *saved = lv_tape_alloc(tape, sizeof *saved);
    saved->mean = lv_tape_alloc(tape, (size_t)x->shape[0] * sizeof(lv_real));
    saved->r = lv_tape_alloc(tape, (size_t)x->shape[0] * sizeof(lv_real));
    lv_tensor *in[] = {x, w, b};
    lv_tape_record(tape, &lv_op_layernorm, out, 3, in, saved);
    if (!lv_tape_is_dry(tape)) {
        lv_norm_rows rows = rows_of(x, w, b, saved);
        lv_norm_forward(out->data, &rows, eps);
    }
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *x = node->in[0];
    lv_tensor *w = node->in[1];
    lv_tensor *b = node->in[2];
    lv_norm_rows rows = rows_of(x, w, b, node->saved);
    lv_grad dx = lv_tape_grad_wanted(tape, x);
    lv_grad dw = lv_tape_grad_wanted(tape, w);
    lv_grad db = lv_tape_grad_wanted(tape, b);
    size_t mark = lv_tape_mark(tape);
    int64_t n = lv_norm_scratch_count(rows.H, (dw.data ? 1 : 0) + (db.data ? 1 : 0));
    lv_real *scratch = lv_tape_alloc(tape, (size_t)n * sizeof *scratch);
    if (!lv_tape_is_dry(tape)) { /* y = (x - mean(x)) r(x) w + b */
        lv_norm_backward(dx, dw, db, node->out->grad, &rows, scratch);
    }
    lv_tape_release(tape, mark);
}

static unsigned needs(const lv_node *node)
{
    (void)node;
    return LV_NEEDS_IN(0) | LV_NEEDS_IN(1);
}

const lv_op lv_op_layernorm = {"layernorm", backward, needs};
