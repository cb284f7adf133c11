/* SPDX-License-Identifier: Apache-2.0
 *
 * Ops by their definitions, in plain loops over double: what tests and benches compare with.
 */
#ifndef LV_TESTS_SUPPORT_REFERENCE_H
#define LV_TESTS_SUPPORT_REFERENCE_H

#include "autograd/ops.h"

/* Results of reference_attention, allocated by it. */
typedef struct {
    double *o, *dq, *dk, *dv;
} attention_reference;

/* in     q, dout (Tq, A*D); k, v (Tk, G*D), Tk of the last sequence's end */
attention_reference reference_attention(const lv_attention_layout *layout, const double *q,
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
