/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/parallel.h"

#include "autograd/kernels/vector.h"

#include <omp.h>

lv_range lv_range_split(int64_t count, int64_t grain, int64_t i, int64_t n)
{
    int64_t grains = (count + grain - 1) / grain;
    int64_t share = grains / n;
    int64_t extra = grains % n; /* the first parts take one more */
    int64_t begin = (i * share + (i < extra ? i : extra)) * grain;
    int64_t end = begin + (share + (i < extra)) * grain;
    return (lv_range){begin < count ? begin : count, end < count ? end : count};
}

lv_range lv_thread_range(int64_t count, int64_t grain)
{
    return lv_range_split(count, grain, omp_get_thread_num(), omp_get_num_threads());
}

enum { N_PARTS = 256, PART_GRAIN = 16 };

double lv_sum_squares(const lv_real *x, int64_t n)
{
    const lv_vector_kernels *vector = lv_vector();
    double parts[N_PARTS];
#pragma omp parallel for schedule(static)
    for (int p = 0; p < N_PARTS; p++) {
        lv_range range = lv_range_split(n, PART_GRAIN, p, N_PARTS);
        parts[p] = vector->sum_squares(x + range.begin, range.end - range.begin);
    }
    double sum = 0;
    for (int p = 0; p < N_PARTS; p++) {
        sum += parts[p];
    }
    return sum;
}
