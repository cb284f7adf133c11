/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of row-major matrices: sums in a fixed order, copies by index and their inverse.
 */
#ifndef LV_AUTOGRAD_KERNELS_ROWS_H
#define LV_AUTOGRAD_KERNELS_ROWS_H

#include "autograd/tape.h"

#include <stdint.h>

/* On the calling thread, by the vector kernels that lv_cpu() allows. */
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

/* lv_rows_gather: y[t] = x[index[t]], all threads; an index below 0 names row -1 - index of other.
 * in     x, other: rows of N of x_dtype, bf16 at any address; other may be NULL if no index is
 *        below 0
 * out    y (T,N) of y_dtype */
void lv_rows_gather(void *y, lv_dtype y_dtype, const void *x, const void *other, lv_dtype x_dtype,
                    const int32_t *index, int64_t T, int64_t N);

/* lv_rows_scatter: y[i] (+)= the sum of x[t] over the t with index[t] = i, in their order and
 * rounded once, all threads; rows that no t names are cleared unless they are to be added to. An
 * index outside of [0, n_rows) is nobody's.
 * in     x (T,N) of x_dtype; scratch: lv_rows_scatter_count
 * out    y (n_rows,N) */
int64_t lv_rows_scatter_count(int64_t n_rows, int64_t T);
void lv_rows_scatter(lv_grad y, int64_t n_rows, const int32_t *index, const void *x,
                     lv_dtype x_dtype, int64_t T, int64_t N, int32_t *scratch);

#endif
