/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

enum { PAIRS = 64 };

/* Cosines and sines of 2 PAIRS elements, those of low and of high halves of pairs apart. */
typedef struct {
    lv_real cos_low[PAIRS], cos_high[PAIRS], sin_low[PAIRS], sin_high[PAIRS];
} turn;

static void turn_fill(turn *by, const lv_real *cosine, const lv_real *sine, lv_real sign, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        by->cos_low[i] = cosine[2 * i];
        by->cos_high[i] = cosine[2 * i + 1];
        by->sin_low[i] = sign * sine[2 * i];
        by->sin_high[i] = sign * sine[2 * i + 1];
    }
}

/* u, v: elements of the two halves of a head, n pairs of each */
static void rotate_pairs(uint16_t *restrict u, uint16_t *restrict v, const turn *restrict by,
                         int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        element_pair a = pair_read(u, 2 * i), b = pair_read(v, 2 * i);
        pair_write(u, 2 * i,
                   (element_pair){a.low * by->cos_low[i] - b.low * by->sin_low[i],
                                  a.high * by->cos_high[i] - b.high * by->sin_high[i]});
        pair_write(v, 2 * i,
                   (element_pair){b.low * by->cos_low[i] + a.low * by->sin_low[i],
                                  b.high * by->cos_high[i] + a.high * by->sin_high[i]});
    }
}

static inline void rotate_one(uint16_t *u, uint16_t *v, lv_real c, lv_real s)
{
    lv_real a = chunk_widen(*u), b = chunk_widen(*v);
    *u = chunk_narrow((float)(a * c - b * s));
    *v = chunk_narrow((float)(b * c + a * s));
}

static void rotate_halves(uint16_t *x, const lv_real *cosine, const lv_real *sine, lv_real sign,
                          int64_t n_heads, int64_t half)
{
    turn by;
    for (int64_t d = 0; d < half; d += (int64_t)2 * PAIRS) {
        int64_t n = (half - d < 2 * PAIRS ? half - d : 2 * PAIRS) / 2;
        turn_fill(&by, cosine + d, sine + d, sign, n);
        for (int64_t a = 0; a < n_heads; a++) {
            uint16_t *u = x + a * 2 * half + d;
            rotate_pairs(u, u + half, &by, n);
        }
    }
    for (int64_t a = 0; half % 2 && a < n_heads; a++) {
        uint16_t *u = x + a * 2 * half + half - 1;
        rotate_one(u, u + half, cosine[half - 1], sign * sine[half - 1]);
    }
}

static void rotate_floats(lv_real *restrict u, lv_real *restrict v, const lv_real *restrict cosine,
                          const lv_real *restrict sine, lv_real sign, int64_t half)
{
    for (int64_t d = 0; d < half; d++) {
        lv_real c = cosine[d], s = sign * sine[d];
        lv_real a = u[d], b = v[d];
        u[d] = a * c - b * s;
        v[d] = b * c + a * s;
    }
}

void LV_LEVEL(rotate)(void *x, lv_dtype dtype, const lv_real *cosine, const lv_real *sine,
                      lv_real sign, int64_t n_heads, int64_t half)
{
    if (dtype == LV_BF16) {
        rotate_halves(x, cosine, sine, sign, n_heads, half);
        return;
    }
    for (int64_t a = 0; a < n_heads; a++) {
        lv_real *u = (lv_real *)x + a * 2 * half;
        rotate_floats(u, u + half, cosine, sine, sign, half);
    }
}
