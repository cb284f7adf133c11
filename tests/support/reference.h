/* SPDX-License-Identifier: Apache-2.0
 *
 * Ops by their definitions, in plain loops over double: what tests and benches compare with.
 */
#ifndef LV_TESTS_SUPPORT_REFERENCE_H
#define LV_TESTS_SUPPORT_REFERENCE_H

#include "autograd/ops.h"

/* attention_case: B sequences end to end, of which every row sees all keys of its own, or those up
 * to itself. */
typedef struct {
    int64_t B;
    const int64_t *q_start, *k_start;
    int64_t n_heads, n_kv_heads, head_dim;
    bool causal;
    double scale;
} attention_case;

/* attention_shape: a layout and the rows that it is for. */
typedef struct {
    lv_attention_layout layout;
    int64_t Tq, Tk;
} attention_shape;

/* in     visible[q_start[B]], filled and part of the layout */
attention_shape attention_shape_of(const attention_case *of, lv_range *visible);

/* Results of reference_attention, allocated by it. */
typedef struct {
    double *o, *dq, *dk, *dv;
} attention_reference;

/* in     q, dout (Tq, A*D); k, v (Tk, G*D) */
attention_reference reference_attention(const attention_shape *shape, const double *q,
                                        const double *k, const double *v, const double *dout);
void attention_reference_free(attention_reference *x);

typedef struct {
    double loss, *rows, *dx, *dw;
} loss_reference;

loss_reference reference_cross_entropy(const double *x, const double *w, const int32_t *labels,
                                       int64_t R, int64_t V, int64_t H);
void loss_reference_free(loss_reference *x);

/* reference_random: (rows, columns) of normal values of a seed, rounded to dtype, on the tape. */
lv_tensor *reference_random(lv_tape *tape, lv_dtype dtype, int64_t rows, int64_t columns,
                            bool requires_grad, uint64_t seed);

/* reference_values: an array's elements as double; the caller frees it. */
double *reference_values(const void *x, lv_dtype dtype, int64_t n);

/* reference_distance: |found - expected| / |expected|, Euclidean norms; NaN if any is. */
double reference_distance(const void *found, lv_dtype dtype, const double *expected, int64_t n);

#endif
