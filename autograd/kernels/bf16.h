/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of packed bf16 blocks on the calling thread: what lv_gemm and attention are made of.
 * Operands are packed into two forms that every kernel reads (AMX tiles, AVX-512 pairs, widened
 * lanes), depth (K) padded with zeros to LV_BF16_DEPTH:
 *   A (M,K): rows, K contiguous, row distance lv_bf16_depth(K)
 *   B (K,N): panels of LV_BF16_COLUMNS columns, in each [K/2][columns][2]: pairs of depth together
 * source Intel 64 Architectures Optimization Reference Manual, ch. 20 (the "VNNI" layout)
 */
#ifndef LV_AUTOGRAD_KERNELS_BF16_H
#define LV_AUTOGRAD_KERNELS_BF16_H

#include "autograd/kernels/gemm.h"

enum { LV_BF16_COLUMNS = 16, LV_BF16_DEPTH = 32 };

/* lv_bf16_depth: K rounded up to a multiple of LV_BF16_DEPTH. */
static inline int64_t lv_bf16_depth(int64_t K)
{
    return (K + LV_BF16_DEPTH - 1) / LV_BF16_DEPTH * LV_BF16_DEPTH;
}

/* lv_bf16_b_count: elements of a packed B. A packed A has M * lv_bf16_depth(K). */
static inline int64_t lv_bf16_b_count(int64_t K, int64_t N)
{
    return (N + LV_BF16_COLUMNS - 1) / LV_BF16_COLUMNS * LV_BF16_COLUMNS * lv_bf16_depth(K);
}

/* lv_bf16_pack_a: rows [m, m+M), depth [k, k+K) of A; f32 values are rounded to nearest even.
 * out    dst, 64-byte aligned */
void lv_bf16_pack_a(uint16_t *dst, const lv_matrix *A, int64_t m, int64_t M, int64_t k, int64_t K);

/* lv_bf16_pack_b: depth [k, k+K), columns [n, n+N) of B.
 * out    dst, 64-byte aligned */
void lv_bf16_pack_b(uint16_t *dst, const lv_matrix *B, int64_t k, int64_t K, int64_t n, int64_t N);

/* lv_bf16_multiply: C = A B, or C += A B, summed in f32.
 * in     A packed, its rows lda apart; or as it lies in memory, at any alignment and lda, if K is a
 *        multiple of LV_BF16_DEPTH. B packed, all of its N columns
 * out    C (M,N) f32, rows ldc apart, any alignment
 * NaN and infinity pass through. AMX and AVX-512-BF16 take denormal operands and sums as zeros. */
void lv_bf16_multiply(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                      const uint16_t *B, int64_t M, int64_t N, int64_t K);

/* lv_bf16_kernel_name: of the kernel that lv_cpu() chooses, as LLAVA_CPU names its level. */
const char *lv_bf16_kernel_name(void);

#endif
