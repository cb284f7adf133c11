/* SPDX-License-Identifier: Apache-2.0
 *
 * e^x, sigmoid, tanh, the normal distribution and the slope of gelu without a call or a branch, so
 * that loops over them vectorise; in a header for that reason alone. NaN stays NaN, but see
 * lv_times_sigmoid.
 *
 * lv_exp: within 2 units in the last place; 0 below -86.9 (where e^x < 2^-125), infinity above
 * float's range.
 *   x = n ln 2 + r, |r| <= ln 2 / 2;  e^x = 2^n e^r
 * lv_times_sigmoid: a / (1 + e^-x), a NaN where x is, or the NaN may be lost; lv_sigmoid: the same
 * for a of 1.
 * lv_normal: c(x) = (1 + erf(x/sqrt 2)) / 2, within 4 2^-24, and never outside of [0, 1].
 *   c(x) = 1/2 + x p(x^2) / q(x^2) for |x| < 5.42, beyond it is 0 or 1
 * lv_tanh: within 4 units in the last place.
 *   tanh x = x + x^3 p(x^2) for |x| < 0.55, beyond it is 1 - 2/(e^2x + 1)
 * lv_gelu_slope: the derivative of x c(x), c(x) + x c'(x), within 5 2^-24; NaN at infinity, as is
 * its second term.
 *   1/2 + x p(x^2) / q(x^2) for |x| < 6.05, beyond it is within 2^-24 of 0 or 1
 * e^r, p and q are minimax: off by 2^-28 of e^x, by 2^-29 of tanh, by 2^-27 in the other two.
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

static inline lv_real lv_times_sigmoid(lv_real a, lv_real x)
{
    return a / (1 + exp(-x));
}

static inline lv_real lv_normal(lv_real x)
{
    return erfc(-x * M_SQRT1_2) / 2;
}

static inline lv_real lv_tanh(lv_real x)
{
    return tanh(x);
}

static inline lv_real lv_gelu_slope(lv_real x)
{
    return lv_normal(x) + x * exp(-x * x / 2) * (M_SQRT1_2 * M_2_SQRTPI / 2);
}

#else

/* e^x for -87 <= x <= 88.722, anything elsewhere: 2^n goes into the exponent. */
static inline float lv_exp_within(float x)
{
    const float ROUND = 0x1.8p23f; /* x + ROUND has the nearest integer in its last bits */
    float rounded = x * 0x1.715476p0f + ROUND;
    float whole = rounded - ROUND;
    float r = x - whole * 0x1.62ep-1f; /* ln 2 in two parts, the first with trailing zeros */
    r = r - whole * 0x1.0bfbe8p-15f;
    float y = 0x1.6a23d0p-10f;
    y = y * r + 0x1.123a20p-7f;
    y = y * r + 0x1.5558f2p-5f;
    y = y * r + 0x1.555492p-3f;
    y = y * r + 0x1.fffffcp-2f;
    y = y * r + 1;
    y = y * r + 1;
    uint32_t n, bits;
    memcpy(&n, &rounded, sizeof n);
    memcpy(&bits, &y, sizeof bits);
    bits += n << 23;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/* For x >= -87. */
static inline float lv_exp_above(float x)
{
    return x <= 88.722f ? lv_exp_within(x) : x + INFINITY; /* too large, or NaN */
}

static inline float lv_exp(float x)
{
    return x < -86.9f ? 0 : lv_exp_above(x);
}

static inline float lv_times_sigmoid(float a, float x)
{
    const int32_t BITS_OF_87 = 0x42ae0000;
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits =
        bits < BITS_OF_87 ? bits : BITS_OF_87; /* floats above 0 are in the order of their bits */
    memcpy(&x, &bits, sizeof x);
    return a / (1 + lv_exp_above(-x));
}

static inline float lv_normal(float x)
{
    float a = fabsf(x);
    float u = a * a;
    float p = 0x1.8f8cf2p-26f;
    p = p * u + 0x1.aaa544p-18f;
    p = p * u + 0x1.5a692cp-13f;
    p = p * u + 0x1.312038p-8f;
    p = p * u + 0x1.1224eep-5f;
    p = p * u + 0x1.988450p-2f;
    float q = 0x1.458442p-20f;
    q = q * u + 0x1.30a5c2p-14f;
    q = q * u + 0x1.e897acp-10f;
    q = q * u + 0x1.d1cbf8p-6f;
    q = q * u + 0x1.009032p-2f;
    q = q * u + 1;
    float half = a * p / q;
    bool is_half = (a > 5.42f) | (half > 0.5f);
    return 0.5f + copysignf(is_half ? 0.5f : half, x);
}

static inline float lv_tanh(float x)
{
    float a = fabsf(x);
    float u = a * a;
    float p = -0x1.9b3044p-8f;
    p = p * u + 0x1.593d06p-6f;
    p = p * u - 0x1.b9287ap-5f;
    p = p * u + 0x1.110d26p-3f;
    p = p * u - 0x1.55554ap-2f;
    float near = a + a * u * p;
    float far = 1 - 2 / (lv_exp_above(2 * a) + 1);
    return copysignf(a < 0.55f ? near : far, x);
}

static inline float lv_gelu_slope(float x)
{
    float a = fabsf(x);
    a = a > 6.05f ? 6.05f : a;
    float u = a * a;
    float p = 0x1.2b48b8p-26f;
    p = p * u + 0x1.046584p-20f;
    p = p * u + 0x1.1e17d0p-15f;
    p = p * u + 0x1.ce59b4p-13f;
    p = p * u + 0x1.c4d58ap-7f;
    p = p * u - 0x1.5e75f0p-6f;
    p = p * u + 0x1.988452p-1f;
    float q = 0x1.6cba5cp-30f;
    q = q * u + 0x1.7a2ef0p-22f;
    q = q * u + 0x1.61b756p-17f;
    q = q * u + 0x1.05ef0ep-12f;
    q = q * u + 0x1.07988ep-8f;
    q = q * u + 0x1.6c82b4p-5f;
    q = q * u + 0x1.39e16ep-2f;
    q = q * u + 1;
    return 0.5f + (x - x) + copysignf(a * p / q, x);
}

#endif

static inline lv_real lv_sigmoid(lv_real x)
{
    return lv_times_sigmoid(1, x);
}

#endif
