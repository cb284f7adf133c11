/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/norm.h"

#include "autograd/error.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/vector.h"

#include <omp.h>
#include <stddef.h>
#include <string.h>

enum { ROW_BLOCK = 64 }; /* rows summed by themselves first: fewer digits lost */

void lv_norm_forward(void *y, const lv_norm_rows *rows, double eps)
{
    const lv_vector_kernels *vector = lv_vector();
#pragma omp parallel if (rows->T * rows->H >= LV_PARALLEL_FROM)
    {
        lv_range t = lv_thread_range(rows->T, 1);
        vector->norm(y, rows, (lv_real)eps, t.begin, t.end);
    }
}

/* Of each thread, for dw and db: the sum of its rows, and of the block of rows it is at. */
int64_t lv_norm_scratch_count(int64_t H, int n_sums)
{
    return (int64_t)omp_get_max_threads() * n_sums * 2 * H;
}

static void add_and_clear(lv_real *restrict sum, lv_real *restrict part, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        sum[i] += part[i];
        part[i] = 0;
    }
}

/* What one thread sums for dw and db, each NULL if it is not wanted; n elements from base on, and
 * behind them as many for the block of rows it is at. */
typedef struct {
    lv_real *base, *dw, *db;
    int64_t n;
} thread_sums;

static thread_sums sums_at(lv_real *base, lv_grad dw, lv_grad db, int64_t H)
{
    thread_sums sums = {.base = base};
    if (dw.data) {
        sums.dw = base;
        sums.n += H;
    }
    if (db.data) {
        sums.db = base + sums.n;
        sums.n += H;
    }
    return sums;
}

static void backward_rows(lv_grad dx, const thread_sums *sums, const void *dy,
                          const lv_norm_rows *rows, lv_range t)
{
    const lv_vector_kernels *vector = lv_vector();
    memset(sums->base, 0, (size_t)(2 * sums->n) * sizeof *sums->base);
    for (int64_t begin = t.begin; begin < t.end; begin += ROW_BLOCK) {
        int64_t end = t.end - begin < ROW_BLOCK ? t.end : begin + ROW_BLOCK;
        vector->norm_backward(dx, sums->dw ? sums->dw + sums->n : NULL,
                              sums->db ? sums->db + sums->n : NULL, dy, rows, begin, end);
        add_and_clear(sums->base, sums->base + sums->n, sums->n);
    }
}

/* The sums of all threads, in their order, for the calling thread's columns. */
static void add_sums(lv_grad grad, const lv_real *sums, int64_t distance, int64_t H)
{
    int n_threads = omp_get_num_threads();
    lv_real *to = grad.data;
    lv_range h = lv_thread_range(H, 16);
    for (int64_t i = h.begin; i < h.end; i++) {
        lv_real sum = grad.add ? to[i] : 0;
        for (int thread = 0; thread < n_threads; thread++) {
            sum += sums[thread * distance + i];
        }
        to[i] = sum;
    }
}

void lv_norm_backward(lv_grad dx, lv_grad dw, lv_grad db, const void *dy, const lv_norm_rows *rows,
                      lv_real *scratch)
{
    LV_CHECK(!dx.data || dx.dtype == rows->dtype, "norm: a gradient of %s for rows of %s",
             lv_dtype_name(dx.dtype), lv_dtype_name(rows->dtype));
    thread_sums first = sums_at(scratch, dw, db, rows->H);
    int64_t distance = 2 * first.n;
#pragma omp parallel if (rows->T * rows->H >= LV_PARALLEL_FROM)
    {
        thread_sums sums = sums_at(scratch + omp_get_thread_num() * distance, dw, db, rows->H);
        backward_rows(dx, &sums, dy, rows, lv_thread_range(rows->T, 1));
#pragma omp barrier
        if (dw.data) {
            add_sums(dw, first.dw, distance, rows->H);
        }
        if (db.data) {
            add_sums(db, first.db, distance, rows->H);
        }
    }
}
