/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of row-major matrices: copies by index and their inverse.
 */
#ifndef LV_AUTOGRAD_KERNELS_ROWS_H
#define LV_AUTOGRAD_KERNELS_ROWS_H

#include "autograd/tensor.h"

#include <stdint.h>

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
