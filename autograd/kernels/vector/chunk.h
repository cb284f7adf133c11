/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and writing stored elements in chunks that stay in the L1 cache: a kernel's arithmetic
 * is written once, over lv_real, for all dtypes. In a header so that it is compiled for each level.
 */
#ifndef LV_AUTOGRAD_KERNELS_VECTOR_CHUNK_H
#define LV_AUTOGRAD_KERNELS_VECTOR_CHUNK_H

#include "autograd/tape.h"

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

/* The same for what was computed from bf16 and finite constants: its NaN came from one of those or
 * are the processor's, have zeros in the low half, and are not changed by rounding. */
static inline uint16_t chunk_narrow_computed(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
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

static inline void element_write_computed(void *y, lv_dtype dtype, int64_t i, lv_real value)
{
    if (dtype == LV_F32) {
        ((lv_real *)y)[i] = value;
    } else {
        ((uint16_t *)y)[i] = chunk_narrow_computed((float)value);
    }
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
