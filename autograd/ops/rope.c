/* SPDX-License-Identifier: Apache-2.0
 *
 * rope: with (u, v) = (x[t,a,d], x[t,a,d+D/2]) and the angle of position p and d < D/2
 *   y[t,a,d] = u cos - v sin,  y[t,a,d+D/2] = v cos + u sin
 * A rotation: its transpose is the rotation by the negative angle.
 *   du += dy[d] cos + dy[d+D/2] sin,  dv += dy[d+D/2] cos - dy[d] sin
 * Both ways in place: y takes over x's memory, dx that of dy. */
#include "autograd/error.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/vector.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

#include <math.h>

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

/* All rows of x (T, columns) by sign times their angles. */
static void rotate(void *x, lv_dtype dtype, const saved_rope *by, lv_real sign, int64_t T,
                   int64_t columns)
{
    const lv_vector_kernels *vector = lv_vector();
    const lv_rope_table *table = by->table;
    int64_t half = table->head_dim / 2;
#pragma omp parallel for schedule(static) if (T * columns >= LV_PARALLEL_FROM)
    for (int64_t t = 0; t < T; t++) {
        int64_t angle = by->position[t] * half;
        vector->rotate(lv_element(x, dtype, t * columns), dtype, table->cos + angle,
                       table->sin + angle, sign, columns / table->head_dim, half);
    }
}

lv_tensor *lv_rope(lv_tape *tape, lv_tensor *x, const int32_t *position, const lv_rope_table *table)
{
    LV_OP_FORWARD(tape, rope);
    lv_op_expect_float("rope", "x", x, 2, (int64_t[]){-1, -1});
    int64_t T = x->shape[0];
    int64_t columns = x->shape[1];
    LV_CHECK(columns % table->head_dim == 0, "rope: %lld columns in heads of %lld",
             (long long)columns, (long long)table->head_dim);
    lv_op_expect_indices("rope", "position", position, T, 0, table->n_positions);
    lv_tensor *out = lv_tape_overwrite(tape, x);
    saved_rope *saved = lv_tape_alloc(tape, sizeof *saved);
    *saved = (saved_rope){position, table};
    lv_tape_record(tape, &lv_op_rope, out, 1, &x, saved);
    if (!lv_tape_is_dry(tape)) {
        rotate(out->data, out->dtype, saved, 1, T, columns);
    }
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *y = node->out;
    if (!lv_tape_is_dry(tape)) { /* y[t] = R(angle) x[t] */
        rotate(y->grad, y->dtype, node->saved, -1, y->shape[0], y->shape[1]);
    }
    lv_tape_grad_pass(tape, y, node->in[0]);
}

static unsigned needs(const lv_node *node)
{
    (void)node;
    return 0;
}

const lv_op lv_op_rope = {"rope", backward, needs};
