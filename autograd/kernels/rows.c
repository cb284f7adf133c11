/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/rows.h"

#include "autograd/kernels/exp.h"
#include "autograd/kernels/parallel.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

enum {
    LANES = 16,
    COLUMN_GRAIN = 16, /* a cache line of floats: threads do not share one */
    COLUMN_BLOCK = 64, /* columns whose sums stay in registers and L1 */
    ROW_BLOCK = 64,    /* rows summed by themselves first: fewer digits lost */
};

static lv_real sum_lanes(const lv_real lanes[LANES])
{
    lv_real sums[LANES];
    memcpy(sums, lanes, sizeof sums);
    for (int width = LANES / 2; width > 0; width /= 2) {
        for (int l = 0; l < width; l++) {
            sums[l] += sums[l + width];
        }
    }
    return sums[0];
}

lv_real lv_row_sum(const lv_real *x, int64_t n)
{
    lv_real lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            lanes[l] += x[i + l];
        }
    }
    for (int l = 0; i < n; i++, l++) {
        lanes[l] += x[i];
    }
    return sum_lanes(lanes);
}

lv_real lv_row_dot(const lv_real *a, const lv_real *b, int64_t n)
{
    lv_real lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            lanes[l] += a[i + l] * b[i + l];
        }
    }
    for (int l = 0; i < n; i++, l++) {
        lanes[l] += a[i] * b[i];
    }
    return sum_lanes(lanes);
}

lv_real lv_row_sum_squares(const lv_real *x, lv_real mean, int64_t n)
{
    lv_real lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            lanes[l] += (x[i + l] - mean) * (x[i + l] - mean);
        }
    }
    for (int l = 0; i < n; i++, l++) {
        lanes[l] += (x[i] - mean) * (x[i] - mean);
    }
    return sum_lanes(lanes);
}

static lv_real larger_or_nan(lv_real a, lv_real b)
{
    bool take_b = (b > a) | (b != b);
    return take_b ? b : a;
}

lv_real lv_row_max(const lv_real *x, int64_t n)
{
    lv_real lanes[LANES];
    for (int l = 0; l < LANES; l++) {
        lanes[l] = -INFINITY;
    }
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            lanes[l] = larger_or_nan(lanes[l], x[i + l]);
        }
    }
    lv_real max = -INFINITY;
    for (int l = 0; l < LANES; l++) {
        max = larger_or_nan(max, lanes[l]);
    }
    for (; i < n; i++) {
        max = larger_or_nan(max, x[i]);
    }
    return max;
}

lv_real lv_row_exp(lv_real *x, lv_real shift, int64_t n)
{
    shift = shift == -INFINITY ? 0 : shift;
    for (int64_t i = 0; i < n; i++) {
        x[i] = lv_exp(x[i] - shift);
    }
    return lv_row_sum(x, n);
}

void lv_row_scale(lv_real *x, lv_real factor, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] *= factor;
    }
}

void lv_row_add(lv_real *dst, const lv_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dst[i] += x[i];
    }
}

/* One block of columns, n of them beginning at x; x NULL: of dy alone. */
static void columns_block(lv_real *dst, const lv_real *dy, const lv_real *x, const lv_real *mean,
                          const lv_real *r, int64_t T, int64_t N, int64_t n)
{
    lv_real total[COLUMN_BLOCK] = {0};
    for (int64_t t0 = 0; t0 < T; t0 += ROW_BLOCK) {
        lv_real part[COLUMN_BLOCK] = {0};
        int64_t t1 = T - t0 < ROW_BLOCK ? T : t0 + ROW_BLOCK;
        for (int64_t t = t0; t < t1; t++) {
            const lv_real *g = dy + t * N;
            if (!x) {
                lv_row_add(part, g, n);
                continue;
            }
            const lv_real *row = x + t * N;
            lv_real m = mean ? mean[t] : 0;
            for (int64_t i = 0; i < n; i++) {
                part[i] += g[i] * ((row[i] - m) * r[t]);
            }
        }
        lv_row_add(total, part, n);
    }
    lv_row_add(dst, total, n);
}

void lv_columns_add_product(lv_real *dst, const lv_real *dy, const lv_real *x, const lv_real *mean,
                            const lv_real *r, int64_t T, int64_t N)
{
#pragma omp parallel
    {
        lv_range range =
            lv_range_split(N, COLUMN_GRAIN, omp_get_thread_num(), omp_get_num_threads());
        for (int64_t i = range.begin; i < range.end; i += COLUMN_BLOCK) {
            int64_t n = range.end - i < COLUMN_BLOCK ? range.end - i : COLUMN_BLOCK;
            columns_block(dst + i, dy + i, x ? x + i : NULL, mean, r, T, N, n);
        }
    }
}

void lv_columns_add(lv_real *dst, const lv_real *x, int64_t T, int64_t N)
{
    lv_columns_add_product(dst, x, NULL, NULL, NULL, T, N);
}

void lv_rows_scatter_add(lv_real *dst, const int32_t *index, const lv_real *x, int64_t T, int64_t N)
{
#pragma omp parallel
    {
        lv_range range =
            lv_range_split(N, COLUMN_GRAIN, omp_get_thread_num(), omp_get_num_threads());
        for (int64_t t = 0; t < T; t++) {
            if (index[t] >= 0) {
                lv_row_add(dst + index[t] * N + range.begin, x + t * N + range.begin,
                           range.end - range.begin);
            }
        }
    }
}
