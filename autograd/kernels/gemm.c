/* SPDX-License-Identifier: Apache-2.0
 *
 * C is cut into a grid of blocks, one a thread; each block is one call of a single-threaded BLAS,
 * or, if B is bf16, one a widened piece of B.
 */
#include "autograd/kernels/gemm.h"

#include "autograd/error.h"
#include "autograd/kernels/bf16_kernels.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/gemm_scratch.h"
#include "autograd/kernels/parallel.h"

#include <cblas.h>
#include <limits.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#ifdef LV_REAL_F64
#define GEMM cblas_dgemm
#define GEMV cblas_dgemv
#else
#define GEMM cblas_sgemm
#define GEMV cblas_sgemv
#endif

enum {
    PIECE_K = 512, /* of a widened piece of B: it stays in the L2 cache */
    PIECE_N = 512,
    GRAIN_M = 16, /* block edges are multiples of the kernels' registers */
    GRAIN_N = 32,
};

/* A parallel region costs some microseconds; outside of one, larger products might make an
 * OpenBLAS that was built for OpenMP use threads of its own. */
static const double SERIAL_BELOW_FLOP = 18000;

static void clear(int64_t M, int64_t N, lv_real *C, int64_t ldc)
{
    for (int64_t m = 0; m < M; m++) {
        memset(C + m * ldc, 0, (size_t)N * sizeof *C);
    }
}

static void check_limits(int64_t M, int64_t N, int64_t K, int64_t lda, int64_t ldb, int64_t ldc)
{
    const int64_t dims[] = {M, N, K, lda, ldb, ldc};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        LV_CHECK(dims[i] >= 0 && dims[i] <= INT_MAX,
                 "a matrix product of %lld x %lld x %lld (row distances %lld, %lld, %lld) is "
                 "beyond the int of CBLAS",
                 (long long)M, (long long)N, (long long)K, (long long)lda, (long long)ldb,
                 (long long)ldc);
    }
}

void lv_gemm_serial(bool trans_a, bool trans_b, int64_t M, int64_t N, int64_t K, lv_real alpha,
                    const lv_real *A, int64_t lda, const lv_real *B, int64_t ldb, lv_real beta,
                    lv_real *C, int64_t ldc)
{
    if (beta == 0 && (K == 0 || M == 1)) {
        clear(M, N, C, ldc);
        beta = 1;
    }
    if (M == 0 || N == 0 || K == 0) {
        return;
    }
    if (M == 1) { /* decoding: gemm would pack all of B for one row */
        GEMV(CblasRowMajor, trans_b ? CblasNoTrans : CblasTrans, (int)(trans_b ? N : K),
             (int)(trans_b ? K : N), alpha, B, (int)ldb, A, (int)(trans_a ? lda : 1), beta, C, 1);
        return;
    }
    GEMM(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans,
         (int)M, (int)N, (int)K, alpha, A, (int)lda, B, (int)ldb, beta, C, (int)ldc);
}

static const lv_real *row_part(const lv_real *A, bool trans, int64_t ld, int64_t m, int64_t k)
{
    return trans ? A + k * ld + m : A + m * ld + k;
}

static void gemm_widened(bool trans_a, bool trans_b, int64_t M, int64_t N, int64_t K,
                         const lv_real *A, int64_t lda, const char *B, int64_t ldb, lv_real beta,
                         lv_real *C, int64_t ldc)
{
    lv_real *piece = lv_gemm_scratch((size_t)PIECE_K * PIECE_N * sizeof *piece);
    if (beta == 0) {
        clear(M, N, C, ldc);
    }
    for (int64_t n0 = 0; n0 < N; n0 += PIECE_N) {
        int64_t n = N - n0 < PIECE_N ? N - n0 : PIECE_N;
        for (int64_t k0 = 0; k0 < K; k0 += PIECE_K) {
            int64_t k = K - k0 < PIECE_K ? K - k0 : PIECE_K;
            int64_t rows = trans_b ? n : k;
            int64_t columns = trans_b ? k : n;
            int64_t first = trans_b ? n0 * ldb + k0 : k0 * ldb + n0;
            for (int64_t r = 0; r < rows; r++) {
                lv_convert_to_real(piece + r * columns,
                                   B + (first + r * ldb) * (int64_t)sizeof(uint16_t), LV_BF16,
                                   columns);
            }
            lv_gemm_serial(trans_a, trans_b, M, n, k, 1, row_part(A, trans_a, lda, 0, k0), lda,
                           piece, columns, 1, C + n0, ldc);
        }
    }
}

