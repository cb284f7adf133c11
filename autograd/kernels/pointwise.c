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
