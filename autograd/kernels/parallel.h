/* SPDX-License-Identifier: Apache-2.0
 *
 * A fixed split of work over the OpenMP threads, so that the same number of threads always adds
 * the same partial sums in the same order.
 */
#ifndef LV_AUTOGRAD_KERNELS_PARALLEL_H
#define LV_AUTOGRAD_KERNELS_PARALLEL_H

#include "autograd/real.h"

#include <stdint.h>

typedef struct {
    int64_t begin, end;
} lv_range;

/* lv_range_split: part i of n of [0, count), sizes a multiple of grain (the last may be shorter,
 * parts may be empty). */
lv_range lv_range_split(int64_t count, int64_t grain, int64_t i, int64_t n);

/* lv_thread_range: the calling thread's part of [0, count) in the enclosing parallel region. */
lv_range lv_thread_range(int64_t count, int64_t grain);

/* LV_PARALLEL_FROM: elements of a simple loop that are worth more than one thread. */
enum { LV_PARALLEL_FROM = 1 << 13 };

/* lv_sum_squares: sum of x[i]^2 in double, in a fixed split that does not depend on the number of
 * threads. */
double lv_sum_squares(const lv_real *x, int64_t n);

#endif
