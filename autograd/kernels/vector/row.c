/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/exp.h"
#include "autograd/kernels/vector/lanes.h"
#include "autograd/kernels/vector/level.h"

lv_real LV_LEVEL(row_sum)(const lv_real *x, int64_t n)
{
    lv_real sum;
    LANES_SUM(sum, i, n, x[i]);
    return sum;
}

lv_real LV_LEVEL(row_dot)(const lv_real *a, const lv_real *b, int64_t n)
{
    lv_real sum;
    LANES_SUM(sum, i, n, a[i] * b[i]);
    return sum;
}

lv_real LV_LEVEL(row_sum_squares)(const lv_real *x, lv_real mean, int64_t n)
{
    lv_real sum;
    LANES_SUM(sum, i, n, (x[i] - mean) * (x[i] - mean));
    return sum;
}

static lv_real larger_or_nan(lv_real a, lv_real b)
{
    bool take_b = (b > a) | (b != b);
    return take_b ? b : a;
}

lv_real LV_LEVEL(row_max)(const lv_real *x, int64_t n)
{
    lv_real largest[LANES];
    for (int l = 0; l < LANES; l++) {
        largest[l] = -INFINITY;
    }
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            largest[l] = larger_or_nan(largest[l], x[i + l]);
        }
    }
    lv_real max = -INFINITY;
    for (int l = 0; l < LANES; l++) {
        max = larger_or_nan(max, largest[l]);
    }
    for (; i < n; i++) {
        max = larger_or_nan(max, x[i]);
    }
    return max;
}

lv_real LV_LEVEL(row_exp)(lv_real *x, lv_real shift, int64_t n)
{
    shift = shift == -INFINITY ? 0 : shift;
    for (int64_t i = 0; i < n; i++) {
        x[i] = lv_exp(x[i] - shift);
    }
    lv_real sum;
    LANES_SUM(sum, i, n, x[i]);
    return sum;
}

void LV_LEVEL(row_scale)(lv_real *x, lv_real factor, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] *= factor;
    }
}

void LV_LEVEL(row_add)(lv_real *dst, const lv_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dst[i] += x[i];
    }
}
