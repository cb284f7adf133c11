/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products: the one door to OpenBLAS and to the bf16 kernels.
 */
#ifndef LV_AUTOGRAD_KERNELS_GEMM_H
#define LV_AUTOGRAD_KERNELS_GEMM_H

#include "autograd/tensor.h"

/* lv_matrix: an operand as it lies in memory, row-major; ld: row distance in elements. */
typedef struct {
    const void *data;
    lv_dtype dtype; /* LV_F32 or LV_BF16; bf16 at any alignment */
    int64_t ld;
    bool transposed; /* it is stored as its transpose */
} lv_matrix;

/* lv_gemm: C = A B (+ bias) (+ residual), or C += that, split over the OpenMP threads.
 *   C[m,n] = sum_k A[m,k] B[k,n] + bias[n] + residual[m,n]
 * in     A (M,K), B (K,N). If A is f32 the product is one of floats (a bf16 B is widened block by
 *        block); if A is bf16 it is one of bf16 (an f32 B is rounded), summed in f32.
 *        bias (N), residual (M,N) of C's dtype with C's ld; NULL: none. residual may be C.
 * out    C (M,N) f32 or bf16, rounded once; f32 if A is f32
 * The same bits for the same number of threads. If A is bf16 a row of C is the same on any number
 * of them and among any other rows: K, N and lv_cpu() decide in which order its sums are added. */
typedef struct {
    int64_t M, N, K;
    lv_matrix A, B;
    void *C;
    lv_dtype C_dtype;
    int64_t ldc;
    bool add;
    const lv_real *bias;
    const void *residual;
} lv_gemm_args;
void lv_gemm(const lv_gemm_args *args);

/* lv_gemm_rate: the bf16 rate of this process's threads in FLOP/s, measured now (some 40 ms): the
 * kernel that lv_cpu() chooses, on packed blocks that lie in the L1 caches, all OpenMP threads at
 * once; the median of slices. What a whole step reaches of it is the `mfu` of a run. */
double lv_gemm_rate(void);

/* lv_gemm_serial: C = beta C + alpha op(A) op(B) of floats, on the calling thread alone; for tiles
 * inside a parallel region. */
void lv_gemm_serial(bool trans_a, bool trans_b, int64_t M, int64_t N, int64_t K, lv_real alpha,
                    const lv_real *A, int64_t lda, const lv_real *B, int64_t ldb, lv_real beta,
                    lv_real *C, int64_t ldc);

/* lv_blas_start: make OpenBLAS single-threaded (OpenMP owns all threads) and, where it does not
 * know the CPU and fell back to SSE kernels although there is AVX2 or AVX-512, make it take the
 * nearest kernels it has. Once, before the first product; OPENBLAS_CORETYPE in the environment is
 * respected.
 * returns a line for the log, "OpenBLAS 0.3.21 SkylakeX (was Prescott)", static */
const char *lv_blas_start(void);

/* lv_gemm_start: lv_blas_start, and a line for the log of all that multiplies,
 * "bf16 products: avx512_bf16; f32: OpenBLAS 0.3.21 SkylakeX (was Prescott)", static */
const char *lv_gemm_start(void);

#endif
