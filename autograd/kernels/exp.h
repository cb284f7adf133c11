/* SPDX-License-Identifier: Apache-2.0
 *
 * e^x, sigmoid and erf without a call or a branch, so that loops over them vectorise; in a header
 * for that reason alone. NaN stays NaN.
 *
 * lv_exp: within 2 units in the last place; 0 below -86.9 (where e^x < 2^-125), infinity above
 * float's range.
 *   x = n ln 2 + r, |r| <= ln 2 / 2;  e^x = 2^n e^r,  e^r = 1 + r + r^2 s(r)
 * lv_erf: within 4 units in the last place, and never beyond 1.
 *   erf(x) = x p(x^2) / q(x^2) for |x| < 3.92, beyond it is 1
 * s, p and q are minimax polynomials for the relative error, fitted by reweighted least squares:
 * off by 2^-28 for e^x and by 2^-25 for erf.
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

static inline lv_real lv_erf(lv_real x)
{
    return erf(x);
}

#else

static inline float lv_exp(float x)
{
    const float ROUND = 0x1.8p23f; /* x + ROUND has the nearest integer in its last bits */
    float rounded = x * 0x1.715476p0f + ROUND;
    float whole = rounded - ROUND;
    float r = x - whole * 0x1.62ep-1f; /* ln 2 in two parts, the first with trailing zeros */
    r = r - whole * 0x1.0bfbe8p-15f;
    float s = 0x1.6a2318p-10f;
    s = s * r + 0x1.123a8ep-7f;
    s = s * r + 0x1.5558f6p-5f;
    s = s * r + 0x1.55549p-3f;
    s = s * r + 0x1.fffffcp-2f;
    s = s * r * r + r;
    uint32_t n;
    memcpy(&n, &rounded, sizeof n);
    uint32_t bits = (n + 126) << 23; /* of 2^(n-1): 2^n may be out of range where e^x is not */
    float power;
    memcpy(&power, &bits, sizeof power);
    float y = (s * power + power) * 2;
    y = x > 88.8f ? INFINITY : y; /* n is out of range; chosen here, not before: gcc would */
    return x < -86.9f ? 0 : y;    /* follow the two constants through all of the above */
}

static inline float lv_erf(float x)
{
    float a = fabsf(x);
    float u = a * a;
    float p = 0x1.13292cp-19f;
    p = p * u + 0x1.2ab8a6p-12f;
    p = p * u + 0x1.ed8fcp-9f;
    p = p * u + 0x1.b01dd2p-5f;
    p = p * u + 0x1.85f33ep-3f;
    p = p * u + 0x1.20dd74p0f;
    float q = 0x1.3f89dp-15f;
    q = q * u + 0x1.30bfe6p-10f;
    q = q * u + 0x1.ea822cp-7f;
    q = q * u + 0x1.d3639cp-4f;
    q = q * u + 0x1.010ffcp-1f;
    q = q * u + 1;
    float y = a * p / q;
    bool is_one = (a > 3.92f) | (y > 1);
    return copysignf(is_one ? 1 : y, x);
}

#endif

/* lv_sigmoid: 1 / (1 + e^-x). */
static inline lv_real lv_sigmoid(lv_real x)
{
    return 1 / (1 + lv_exp(-x));
}

#endif
