/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

/* u, v: the two halves of a head; dtype is a constant where this is compiled into its caller. */
static inline __attribute__((always_inline)) void
rotate_head(void *restrict u, void *restrict v, lv_dtype dtype, const lv_real *restrict cosine,
            const lv_real *restrict sine, lv_real sign, int64_t half)
{
    for (int64_t d = 0; d < half; d++) {
        lv_real c = cosine[d], s = sign * sine[d];
        lv_real a = element_read(u, dtype, d), b = element_read(v, dtype, d);
        element_write(u, dtype, d, a * c - b * s);
        element_write(v, dtype, d, b * c + a * s);
    }
}

void LV_LEVEL(rotate)(void *x, lv_dtype dtype, const lv_real *cosine, const lv_real *sine,
                      lv_real sign, int64_t n_heads, int64_t half)
{
    for (int64_t a = 0; a < n_heads; a++) {
        if (dtype == LV_F32) {
            lv_real *u = (lv_real *)x + a * 2 * half;
            rotate_head(u, u + half, LV_F32, cosine, sine, sign, half);
        } else {
            uint16_t *u = (uint16_t *)x + a * 2 * half;
            rotate_head(u, u + half, LV_BF16, cosine, sine, sign, half);
        }
    }
}
