/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/rows.h"

#include "autograd/kernels/parallel.h"
#include "autograd/kernels/vector.h"

#include <omp.h>
#include <string.h>

enum {
    COLUMN_GRAIN = 16, /* a cache line of floats: threads do not share one */
    COLUMN_BLOCK = 64, /* columns whose sums stay in registers and L1 */
    ROW_BLOCK = 64,    /* rows summed by themselves first: fewer digits lost */
    SCATTER_GRAIN = 8, /* rows: enough work to be worth asking for */
};

lv_real lv_row_sum(const lv_real *x, int64_t n)
{
    return lv_vector()->row_sum(x, n);
}

lv_real lv_row_dot(const lv_real *a, const lv_real *b, int64_t n)
{
    return lv_vector()->row_dot(a, b, n);
}

lv_real lv_row_sum_squares(const lv_real *x, lv_real mean, int64_t n)
{
    return lv_vector()->row_sum_squares(x, mean, n);
}

lv_real lv_row_max(const lv_real *x, int64_t n)
{
    return lv_vector()->row_max(x, n);
}

lv_real lv_row_exp(lv_real *x, lv_real shift, int64_t n)
{
    return lv_vector()->row_exp(x, shift, n);
}

void lv_row_scale(lv_real *x, lv_real factor, int64_t n)
{
    lv_vector()->row_scale(x, factor, n);
}

void lv_row_add(lv_real *dst, const lv_real *x, int64_t n)
{
    lv_vector()->row_add(dst, x, n);
}

/* One block of columns, n of them beginning at x. */
static void columns_block(lv_real *dst, const lv_real *x, int64_t T, int64_t N, int64_t n)
{
    lv_real total[COLUMN_BLOCK] = {0};
    for (int64_t t0 = 0; t0 < T; t0 += ROW_BLOCK) {
        lv_real part[COLUMN_BLOCK] = {0};
        int64_t t1 = T - t0 < ROW_BLOCK ? T : t0 + ROW_BLOCK;
        for (int64_t t = t0; t < t1; t++) {
            lv_row_add(part, x + t * N, n);
        }
        lv_row_add(total, part, n);
    }
    lv_row_add(dst, total, n);
}

void lv_columns_add(lv_real *dst, const lv_real *x, int64_t T, int64_t N)
{
#pragma omp parallel
    {
        lv_range range = lv_thread_range(N, COLUMN_GRAIN);
        for (int64_t i = range.begin; i < range.end; i += COLUMN_BLOCK) {
            int64_t n = range.end - i < COLUMN_BLOCK ? range.end - i : COLUMN_BLOCK;
            columns_block(dst + i, x + i, T, N, n);
        }
    }
}

void lv_rows_gather(void *y, lv_dtype y_dtype, const void *x, const void *other, lv_dtype x_dtype,
                    const int32_t *index, int64_t T, int64_t N)
{
    const lv_vector_kernels *vector = lv_vector();
#pragma omp parallel for schedule(static) if (T * N >= LV_PARALLEL_FROM)
    for (int64_t t = 0; t < T; t++) {
        int64_t i = index[t];
        const void *row = i >= 0 ? lv_element_const(x, x_dtype, i * N)
                                 : lv_element_const(other, x_dtype, (-1 - i) * N);
        void *to = lv_element(y, y_dtype, t * N);
        if (x_dtype == y_dtype) {
            memcpy(to, row, (size_t)N * lv_dtype_bytes(y_dtype));
        } else {
            vector->add_to(to, y_dtype, false, row, x_dtype, N);
        }
    }
}

/* order: the t of row 0, then of row 1, ...; those of row i begin at first[i], and first[i + 1] is
 * where they end. Both in one pass of counting and one of placing. */
static void group_by_row(int32_t *first, int32_t *order, int64_t n_rows, const int32_t *index,
                         int64_t T)
{
    memset(first, 0, (size_t)(n_rows + 1) * sizeof *first);
    for (int64_t t = 0; t < T; t++) {
        if (index[t] >= 0 && index[t] < n_rows) {
            first[index[t] + 1]++;
        }
    }
    for (int64_t i = 0; i < n_rows; i++) {
        first[i + 1] += first[i];
    }
    for (int64_t t = 0; t < T; t++) {
        if (index[t] >= 0 && index[t] < n_rows) {
            order[first[index[t]]++] = (int32_t)t;
        }
    }
    for (int64_t i = n_rows; i > 0; i--) { /* placing moved each to its end */
        first[i] = first[i - 1];
    }
    first[0] = 0;
}

int64_t lv_rows_scatter_count(int64_t n_rows, int64_t T)
{
    return n_rows + 1 + T;
}

void lv_rows_scatter(lv_grad y, int64_t n_rows, const int32_t *index, const void *x,
                     lv_dtype x_dtype, int64_t T, int64_t N, int32_t *scratch)
{
    const lv_vector_kernels *vector = lv_vector();
    int32_t *first = scratch, *order = scratch + n_rows + 1;
    group_by_row(first, order, n_rows, index, T);
#pragma omp parallel for schedule(dynamic, SCATTER_GRAIN) if (n_rows * N >= LV_PARALLEL_FROM)
    for (int64_t i = 0; i < n_rows; i++) {
        int32_t n = first[i + 1] - first[i];
        if (n > 0 || !y.add) {
            vector->sum_rows(lv_grad_at(y, i * N), x, x_dtype, order + first[i], n, N);
        }
    }
}
