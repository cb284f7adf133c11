/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums in lanes: element i is added to lane i % LANES, so that they vectorise without -ffast-math,
 * in enough registers for additions not to wait for each other. In a header so that it is
 * compiled for each level.
 */
#ifndef LV_AUTOGRAD_KERNELS_VECTOR_LANES_H
#define LV_AUTOGRAD_KERNELS_VECTOR_LANES_H

#include "autograd/real.h"

#include <stdint.h>
#include <string.h>

enum { LANES = 32 };

static inline lv_real lanes_sum(const lv_real lanes[LANES])
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

/* lanes += x. The sums are local while they are added to, which is what keeps them in registers. */
static inline void lanes_add(lv_real lanes[LANES], const lv_real *x, int64_t n)
{
    lv_real sums[LANES];
    memcpy(sums, lanes, sizeof sums);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            sums[l] += x[i + l];
        }
    }
    for (int l = 0; i < n; i++, l++) {
        sums[l] += x[i];
    }
    memcpy(lanes, sums, sizeof sums);
}

/* lanes += a b */
static inline void lanes_add_product(lv_real lanes[LANES], const lv_real *a, const lv_real *b,
                                     int64_t n)
{
    lv_real sums[LANES];
    memcpy(sums, lanes, sizeof sums);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            sums[l] += a[i + l] * b[i + l];
        }
    }
    for (int l = 0; i < n; i++, l++) {
        sums[l] += a[i] * b[i];
    }
    memcpy(lanes, sums, sizeof sums);
}

/* lanes += (x - mean)^2 */
static inline void lanes_add_squares(lv_real lanes[LANES], const lv_real *x, lv_real mean,
                                     int64_t n)
{
    lv_real sums[LANES];
    memcpy(sums, lanes, sizeof sums);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            lv_real d = x[i + l] - mean;
            sums[l] += d * d;
        }
    }
    for (int l = 0; i < n; i++, l++) {
        lv_real d = x[i] - mean;
        sums[l] += d * d;
    }
    memcpy(lanes, sums, sizeof sums);
}

#endif
