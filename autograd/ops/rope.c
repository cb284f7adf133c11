/* SPDX-License-Identifier: Apache-2.0
 *
 * rope: with (u, v) = (x[t,a,d], x[t,a,d+D/2]) and the angle of position p and d < D/2
 *   y[t,a,d] = u cos - v sin,  y[t,a,d+D/2] = v cos + u sin
 * A rotation: its transpose is the rotation by the negative angle.
 *   du += dy[d] cos + dy[d+D/2] sin,  dv += dy[d+D/2] cos - dy[d] sin */
#include "autograd/error.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"

#include <math.h>
#include <string.h>

typedef struct {
    const int32_t *position;
    const lv_rope_table *table;
} saved_rope;

void lv_rope_table_fill(lv_rope_table *table, double theta)
{
    int64_t D = table->head_dim;
    LV_CHECK(D > 0 && D % 2 == 0, "rope: head size %lld is not even", (long long)D);
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < table->n_positions; p++) {
        for (int64_t d = 0; d < D / 2; d++) {
            float exponent = (float)(2 * d) / (float)D;
            float frequency = 1.0f / (float)pow(theta, (double)exponent);
            float angle = (float)p * frequency;
            table->cos[p * (D / 2) + d] = (lv_real)(float)cos((double)angle);
            table->sin[p * (D / 2) + d] = (lv_real)(float)sin((double)angle);
        }
    }
}

/* y += rotation of x by sign times the angle, for all heads of a row. */
static void rotate_row(lv_real *y, const lv_real *x, const lv_real *cosine, const lv_real *sine,
                       lv_real sign, int64_t columns, int64_t half)
{
    for (int64_t a = 0; a < columns; a += 2 * half) {
        for (int64_t d = a; d < a + half; d++) {
            lv_real c = cosine[d - a];
            lv_real s = sign * sine[d - a];
            y[d] += x[d] * c - x[d + half] * s;
            y[d + half] += x[d + half] * c + x[d] * s;
        }
    }
}

lv_tensor *lv_rope(lv_tape *tape, lv_tensor *x, const int32_t *position, const lv_rope_table *table)
{
    lv_op_expect("rope", "x", x, 2, (int64_t[]){-1, -1});
    int64_t T = x->shape[0];
    int64_t columns = x->shape[1];
    int64_t half = table->head_dim / 2;
    LV_CHECK(columns % table->head_dim == 0, "rope: %lld columns in heads of %lld",
             (long long)columns, (long long)table->head_dim);
    lv_op_expect_indices("rope", "position", position, T, 0, table->n_positions);
    lv_tensor *out = lv_tape_tensor(tape, LV_F32, 2, x->shape);
    saved_rope *saved = lv_tape_alloc(tape, sizeof *saved);
    *saved = (saved_rope){position, table};
    const lv_real *px = x->data;
    lv_real *y = lv_tensor_real(out);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        int64_t angle = position[t] * half;
        memset(y + t * columns, 0, (size_t)columns * sizeof *y);
        rotate_row(y + t * columns, px + t * columns, table->cos + angle, table->sin + angle, 1,
                   columns, half);
    }
    lv_tape_record(tape, &lv_op_rope, out, 1, &x, saved);
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    const saved_rope *saved = node->saved;
    const lv_rope_table *table = saved->table;
    lv_real *dx = lv_tape_grad_cleared(tape, node->in[0]).data;
    const lv_real *dy = node->out->grad;
    int64_t T = node->out->shape[0];
    int64_t columns = node->out->shape[1];
    int64_t half = table->head_dim / 2;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) { /* y[t] = R(angle) x[t] */
        int64_t angle = saved->position[t] * half;
        rotate_row(dx + t * columns, dy + t * columns, table->cos + angle, table->sin + angle, -1,
                   columns, half);
    }
}

const lv_op lv_op_rope = {"rope", backward};
