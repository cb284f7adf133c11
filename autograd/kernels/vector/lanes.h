/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums in 2 x HALF lanes, so that they vectorise without -ffast-math, in enough registers for
 * additions not to wait for each other. In a header so that it is compiled for each level. The
 * loops over full rounds have copies of the lanes, in two arrays, to themselves: that is what makes
 * gcc keep them in registers.
 */
#ifndef LV_AUTOGRAD_KERNELS_VECTOR_LANES_H
#define LV_AUTOGRAD_KERNELS_VECTOR_LANES_H

#include "autograd/real.h"

#include <stdint.h>
#include <string.h>

enum { HALF = 16, LANES = 2 * HALF };

typedef struct {
    lv_real a[HALF], b[HALF];
} lanes;

static inline lv_real lanes_sum(const lanes *from)
{
    lv_real sums[HALF];
    for (int l = 0; l < HALF; l++) {
        sums[l] = from->a[l] + from->b[l];
    }
    for (int width = HALF / 2; width > 0; width /= 2) {
        for (int l = 0; l < width; l++) {
            sums[l] += sums[l + width];
        }
    }
    return sums[0];
}

/* The lane of element i of what is left after the full rounds. */
static inline lv_real *lanes_at(lanes *of, int64_t i)
{
    return i < HALF ? &of->a[i] : &of->b[i - HALF];
}

/* += x */
static inline void lanes_add(lanes *to, const lv_real *x, int64_t n)
{
    lv_real a[HALF], b[HALF];
    memcpy(a, to->a, sizeof a);
    memcpy(b, to->b, sizeof b);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < HALF; l++) {
            a[l] += x[i + l];
        }
        for (int l = 0; l < HALF; l++) {
            b[l] += x[i + HALF + l];
        }
    }
    memcpy(to->a, a, sizeof a);
    memcpy(to->b, b, sizeof b);
    for (int64_t l = 0; i + l < n; l++) {
        *lanes_at(to, l) += x[i + l];
    }
}

/* += x y */
static inline void lanes_add_product(lanes *to, const lv_real *x, const lv_real *y, int64_t n)
{
    lv_real a[HALF], b[HALF];
    memcpy(a, to->a, sizeof a);
    memcpy(b, to->b, sizeof b);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < HALF; l++) {
            a[l] += x[i + l] * y[i + l];
        }
        for (int l = 0; l < HALF; l++) {
            b[l] += x[i + HALF + l] * y[i + HALF + l];
        }
    }
    memcpy(to->a, a, sizeof a);
    memcpy(to->b, b, sizeof b);
    for (int64_t l = 0; i + l < n; l++) {
        *lanes_at(to, l) += x[i + l] * y[i + l];
    }
}

/* += (x - mean)^2 */
static inline void lanes_add_squares(lanes *to, const lv_real *x, lv_real mean, int64_t n)
{
    lv_real a[HALF], b[HALF];
    memcpy(a, to->a, sizeof a);
    memcpy(b, to->b, sizeof b);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < HALF; l++) {
            lv_real d = x[i + l] - mean;
            a[l] += d * d;
        }
        for (int l = 0; l < HALF; l++) {
            lv_real d = x[i + HALF + l] - mean;
            b[l] += d * d;
        }
    }
    memcpy(to->a, a, sizeof a);
    memcpy(to->b, b, sizeof b);
    for (int64_t l = 0; i + l < n; l++) {
        lv_real d = x[i + l] - mean;
        *lanes_at(to, l) += d * d;
    }
}

#endif
