/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums over rows and columns of row-major matrices, in a fixed order and in lanes, so that they
 * vectorise without -ffast-math. The row functions run on the calling thread.
 */
#ifndef LV_AUTOGRAD_KERNELS_ROWS_H
#define LV_AUTOGRAD_KERNELS_ROWS_H

#include "autograd/real.h"

#include <stdint.h>

lv_real lv_row_sum(const lv_real *x, int64_t n);
lv_real lv_row_dot(const lv_real *a, const lv_real *b, int64_t n);
lv_real lv_row_sum_squares(const lv_real *x, lv_real mean, int64_t n); /* of x - mean */
lv_real lv_row_max(const lv_real *x, int64_t n); /* NaN if there is one; -infinity if n is 0 */

/* lv_row_exp: x[i] = e^(x[i] - shift). returns the sum; -infinity as shift counts as 0, so that
 * a row of -infinity gives zeros. */
lv_real lv_row_exp(lv_real *x, lv_real shift, int64_t n);

void lv_row_scale(lv_real *x, lv_real factor, int64_t n);
void lv_row_add(lv_real *dst, const lv_real *x, int64_t n);

/* lv_columns_add: dst[n] += sum_t x[t,n], over all threads. */
void lv_columns_add(lv_real *dst, const lv_real *x, int64_t T, int64_t N);

/* lv_columns_add_product: dst[n] += sum_t dy[t,n] (x[t,n] - mean[t]) r[t]; mean NULL: zeros. */
void lv_columns_add_product(lv_real *dst, const lv_real *dy, const lv_real *x, const lv_real *mean,
                            const lv_real *r, int64_t T, int64_t N);

/* lv_rows_scatter_add: dst[index[t]] += x[t] over rows of N, in the order of t, for the t whose
 * index is not negative; all threads. */
void lv_rows_scatter_add(lv_real *dst, const int32_t *index, const lv_real *x, int64_t T,
                         int64_t N);

#endif
