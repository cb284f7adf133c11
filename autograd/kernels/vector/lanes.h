/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums in lanes, so that they vectorise without -ffast-math, in two registers of the widest kind
 * for additions not to wait for each other. In a header so that it is compiled for each level.
 */
#ifndef LV_AUTOGRAD_KERNELS_VECTOR_LANES_H
#define LV_AUTOGRAD_KERNELS_VECTOR_LANES_H

#include "autograd/real.h"

#include <stdint.h>

enum { HALF_LANES = 16, LANES = 2 * HALF_LANES };

static inline lv_real lanes_total(const lv_real a[HALF_LANES], const lv_real b[HALF_LANES])
{
    lv_real sums[HALF_LANES];
    for (int l = 0; l < HALF_LANES; l++) {
        sums[l] = a[l] + b[l];
    }
    for (int width = HALF_LANES / 2; width > 0; width /= 2) {
        for (int l = 0; l < width; l++) {
            sums[l] += sums[l + width];
        }
    }
    return sums[0];
}

/* LANES_SUM: sum = the sum of term, an expression of i, over i in [0, n). Two arrays of lanes, not
 * one: gcc keeps these in registers. */
#define LANES_SUM(sum, i, n, term)                                                                 \
    do {                                                                                           \
        lv_real lanes_a[HALF_LANES] = {0}, lanes_b[HALF_LANES] = {0};                              \
        int64_t lanes_at = 0;                                                                      \
        for (; lanes_at + LANES <= (n); lanes_at += LANES) {                                       \
            for (int64_t i = lanes_at; i < lanes_at + HALF_LANES; i++) {                           \
                lanes_a[i - lanes_at] += (term);                                                   \
            }                                                                                      \
            for (int64_t i = lanes_at + HALF_LANES; i < lanes_at + LANES; i++) {                   \
                lanes_b[i - lanes_at - HALF_LANES] += (term);                                      \
            }                                                                                      \
        }                                                                                          \
        (sum) = lanes_total(lanes_a, lanes_b);                                                     \
        for (int64_t i = lanes_at; i < (n); i++) {                                                 \
            (sum) += (term);                                                                       \
        }                                                                                          \
    } while (0)

#endif
