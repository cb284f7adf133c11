/* SPDX-License-Identifier: Apache-2.0
 *
 * What lies behind lv_bf16_multiply and lv_gemm.
 */
#ifndef LV_AUTOGRAD_KERNELS_BF16_KERNELS_H
#define LV_AUTOGRAD_KERNELS_BF16_KERNELS_H

#include "autograd/kernels/bf16.h"
#include "autograd/kernels/parallel.h"

/* lv_bf16_gemm: rows m and columns n of a product whose A is bf16, on the calling thread. */
void lv_bf16_gemm(const lv_gemm_args *x, lv_range m, lv_range n);

/* lv_bf16_ahead: memory that is wanted next, rows of a matrix. Kernels take it into the L2 cache, a
 * line a step of depth, while they multiply: so the way from memory costs no time of its own. */
typedef struct {
    const char *at; /* the next line */
    int64_t lines;  /* left in this row */
    int64_t rows;   /* left after this one */
    int64_t row_lines, row_bytes;
} lv_bf16_ahead;

static inline __attribute__((always_inline)) void lv_bf16_fetch(lv_bf16_ahead *x)
{
    enum { LINE_BYTES = 64, TO_L2 = 2 };
    if (x->lines > 0) {
        __builtin_prefetch(x->at, 0, TO_L2);
        x->at += LINE_BYTES;
        x->lines--;
        if (x->lines == 0 && x->rows > 0) {
            x->at += x->row_bytes - LINE_BYTES * x->row_lines;
            x->lines = x->row_lines;
            x->rows--;
        }
    }
}

/* lv_bf16_multiply_ahead: lv_bf16_multiply, which fetches ahead. */
typedef void lv_bf16_kernel(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                            const uint16_t *B, int64_t M, int64_t N, int64_t K,
                            lv_bf16_ahead *ahead);
lv_bf16_kernel lv_bf16_multiply_ahead;

/* The kernels that need more than vector.h's levels. */
#ifdef LV_VECTOR_X86
lv_bf16_kernel lv_bf16_multiply_pairs, lv_bf16_multiply_amx;
#endif

#endif
