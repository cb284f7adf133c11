/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the stored number formats.
 */
#ifndef LV_AUTOGRAD_KERNELS_CONVERT_H
#define LV_AUTOGRAD_KERNELS_CONVERT_H

#include "autograd/tensor.h"

/* lv_convert_to_real: dst[i] = src[i] widened; exact, NaN stays NaN.
 * in     src: n elements of dtype, at any alignment; for LV_F32 these are 4-byte floats, the form
 *        files have */
void lv_convert_to_real(lv_real *dst, const void *src, lv_dtype dtype, int64_t n);

/* lv_convert_from_real: dst[i] = src[i] rounded to nearest even; NaN stays NaN; beyond the range
 * of f16 becomes infinity. LV_F32 as above. dst at any alignment. */
void lv_convert_from_real(void *dst, lv_dtype dtype, const lv_real *src, int64_t n);

static inline float lv_bf16_to_float(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } v = {(uint32_t)h << 16};
    return v.f;
}

#endif