/* How many parts M is cut into, a divisor of n_threads: the least work for the busiest thread,
 * which is its share of the products and of packing A and B. */
static int64_t parts_of_m(int64_t M, int64_t N, int n_threads)
{
    static const double PACKING = 64; /* of one element, in products */
    int64_t best = 1;
    double best_cost = 0;
    for (int64_t parts = 1; parts <= n_threads; parts++) {
        if (n_threads % parts != 0) {
            continue;
        }
        lv_range m = lv_range_split(M, GRAIN_M, 0, parts);
        lv_range n = lv_range_split(N, GRAIN_N, 0, n_threads / parts);
        double cost = (double)m.end * (double)n.end + PACKING * (double)(m.end + n.end);
        if (parts == 1 || cost < best_cost) {
            best = parts;
            best_cost = cost;
        }
    }
    return best;
}

/* What C holds before the product is added to it. */
static void begin_sum(const lv_gemm_args *x, lv_range m, lv_range n)
{
    for (int64_t row = m.begin; row < m.end; row++) {
        lv_real *c = (lv_real *)x->C + row * x->ldc;
        const lv_real *residual = x->residual ? (const lv_real *)x->residual + row * x->ldc : NULL;
        for (int64_t i = n.begin; i < n.end; i++) {
            c[i] = (x->add ? c[i] : 0) + (x->bias ? x->bias[i] : 0) + (residual ? residual[i] : 0);
        }
    }
}

static void multiply_floats(const lv_gemm_args *x, lv_range m, lv_range n)
{
    const lv_real *a = row_part(x->A.data, x->A.transposed, x->A.ld, m.begin, 0);
    int64_t b = x->B.transposed ? n.begin * x->B.ld : n.begin;
    const void *B = lv_element_const(x->B.data, x->B.dtype, b);
    lv_real *c = (lv_real *)x->C + m.begin * x->ldc + n.begin;
    bool begun = x->add || x->bias || x->residual;
    if (x->bias || x->residual) {
        begin_sum(x, m, n);
    }
    if (x->B.dtype == LV_BF16) {
        gemm_widened(x->A.transposed, x->B.transposed, m.end - m.begin, n.end - n.begin, x->K, a,
                     x->A.ld, B, x->B.ld, begun, c, x->ldc);
    } else {
        lv_gemm_serial(x->A.transposed, x->B.transposed, m.end - m.begin, n.end - n.begin, x->K, 1,
                       a, x->A.ld, B, x->B.ld, begun, c, x->ldc);
    }
}

void lv_gemm(const lv_gemm_args *x)
{
    check_limits(x->M, x->N, x->K, x->A.ld, x->B.ld, x->ldc);
    LV_CHECK(x->A.dtype != LV_F16 && x->B.dtype != LV_F16 && x->C_dtype != LV_F16,
             "a matrix product with f16");
    LV_CHECK(x->A.dtype == LV_BF16 || x->C_dtype == LV_F32, "a product of floats rounded to %s",
             lv_dtype_name(x->C_dtype));
    bool serial = 2.0 * (double)x->M * (double)x->N * (double)x->K < SERIAL_BELOW_FLOP;
#pragma omp parallel if (!serial)
    {
        int n_threads = omp_get_num_threads();
        int64_t m_parts = parts_of_m(x->M, x->N, n_threads);
        int64_t i = omp_get_thread_num();
        lv_range m = lv_range_split(x->M, GRAIN_M, i % m_parts, m_parts);
        lv_range n = lv_range_split(x->N, GRAIN_N, i / m_parts, n_threads / m_parts);
        if (m.begin == m.end || n.begin == n.end) {
            ; /* more threads than blocks */
        } else if (x->A.dtype == LV_BF16) {
            lv_bf16_gemm(x, m, n);
        } else {
            multiply_floats(x, m, n);
        }
    }
}

const char *lv_gemm_start(void)
{
    static char line[256];
    snprintf(line, sizeof line, "bf16 products: %s; f32: %s", lv_bf16_kernel_name(),
             lv_blas_start());
    return line;
}
