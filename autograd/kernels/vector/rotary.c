/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

/* u, v: the two halves of a head. */
static void rotate_floats(lv_real *restrict u, lv_real *restrict v, const lv_real *restrict cosine,
                          const lv_real *restrict sine, lv_real sign, int64_t half)
{
    for (int64_t d = 0; d < half; d++) {
        lv_real c = cosine[d], s = sign * sine[d];
        lv_real turned = u[d] * c - v[d] * s;
        v[d] = v[d] * c + u[d] * s;
        u[d] = turned;
    }
}

static void rotate_halves(uint16_t *restrict u, uint16_t *restrict v,
                          const lv_real *restrict cosine, const lv_real *restrict sine,
                          lv_real sign, int64_t half)
{
    for (int64_t d = 0; d < half; d++) {
        lv_real c = cosine[d], s = sign * sine[d];
        lv_real a = chunk_widen(u[d]), b = chunk_widen(v[d]);
        u[d] = chunk_narrow((float)(a * c - b * s));
        v[d] = chunk_narrow((float)(b * c + a * s));
    }
}

void LV_LEVEL(rotate)(void *x, lv_dtype dtype, const lv_real *cosine, const lv_real *sine,
                      lv_real sign, int64_t n_heads, int64_t half)
{
    for (int64_t a = 0; a < n_heads; a++) {
        if (dtype == LV_F32) {
            lv_real *u = (lv_real *)x + a * 2 * half;
            rotate_floats(u, u + half, cosine, sine, sign, half);
        } else {
            uint16_t *u = (uint16_t *)x + a * 2 * half;
            rotate_halves(u, u + half, cosine, sine, sign, half);
        }
    }
}
