/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/rows.h"

#include "autograd/kernels/parallel.h"
#include "autograd/kernels/vector.h"

#include <omp.h>
#include <string.h>

enum { SCATTER_GRAIN = 8 }; /* rows: enough work to be worth asking for */

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
