/* SPDX-License-Identifier: Apache-2.0
 *
 * layernorm: n[t,h] = (x[t,h] - mean_t) r_t, r_t = 1/sqrt(var_t + eps);  y = n w + b
 *   with g = dy w:  dx[t] += r_t (g - mean(g) - n mean(g n)),  dw += sum_t dy n,  db += sum_t dy
 * T rows of H. */
#include "autograd/kernels/rows.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"

#include <tgmath.h>

typedef struct {
    lv_real *mean, *r; /* (T) */
} saved_layernorm;

lv_tensor *lv_layernorm(lv_tape *tape, lv_tensor *x, lv_tensor *w, lv_tensor *b, double eps)
{
    lv_op_expect("layernorm", "x", x, 2, (int64_t[]){-1, -1});
    int64_t T = x->shape[0];
    int64_t H = x->shape[1];
    lv_op_expect("layernorm", "w", w, 1, &H);
    lv_op_expect("layernorm", "b", b, 1, &H);
    lv_tensor *out = lv_tape_tensor(tape, LV_F32, 2, x->shape);
    saved_layernorm *saved = lv_tape_alloc(tape, sizeof *saved);
    saved->mean = lv_tape_alloc(tape, (size_t)T * sizeof(lv_real));
    saved->r = lv_tape_alloc(tape, (size_t)T * sizeof(lv_real));
    const lv_real *pw = w->data;
    const lv_real *pb = b->data;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        const lv_real *px = (const lv_real *)x->data + t * H;
        lv_real *y = (lv_real *)out->data + t * H;
        lv_real mean = lv_row_sum(px, H) / (lv_real)H;
        lv_real r = 1 / sqrt(lv_row_sum_squares(px, mean, H) / (lv_real)H + (lv_real)eps);
        for (int64_t h = 0; h < H; h++) {
            y[h] = (px[h] - mean) * r * pw[h] + pb[h];
        }
        saved->mean[t] = mean;
        saved->r[t] = r;
    }
    lv_tensor *in[] = {x, w, b};
    lv_tape_record(tape, &lv_op_layernorm, out, 3, in, saved);
    return out;
}

/* One row; g and g n are formed block by block, for their sums, and g once more for dx. */
static void backward_row(lv_real *dx, const lv_real *dy, const lv_real *x, const lv_real *w,
                         lv_real mean, lv_real r, int64_t H)
{
    enum { BLOCK = 512 };
    lv_real g[BLOCK], gn[BLOCK];
    lv_real sum_g = 0;
    lv_real sum_gn = 0;
    for (int64_t h0 = 0; h0 < H; h0 += BLOCK) {
        int64_t n = H - h0 < BLOCK ? H - h0 : BLOCK;
        for (int64_t i = 0; i < n; i++) {
            g[i] = dy[h0 + i] * w[h0 + i];
            gn[i] = g[i] * ((x[h0 + i] - mean) * r);
        }
        sum_g += lv_row_sum(g, n);
        sum_gn += lv_row_sum(gn, n);
    }
    lv_real mean_g = sum_g / (lv_real)H;
    lv_real mean_gn = sum_gn / (lv_real)H;
    for (int64_t h = 0; h < H; h++) {
        dx[h] += r * (dy[h] * w[h] - mean_g - (x[h] - mean) * r * mean_gn);
    }
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *x = node->in[0];
    lv_tensor *w = node->in[1];
    lv_tensor *b = node->in[2];
    const saved_layernorm *saved = node->saved;
    const lv_real *dy = node->out->grad;
    int64_t T = x->shape[0];
    int64_t H = x->shape[1];
    if (x->requires_grad) { /* y = (x - mean(x)) r(x) w */
        lv_real *dx = lv_tape_grad_cleared(tape, x).data;
#pragma omp parallel for schedule(static)
        for (int64_t t = 0; t < T; t++) {
            backward_row(dx + t * H, dy + t * H, (const lv_real *)x->data + t * H, w->data,
                         saved->mean[t], saved->r[t], H);
        }
    }
    if (w->requires_grad) { /* y = n w */
        lv_columns_add_product(lv_tape_grad_cleared(tape, w).data, dy, x->data, saved->mean,
                               saved->r, T, H);
    }
    if (b->requires_grad) { /* y = ... + b */
        lv_columns_add(lv_tape_grad_cleared(tape, b).data, dy, T, H);
    }
}

const lv_op lv_op_layernorm = {"layernorm", backward};
