/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

#include <tgmath.h>

/* One chunk of at most CHUNK elements. */
static inline void update_chunk(lv_real *restrict w, lv_real *restrict m, lv_real *restrict v,
                                const lv_real *restrict grad, int64_t n, const lv_adamw_factors *f)
{
    for (int64_t i = 0; i < n; i++) {
        lv_real g = f->scale * grad[i];
        m[i] += f->new1 * (g - m[i]); /* torch's lerp */
        v[i] = f->beta2 * v[i] + f->new2 * g * g;
        w[i] = f->keep * w[i] - f->step_size * m[i] / (sqrt(v[i]) / f->root2 + f->eps);
    }
}

static inline void narrow_chunk(uint16_t *restrict working, const lv_real *restrict w, int64_t n)
{
    for (int64_t i = 0; working && i < n; i++) {
        working[i] = chunk_narrow((float)w[i]);
    }
}

void LV_LEVEL(adamw)(lv_real *w, lv_real *m, lv_real *v, uint16_t *working, const lv_real *grad,
                     int64_t n, const lv_adamw_factors *factors)
{
    const lv_adamw_factors f = *factors;
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t count = chunk_count(n, at);
        update_chunk(w + at, m + at, v + at, grad + at, count, &f);
        narrow_chunk(working ? working + at : NULL, w + at, count);
    }
}

/* 32 random bits of element i: the finaliser of MurmurHash3 (Appleby 2011), twice. */
static inline uint32_t random_bits(uint32_t seed, int64_t i)
{
    uint32_t x = (uint32_t)i ^ seed;
    x = (x ^ x >> 16) * 0x85ebca6bU;
    x = (x ^ x >> 13) * 0xc2b2ae35U;
    x = (x ^ x >> 16) + (uint32_t)((uint64_t)i >> 32);
    x = (x ^ x >> 16) * 0x85ebca6bU;
    x = (x ^ x >> 13) * 0xc2b2ae35U;
    return x ^ x >> 16;
}

/* Up with the probability of the part that is lost, of which 16 random bits decide; NaN stays NaN. */
static inline uint16_t narrow_randomly(float f, uint32_t random16)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)(f != f ? 0x7fc0 : (bits + random16) >> 16);
}

void LV_LEVEL(adamw_bf16)(lv_real *w, uint16_t *m, uint16_t *v, uint16_t *working,
                          const lv_real *grad, int64_t n, const lv_adamw_factors *factors,
                          uint32_t seed, int64_t first)
{
    const lv_adamw_factors f = *factors;
    lv_real m_wide[CHUNK], v_wide[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t count = chunk_count(n, at);
        for (int64_t i = 0; i < count; i++) {
            m_wide[i] = chunk_widen(m[at + i]);
            v_wide[i] = chunk_widen(v[at + i]);
        }
        update_chunk(w + at, m_wide, v_wide, grad + at, count, &f);
        for (int64_t i = 0; i < count; i++) {
            uint32_t random = random_bits(seed, first + at + i);
            m[at + i] = narrow_randomly((float)m_wide[i], random >> 16);
            v[at + i] = narrow_randomly((float)v_wide[i], random & 0xffff);
        }
        narrow_chunk(working ? working + at : NULL, w + at, count);
    }
}

double LV_LEVEL(sum_squares)(const lv_real *x, int64_t n)
{
    enum { LANES = 16 };
    double lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            lanes[l] += (double)x[i + l] * (double)x[i + l];
        }
    }
    for (int l = 0; i < n; i++, l++) {
        lanes[l] += (double)x[i] * (double)x[i];
    }
    double sum = 0;
    for (int l = 0; l < LANES; l++) {
        sum += lanes[l];
    }
    return sum;
}
