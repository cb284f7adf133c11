/* SPDX-License-Identifier: Apache-2.0
 *
 * What rmsnorm and layernorm share: rows that are normalised, in one pass over memory each way.
 */
#ifndef LV_AUTOGRAD_KERNELS_NORM_H
#define LV_AUTOGRAD_KERNELS_NORM_H

#include "autograd/tensor.h"

/* lv_norm_rows: T rows of H, and what is known of each.
 *   y = (x - mean) r w + b,  r = 1/sqrt(mean_h (x - mean)^2 + eps) */
typedef struct {
    const void *x; /* (T,H) of dtype */
    lv_dtype dtype;
    int64_t T, H;
    const lv_real *w, *b; /* (H); b NULL: none */
    lv_real *mean;        /* (T); NULL: x is not centred, mean is 0 in the formula */
    lv_real *r;           /* (T) */
} lv_norm_rows;

/* lv_norm_forward: all threads.
 * out    y (T,H) of dtype; rows->mean, rows->r */
void lv_norm_forward(void *y, const lv_norm_rows *rows, double eps);

/* lv_norm_scratch_count: elements that lv_norm_backward needs for so many of dw and db. */
int64_t lv_norm_scratch_count(int64_t H, int n_sums);

/* lv_norm_backward: with n = (x - mean) r and g = dy w
 *   dx (+)= r (g - mean_h(g) - n mean_h(g n)), without mean_h(g) if x is not centred
 *   dw (+)= sum_t dy n,  db (+)= sum_t dy
 * all threads; the same bits for the same number of threads.
 * in     dy (T,H) of rows->dtype; scratch: as many elements as dw and db need
 * out    dx, dw (H), db (H): each may have NULL data; dw and db are f32 */
void lv_norm_backward(lv_grad dx, lv_grad dw, lv_grad db, const void *dy, const lv_norm_rows *rows,
                      lv_real *scratch);

#endif
