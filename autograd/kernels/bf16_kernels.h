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

/* The kernels that need more than vector.h's levels; arguments are lv_bf16_multiply's. */
#ifdef LV_VECTOR_X86
void lv_bf16_multiply_pairs(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                            const uint16_t *B, int64_t M, int64_t N, int64_t K);
void lv_bf16_multiply_amx(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                          const uint16_t *B, int64_t M, int64_t N, int64_t K);
#endif

#endif
