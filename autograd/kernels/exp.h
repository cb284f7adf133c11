/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_exp: e^x without a call or a branch, so that loops over it vectorise; in a header for that
 * reason alone. Within 2 units in the last place; 0 below and infinity above float's range; NaN
 * stays NaN.
 *   x = n ln 2 + r, |r| <= ln 2 / 2;  e^x = 2^n e^r, e^r by its series up to r^7
 */
#ifndef LV_AUTOGRAD_KERNELS_EXP_H
#define LV_AUTOGRAD_KERNELS_EXP_H

#include "autograd/real.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef LV_REAL_F64

static inline lv_real lv_exp(lv_real x)
{
    return exp(x);
}

#else

static inline float lv_power_of_two(int32_t n)
{
    uint32_t bits = (uint32_t)(n + 127) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* x within +-105, where e^x is 0 or infinity already; by its bits, because a comparison of floats
 * may raise an exception and so would stay a branch. */
static inline float lv_exp_clamp(float x)
{
    const int32_t LIMIT = 0x42d20000, INFINITE = 0x7f800000; /* the bits of 105 and infinity */
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = bits & 0x80000000u;
    int32_t magnitude = (int32_t)(bits ^ sign);
    bool beyond = (magnitude > LIMIT) & (magnitude <= INFINITE);
    bits = sign | (uint32_t)(beyond ? LIMIT : magnitude);
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline lv_real lv_exp(lv_real x)
{
    const float ROUND = 0x1.8p23f; /* x + ROUND has the nearest integer in its last bits */
    x = lv_exp_clamp(x);
    float rounded = x * 0x1.715476p0f + ROUND;
    float whole = rounded - ROUND;
    float r = x - whole * 0x1.62ep-1f; /* ln 2 in two parts, the first with trailing zeros */
    r = r - whole * 0x1.0bfbe8p-15f;
    float series = 1.0f / 5040;
    series = series * r + 1.0f / 720;
    series = series * r + 1.0f / 120;
    series = series * r + 1.0f / 24;
    series = series * r + 1.0f / 6;
    series = series * r + 0.5f;
    series = series * r * r + r;
    int32_t n;
    memcpy(&n, &rounded, sizeof n);
    n = (n & 0x7fffff) - 0x400000;
    int32_t half = n / 2; /* 2^n itself may be out of range */
    return (series + 1.0f) * lv_power_of_two(half) * lv_power_of_two(n - half);
}

#endif

/* lv_sigmoid: 1 / (1 + e^-x). */
static inline lv_real lv_sigmoid(lv_real x)
{
    return 1 / (1 + lv_exp(-x));
}

#endif
