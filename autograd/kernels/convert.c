/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/convert.h"

#include "autograd/kernels/parallel.h"
#include "autograd/kernels/vector.h"

#include <omp.h>

static const int64_t PARALLEL_FROM = 1 << 18; /* elements worth more than one thread */

static int64_t file_bytes(lv_dtype dtype)
{
    return dtype == LV_F32 ? 4 : 2;
}

void lv_convert_to_real(lv_real *dst, const void *src, lv_dtype dtype, int64_t n)
{
    const lv_vector_kernels *vector = lv_vector();
    if (n < PARALLEL_FROM || omp_in_parallel()) {
        vector->widen(dst, src, dtype, n);
        return;
    }
#pragma omp parallel
    {
        lv_range r = lv_thread_range(n, 64);
        vector->widen(dst + r.begin, (const char *)src + r.begin * file_bytes(dtype), dtype,
                      r.end - r.begin);
    }
}

void lv_convert_from_real(void *dst, lv_dtype dtype, const lv_real *src, int64_t n)
{
    const lv_vector_kernels *vector = lv_vector();
    if (n < PARALLEL_FROM || omp_in_parallel()) {
        vector->narrow(dst, dtype, src, n);
        return;
    }
#pragma omp parallel
    {
        lv_range r = lv_thread_range(n, 64);
        vector->narrow((char *)dst + r.begin * file_bytes(dtype), dtype, src + r.begin,
                       r.end - r.begin);
    }
}
