/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/convert.h"

#include "autograd/error.h"
#include "autograd/kernels/parallel.h"

#include <omp.h>
#include <string.h>

static const int64_t PARALLEL_FROM = 1 << 18; /* elements worth more than one thread */

static float float_of_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t bits_of_float(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* The exponent's bias goes from 15 to 127 by a product with 2^112, exact for subnormals too. */
static float f16_to_float(uint16_t h)
{
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
    uint32_t finite = bits_of_float(float_of_bits(magnitude) * 0x1p112f);
    uint32_t bits = (h & 0x7c00) == 0x7c00 ? magnitude | 0x7f800000 : finite;
    return float_of_bits((uint32_t)(h & 0x8000) << 16 | bits);
}

static uint16_t f16_from_float(float f)
{
    uint32_t bits = bits_of_float(f);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    }
    if (magnitude >= 0x477ff000) { /* 65520: halfway between the largest f16 and 2^16 */
        return (uint16_t)(sign | 0x7c00);
    }
    if (magnitude < 0x38800000) { /* below 2^-14, in units of 2^-24: adding 2^23 rounds to even */
        return (uint16_t)(sign |
                          (bits_of_float(float_of_bits(magnitude) * 0x1p24f + 0x1p23f) & 0x7fffff));
    }
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | ((rounded >> 13) - (112 << 10)));
}

static uint16_t bf16_from_float(float f)
{
    uint32_t bits = bits_of_float(f);
    uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
    bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
    return (uint16_t)((is_nan ? bits | 0x400000 : rounded) >> 16);
}

static void widen(lv_real *dst, const char *src, lv_dtype dtype, int64_t n)
{
    switch (dtype) {
    case LV_F32:
        for (int64_t i = 0; i < n; i++) {
            float f;
            memcpy(&f, src + i * sizeof f, sizeof f);
            dst[i] = f;
        }
        return;
    case LV_BF16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, src + i * sizeof h, sizeof h);
            dst[i] = float_of_bits((uint32_t)h << 16);
        }
        return;
    case LV_F16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, src + i * sizeof h, sizeof h);
            dst[i] = f16_to_float(h);
        }
        return;
    }
    LV_CHECK(false, "conversion from dtype %d", (int)dtype);
}

static void narrow(char *dst, lv_dtype dtype, const lv_real *src, int64_t n)
{
    switch (dtype) {
    case LV_F32:
        for (int64_t i = 0; i < n; i++) {
            float f = (float)src[i];
            memcpy(dst + i * sizeof f, &f, sizeof f);
        }
        return;
    case LV_BF16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h = bf16_from_float((float)src[i]);
            memcpy(dst + i * sizeof h, &h, sizeof h);
        }
        return;
    case LV_F16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h = f16_from_float((float)src[i]);
            memcpy(dst + i * sizeof h, &h, sizeof h);
        }
        return;
    }
    LV_CHECK(false, "conversion to dtype %d", (int)dtype);
}

static int64_t file_bytes(lv_dtype dtype)
{
    return dtype == LV_F32 ? 4 : 2;
}

void lv_convert_to_real(lv_real *dst, const void *src, lv_dtype dtype, int64_t n)
{
    if (n < PARALLEL_FROM || omp_in_parallel()) {
        widen(dst, src, dtype, n);
        return;
    }
#pragma omp parallel
    {
        lv_range r = lv_range_split(n, 64, omp_get_thread_num(), omp_get_num_threads());
        widen(dst + r.begin, (const char *)src + r.begin * file_bytes(dtype), dtype,
              r.end - r.begin);
    }
}

void lv_convert_from_real(void *dst, lv_dtype dtype, const lv_real *src, int64_t n)
{
    if (n < PARALLEL_FROM || omp_in_parallel()) {
        narrow(dst, dtype, src, n);
        return;
    }
#pragma omp parallel
    {
        lv_range r = lv_range_split(n, 64, omp_get_thread_num(), omp_get_num_threads());
        narrow((char *)dst + r.begin * file_bytes(dtype), dtype, src + r.begin, r.end - r.begin);
    }
}
