/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products: the one door to OpenBLAS.
 */
#ifndef LV_AUTOGRAD_KERNELS_GEMM_H
#define LV_AUTOGRAD_KERNELS_GEMM_H

#include "autograd/tensor.h"

/* lv_gemm: C = beta C + op(A) op(B), split over the OpenMP threads.
 * in     op(A) (M,K), op(B) (K,N), row-major; trans_a: A is stored (K,M); trans_b: B is (N,K).
 *        A lv_real; B lv_real, or LV_BF16, of which blocks are widened on the fly; ld*: row
 *        distance in elements; any alignment of B if it is bf16
 * out    C (M,N); beta is 0 or 1, with 0 C is not read
 * The same bits for the same number of threads. */
void lv_gemm(bool trans_a, bool trans_b, int64_t M, int64_t N, int64_t K, const lv_real *A,
             int64_t lda, const void *B, lv_dtype B_dtype, int64_t ldb, lv_real beta, lv_real *C,
             int64_t ldc);

/* lv_gemm_serial: C = beta C + alpha op(A) op(B), on the calling thread alone; for tiles inside a
 * parallel region. */
void lv_gemm_serial(bool trans_a, bool trans_b, int64_t M, int64_t N, int64_t K, lv_real alpha,
                    const lv_real *A, int64_t lda, const lv_real *B, int64_t ldb, lv_real beta,
                    lv_real *C, int64_t ldc);

/* lv_blas_start: make OpenBLAS single-threaded (OpenMP owns all threads) and, where it does not
 * know the CPU and fell back to SSE kernels although there is AVX2 or AVX-512, make it take the
 * nearest kernels it has. Once, before the first product; OPENBLAS_CORETYPE in the environment is
 * respected.
 * returns a line for the log, "OpenBLAS 0.3.21 SkylakeX (was Prescott)", static */
const char *lv_blas_start(void);

#endif
