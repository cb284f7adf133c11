/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/pointwise.h"

#include "autograd/kernels/parallel.h"
#include "autograd/kernels/vector.h"

#include <omp.h>

void lv_add_to(void *y, lv_dtype y_dtype, bool add, const void *x, lv_dtype x_dtype, int64_t n)
{
    const lv_vector_kernels *vector = lv_vector();
#pragma omp parallel if (n >= LV_PARALLEL_FROM)
    {
        lv_range r = lv_thread_range(n, 64);
        vector->add_to(lv_element(y, y_dtype, r.begin), y_dtype, add,
                       lv_element_const(x, x_dtype, r.begin), x_dtype, r.end - r.begin);
    }
}

void lv_columns_sum(lv_real *dst, bool add, const void *x, lv_dtype dtype, int64_t T, int64_t N)
{
    const lv_vector_kernels *vector = lv_vector();
#pragma omp parallel if (T * N >= LV_PARALLEL_FROM)
    {
        lv_range r = lv_thread_range(N, 64);
        if (r.begin < r.end) {
            vector->columns(dst + r.begin, add, lv_element_const(x, dtype, r.begin), dtype, T, N,
                            r.end - r.begin);
        }
    }
}
