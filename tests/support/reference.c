/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/reference.h"

#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "autograd/rng.h"

#include <math.h>
#include <stdlib.h>

static double *zeros(int64_t n)
{
    double *x = calloc((size_t)n + 1, sizeof *x);
    LV_CHECK(x, "no memory for a reference");
    return x;
}

attention_shape attention_shape_of(const attention_case *of, lv_range *visible)
{
    for (int64_t b = 0; b < of->B; b++) {
        const int64_t rows[] = {0, of->q_start[b + 1] - of->q_start[b]};
        const lv_range keys = {of->k_start[b], of->k_start[b + 1]};
        (of->causal ? lv_visible_causal : lv_visible_full)(visible + of->q_start[b], 1, rows,
                                                           &keys);
    }
    return (attention_shape){.layout = {.visible = visible,
                                        .n_heads = of->n_heads,
                                        .n_kv_heads = of->n_kv_heads,
                                        .head_dim = of->head_dim,
                                        .scale = of->scale},
                             .Tq = of->q_start[of->B],
                             .Tk = of->k_start[of->B]};
}

/* A score and its slope, by what it was before the cap. */
static double capped(const lv_attention_layout *l, double s, double *slope)
{
    double t = l->softcap > 0 ? tanh(s / l->softcap) : 0;
    *slope = 1 - t * t;
    return l->softcap > 0 ? l->softcap * t : s;
}

/* One query: its row of o and dq, its part of dk and dv. */
static void attention_row(attention_reference *r, const lv_attention_layout *l, const double *q,
                          const double *k, const double *v, const double *dout, int64_t a,
                          int64_t t)
{
    int64_t D = l->head_dim, seen = l->visible[t].end - l->visible[t].begin;
    int64_t q_at = (t * l->n_heads + a) * D;
    int64_t k_ld = l->n_kv_heads * D;
    int64_t k_at = l->visible[t].begin * k_ld + a / (l->n_heads / l->n_kv_heads) * D;
    double *p = zeros(seen), *dp = zeros(seen), *slope = zeros(seen);
    double max = -INFINITY, sum = 0, mean_dp = 0;
    for (int64_t j = 0; j < seen; j++) {
        for (int64_t d = 0; d < D; d++) {
            p[j] += l->scale * q[q_at + d] * k[k_at + j * k_ld + d];
            dp[j] += dout[q_at + d] * v[k_at + j * k_ld + d];
        }
        p[j] = capped(l, p[j], &slope[j]);
        max = fmax(max, p[j]);
    }
    for (int64_t j = 0; j < seen; j++) {
        p[j] = exp(p[j] - max);
        sum += p[j];
    }
    for (int64_t j = 0; j < seen; j++) {
        p[j] /= sum;
        mean_dp += p[j] * dp[j];
    }
    for (int64_t j = 0; j < seen; j++) {
        double ds = p[j] * (dp[j] - mean_dp) * slope[j] * l->scale;
        for (int64_t d = 0; d < D; d++) {
            r->o[q_at + d] += p[j] * v[k_at + j * k_ld + d];
            r->dv[k_at + j * k_ld + d] += p[j] * dout[q_at + d];
            r->dq[q_at + d] += ds * k[k_at + j * k_ld + d];
            r->dk[k_at + j * k_ld + d] += ds * q[q_at + d];
        }
    }
    free(p);
    free(dp);
    free(slope);
}

attention_reference reference_attention(const attention_shape *shape, const double *q,
                                        const double *k, const double *v, const double *dout)
{
    const lv_attention_layout *l = &shape->layout;
    int64_t n_q = shape->Tq * l->n_heads * l->head_dim;
    int64_t n_k = shape->Tk * l->n_kv_heads * l->head_dim;
    attention_reference r = {zeros(n_q), zeros(n_q), zeros(n_k), zeros(n_k)};
    for (int64_t a = 0; a < l->n_heads; a++) {
        for (int64_t t = 0; t < shape->Tq; t++) {
            attention_row(&r, l, q, k, v, dout, a, t);
        }
    }
    return r;
}

void attention_reference_free(attention_reference *x)
{
    free(x->o);
    free(x->dq);
    free(x->dk);
    free(x->dv);
}

static void loss_row(loss_reference *r, const double *x, const double *w, int64_t V, int64_t H,
                     int64_t row, int32_t label)
{
    double *z = zeros(V);
    double sum = 0, max = -INFINITY;
    for (int64_t v = 0; v < V; v++) {
        for (int64_t h = 0; h < H; h++) {
            z[v] += x[row * H + h] * w[v * H + h];
        }
        max = fmax(max, z[v]);
    }
    for (int64_t v = 0; v < V; v++) {
        sum += exp(z[v] - max);
    }
    r->rows[row] = log(sum) + max - z[label];
    r->loss += r->rows[row];
    for (int64_t v = 0; v < V; v++) {
        double dz = exp(z[v] - max) / sum - (v == label);
        for (int64_t h = 0; h < H; h++) {
            r->dx[row * H + h] += dz * w[v * H + h];
            r->dw[v * H + h] += dz * x[row * H + h];
        }
    }
    free(z);
}

loss_reference reference_cross_entropy(const double *x, const double *w, const int32_t *labels,
                                       int64_t R, int64_t V, int64_t H)
{
    loss_reference r = {0, zeros(R), zeros(R * H), zeros(V * H)};
    for (int64_t row = 0; row < R; row++) {
        loss_row(&r, x, w, V, H, row, labels[row]);
    }
    return r;
}

void loss_reference_free(loss_reference *x)
{
    free(x->rows);
    free(x->dx);
    free(x->dw);
}

static double value(const void *x, lv_dtype dtype, int64_t i)
{
    lv_real y;
    lv_convert_to_real(&y, lv_element_const(x, dtype, i), dtype, 1);
    return (double)y;
}

lv_tensor *reference_random(lv_tape *tape, lv_dtype dtype, int64_t rows, int64_t columns,
                            bool requires_grad, uint64_t seed)
{
    lv_tensor *x = lv_tape_tensor(tape, dtype, 2, (int64_t[]){rows, columns});
    for (int64_t i = 0; i < rows * columns; i++) {
        lv_real value = (lv_real)lv_random_normal(seed, 0, (uint64_t)i);
        lv_convert_from_real(lv_element(x->data, dtype, i), dtype, &value, 1);
    }
    x->requires_grad = requires_grad;
    return x;
}

double *reference_values(const void *x, lv_dtype dtype, int64_t n)
{
    double *y = zeros(n);
    for (int64_t i = 0; i < n; i++) {
        y[i] = value(x, dtype, i);
    }
    return y;
}

double reference_distance(const void *found, lv_dtype dtype, const double *expected, int64_t n)
{
    double error = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        double difference = value(found, dtype, i) - expected[i];
        error += difference * difference;
        norm += expected[i] * expected[i];
    }
    return error == 0 ? 0 : sqrt(error / norm);
}
