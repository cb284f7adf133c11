/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and writing stored elements in chunks that stay in the L1 cache: a kernel's arithmetic
 * is written once, over lv_real, for all dtypes. In a header so that it is compiled for each level.
 */
#ifndef LV_AUTOGRAD_KERNELS_VECTOR_CHUNK_H
#define LV_AUTOGRAD_KERNELS_VECTOR_CHUNK_H

#include "autograd/tensor.h"

#include <string.h>

enum { CHUNK = 512 };

/* Elements of the chunk that begins at at, of n in all. */
static inline int64_t chunk_count(int64_t n, int64_t at)
{
    return n - at < CHUNK ? n - at : CHUNK;
}

static inline float chunk_widen(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* To nearest even; NaN stays NaN. */
static inline uint16_t chunk_narrow(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
    return (uint16_t)(f != f ? 0x7fc0 : rounded >> 16);
}

/* One element, for loops in which dtype is a constant: these vectorise. */
static inline lv_real element_read(const void *x, lv_dtype dtype, int64_t i)
{
    return dtype == LV_F32 ? ((const lv_real *)x)[i] : chunk_widen(((const uint16_t *)x)[i]);
}

static inline void element_write(void *y, lv_dtype dtype, int64_t i, lv_real value)
{
    if (dtype == LV_F32) {
        ((lv_real *)y)[i] = value;
    } else {
        ((uint16_t *)y)[i] = chunk_narrow((float)value);
    }
}

enum { AHEAD = 256, LINE_BYTES = 64 };

/* Ask for elements [at, at + AHEAD) of the n of x, as far as there are any, before their turn. */
static inline void element_prefetch(const void *x, lv_dtype dtype, int64_t at, int64_t n)
{
    int64_t size = dtype == LV_F32 ? (int64_t)sizeof(lv_real) : (int64_t)sizeof(uint16_t);
    int64_t end = n - at < AHEAD ? n : at + AHEAD;
    for (int64_t byte = at * size; byte < end * size; byte += LINE_BYTES) {
        __builtin_prefetch((const char *)x + byte);
    }
}

/* Two bf16 side by side, for loops without order: shifts and masks, where single elements would
 * have to move between lanes. */
typedef struct {
    lv_real low, high;
} element_pair;

static inline float pair_half(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline element_pair pair_read(const void *x, int64_t i)
{
    uint32_t bits;
    memcpy(&bits, (const uint16_t *)x + i, sizeof bits);
    return (element_pair){pair_half(bits << 16), pair_half(bits & 0xffff0000)};
}

static inline uint32_t pair_round(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits + 0x7fff + (bits >> 16 & 1);
}

/* To nearest even. For what was computed from bf16 and finite numbers: its NaN come from bf16 or
 * are the processor's, all with zeros in the low half, and rounding leaves them as they are. */
static inline void pair_write(void *y, int64_t i, element_pair values)
{
    uint32_t bits = pair_round((float)values.low) >> 16;
    bits |= pair_round((float)values.high) & 0xffff0000;
    memcpy((uint16_t *)y + i, &bits, sizeof bits);
}

/* Elements [at, at + n) of x, n <= CHUNK: where they are, or widened into buf. bf16 may lie at any
 * address, as mapped weights do. */
static inline const lv_real *chunk_read(lv_real buf[CHUNK], const void *x, lv_dtype dtype,
                                        int64_t at, int64_t n)
{
    if (dtype == LV_F32) {
        return (const lv_real *)x + at;
    }
    const char *from = (const char *)x + at * (int64_t)sizeof(uint16_t);
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, from + i * (int64_t)sizeof h, sizeof h);
        buf[i] = chunk_widen(h);
    }
    return buf;
}

/* Where to compute elements [at, at + n) of y: in place, or in buf until chunk_write. */
static inline lv_real *chunk_target(lv_real buf[CHUNK], void *y, lv_dtype dtype, int64_t at)
{
    return dtype == LV_F32 ? (lv_real *)y + at : buf;
}

static inline void chunk_write(void *y, lv_dtype dtype, int64_t at, const lv_real *from, int64_t n)
{
    if (dtype == LV_F32) {
        return; /* chunk_target was the place itself */
    }
    uint16_t *to = (uint16_t *)y + at;
    for (int64_t i = 0; i < n; i++) {
        to[i] = chunk_narrow((float)from[i]);
    }
}

/* y (+)= values, n <= CHUNK */
static inline void chunk_add(lv_grad y, int64_t at, const lv_real *values, int64_t n)
{
    lv_real buf[CHUNK];
    lv_real *target = chunk_target(buf, y.data, y.dtype, at);
    if (y.add) {
        const lv_real *before = chunk_read(buf, y.data, y.dtype, at, n);
        for (int64_t i = 0; i < n; i++) {
            target[i] = before[i] + values[i];
        }
        values = target;
    } else if (y.dtype == LV_F32) {
        memcpy(target, values, (size_t)n * sizeof *target);
    }
    chunk_write(y.data, y.dtype, at, values, n);
}

#endif
