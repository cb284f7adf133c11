/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/parallel.h"

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

enum { N_PARTS = 256, N_LANES = 8 };

static double part_sum_squares(const lv_real *x, int64_t n)
{
    double lanes[N_LANES] = {0};
    int64_t i = 0;
    for (; i + N_LANES <= n; i += N_LANES) {
        for (int l = 0; l < N_LANES; l++) {
            lanes[l] += (double)x[i + l] * (double)x[i + l];
        }
    }
    for (int l = 0; i < n; i++, l++) {
        lanes[l] += (double)x[i] * (double)x[i];
    }
    double sum = 0;
    for (int l = 0; l < N_LANES; l++) {
        sum += lanes[l];
    }
    return sum;
}

double lv_sum_squares(const lv_real *x, int64_t n)
{
    double parts[N_PARTS];
#pragma omp parallel for schedule(static)
    for (int p = 0; p < N_PARTS; p++) {
        lv_range range = lv_range_split(n, N_LANES, p, N_PARTS);
        parts[p] = part_sum_squares(x + range.begin, range.end - range.begin);
    }
    double sum = 0;
    for (int p = 0; p < N_PARTS; p++) {
        sum += parts[p];
    }
    return sum;
}
