/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks of LANES numbers: one or two registers, and the width of a panel of a packed operand. In a
 * header so that it is compiled for each level.
 */
#ifndef LV_AUTOGRAD_KERNELS_VECTOR_BLOCK_H
#define LV_AUTOGRAD_KERNELS_VECTOR_BLOCK_H

#include "autograd/kernels/bf16.h"
#include "autograd/kernels/vector/chunk.h"

enum { LANES = LV_BF16_COLUMNS };

static inline lv_real lanes_sum(const lv_real x[LANES])
{
    lv_real of_8[8], of_4[4];
    for (int l = 0; l < 8; l++) {
        of_8[l] = x[l] + x[l + 8];
    }
    for (int l = 0; l < 4; l++) {
        of_4[l] = of_8[l] + of_8[l + 4];
    }
    return (of_4[0] + of_4[2]) + (of_4[1] + of_4[3]);
}

static inline void narrow_block(uint16_t *to, const lv_real from[LANES])
{
    uint32_t narrow[LANES];
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        narrow[l] = chunk_narrow((float)from[l]);
    }
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        to[l] = (uint16_t)narrow[l];
    }
}

/* y (+)= values, n <= LANES */
static inline void add_block(lv_grad y, int64_t at, const lv_real values[LANES], int64_t n)
{
    if (n < LANES || y.dtype == LV_F32) {
        chunk_add(y, at, values, n);
        return;
    }
    uint16_t *to = (uint16_t *)y.data + at;
    lv_real sum[LANES];
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        sum[l] = values[l] + (y.add ? (lv_real)chunk_widen(to[l]) : 0);
    }
    narrow_block(to, sum);
}

#endif
