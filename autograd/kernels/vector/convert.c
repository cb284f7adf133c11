/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

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
static float f16_widen(uint16_t h)
{
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
    uint32_t bits = bits_of_float(float_of_bits(magnitude) * 0x1p112f);
    bits |= (h & 0x7c00) == 0x7c00 ? 0x7f800000 : 0; /* infinity and NaN */
    return float_of_bits((uint32_t)(h & 0x8000) << 16 | bits);
}

/* a where the condition holds, b elsewhere: a branch around floats would not vectorise. */
static uint32_t choose(bool condition, uint32_t a, uint32_t b)
{
    uint32_t mask = -(uint32_t)condition;
    return (a & mask) | (b & ~mask);
}

static uint16_t f16_narrow(float f)
{
    uint32_t bits = bits_of_float(f);
    uint32_t magnitude = bits & 0x7fffffff;
    uint32_t normal = ((magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13) - (112 << 10);
    /* below 2^-14, in units of 2^-24: adding 2^23 rounds to even */
    uint32_t small = bits_of_float(float_of_bits(magnitude) * 0x1p24f + 0x1p23f) & 0x7fffff;
    uint32_t nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
    uint32_t result = choose(magnitude < 0x38800000, small, normal);
    /* from 65520 on, halfway between the largest f16 and 2^16 */
    result = choose(magnitude >= 0x477ff000, 0x7c00, result);
    result = choose(magnitude > 0x7f800000, nan, result);
    return (uint16_t)((bits >> 16 & 0x8000) | result);
}

/* Elements of a file lie at any address: they pass through a buffer. */
void LV_LEVEL(widen)(lv_real *dst, const void *src, lv_dtype dtype, int64_t n)
{
    float floats[CHUNK];
    uint16_t halves[CHUNK];
    const char *from = src;
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        lv_real *to = dst + at;
        if (dtype == LV_F32) {
            memcpy(floats, from + at * (int64_t)sizeof *floats, (size_t)m * sizeof *floats);
            for (int64_t i = 0; i < m; i++) {
                to[i] = floats[i];
            }
            continue;
        }
        memcpy(halves, from + at * (int64_t)sizeof *halves, (size_t)m * sizeof *halves);
        if (dtype == LV_BF16) {
            for (int64_t i = 0; i < m; i++) {
                to[i] = chunk_widen(halves[i]);
            }
        } else {
            for (int64_t i = 0; i < m; i++) {
                to[i] = f16_widen(halves[i]);
            }
        }
    }
}

void LV_LEVEL(narrow)(void *dst, lv_dtype dtype, const lv_real *src, int64_t n)
{
    float floats[CHUNK];
    uint16_t halves[CHUNK];
    char *to = dst;
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        const lv_real *from = src + at;
        if (dtype == LV_F32) {
            for (int64_t i = 0; i < m; i++) {
                floats[i] = (float)from[i];
            }
            memcpy(to + at * (int64_t)sizeof *floats, floats, (size_t)m * sizeof *floats);
            continue;
        }
        if (dtype == LV_BF16) {
            for (int64_t i = 0; i < m; i++) {
                halves[i] = chunk_narrow((float)from[i]);
            }
        } else {
            for (int64_t i = 0; i < m; i++) {
                halves[i] = f16_narrow((float)from[i]);
            }
        }
        memcpy(to + at * (int64_t)sizeof *halves, halves, (size_t)m * sizeof *halves);
    }
}
