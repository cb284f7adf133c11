/* SPDX-License-Identifier: Apache-2.0
 *
 * rmsnorm: n[t,h] = x[t,h] r_t, r_t = 1/sqrt(mean_h x[t,h]^2 + eps);  y = n w
 *   with g = dy w:  dx[t] += r_t (g - n mean(g n)),  dw += sum_t dy n
 * T rows of H. */
#include "autograd/kernels/rows.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"

#include <tgmath.h>

lv_tensor *lv_rmsnorm(lv_tape *tape, lv_tensor *x, lv_tensor *w, double eps)
{
    lv_op_expect("rmsnorm", "x", x, 2, (int64_t[]){-1, -1});
    int64_t T = x->shape[0];
    int64_t H = x->shape[1];
    lv_op_expect("rmsnorm", "w", w, 1, &H);
    lv_tensor *out = lv_tape_tensor(tape, LV_F32, 2, x->shape);
    lv_real *saved_r = lv_tape_alloc(tape, (size_t)T * sizeof *saved_r);
    const lv_real *pw = w->data;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        const lv_real *px = (const lv_real *)x->data + t * H;
        lv_real *y = (lv_real *)out->data + t * H;
        lv_real r = 1 / sqrt(lv_row_sum_squares(px, 0, H) / (lv_real)H + (lv_real)eps);
        for (int64_t h = 0; h < H; h++) {
            y[h] = px[h] * r * pw[h];
        }
        saved_r[t] = r;
    }
    lv_tensor *in[] = {x, w};
    lv_tape_record(tape, &lv_op_rmsnorm, out, 2, in, saved_r);
    return out;
}

static void backward_row(lv_real *dx, const lv_real *dy, const lv_real *x, const lv_real *w,
                         lv_real r, int64_t H)
{
    enum { BLOCK = 512 };
    lv_real gn[BLOCK];
    lv_real sum_gn = 0;
    for (int64_t h0 = 0; h0 < H; h0 += BLOCK) {
        int64_t n = H - h0 < BLOCK ? H - h0 : BLOCK;
        for (int64_t i = 0; i < n; i++) {
            gn[i] = dy[h0 + i] * w[h0 + i] * (x[h0 + i] * r);
        }
        sum_gn += lv_row_sum(gn, n);
    }
    lv_real mean_gn = sum_gn / (lv_real)H;
    for (int64_t h = 0; h < H; h++) {
        dx[h] += r * (dy[h] * w[h] - x[h] * r * mean_gn);
    }
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *x = node->in[0];
    lv_tensor *w = node->in[1];
    const lv_real *r = node->saved;
    const lv_real *dy = node->out->grad;
    int64_t T = x->shape[0];
    int64_t H = x->shape[1];
    if (x->requires_grad) { /* y = x r(x) w */
        lv_real *dx = lv_tape_grad_cleared(tape, x).data;
#pragma omp parallel for schedule(static)
        for (int64_t t = 0; t < T; t++) {
            backward_row(dx + t * H, dy + t * H, (const lv_real *)x->data + t * H, w->data, r[t],
                         H);
        }
    }
    if (w->requires_grad) { /* y = n w */
        lv_columns_add_product(lv_tape_grad_cleared(tape, w).data, dy, x->data, NULL, r, T, H);
    }
}

const lv_op lv_op_rmsnorm = {"rmsnorm", backward};
