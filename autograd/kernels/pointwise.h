/* SPDX-License-Identifier: Apache-2.0
 *
 * Vector kernels over whole arrays, shared out among the OpenMP threads.
 */
#ifndef LV_AUTOGRAD_KERNELS_POINTWISE_H
#define LV_AUTOGRAD_KERNELS_POINTWISE_H

#include "autograd/tensor.h"

/* lv_add_to: y += x, or y = x without reading y if add is false.
 * in     x, y: n elements, LV_F32 or LV_BF16 each */
void lv_add_to(void *y, lv_dtype y_dtype, bool add, const void *x, lv_dtype x_dtype, int64_t n);

/* lv_columns_sum: dst[n] += sum_t x[t,n], or = that if add is false; the same bits for any number
 * of threads.
 * in     x (T,N) LV_F32 or LV_BF16 */
void lv_columns_sum(lv_real *dst, bool add, const void *x, lv_dtype dtype, int64_t T, int64_t N);

#endif
