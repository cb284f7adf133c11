/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "autograd/kernels/bf16.h"

#include <omp.h>
#include <stdlib.h>

enum { M = 64, N = 32, K = 128, SLICES = 32 }; /* 32 KB of operands and sums */

static const double SLICE_S = 0.00125;

static void multiply(lv_real *C, const uint16_t *A, const uint16_t *B, int64_t times)
{
    for (int64_t i = 0; i < times; i++) {
        lv_bf16_multiply(C, N, i > 0, A, K, B, M, N, K);
    }
}

/* Numbers around 1 of both signs: a core multiplies zeros at a higher clock than it keeps for data.
 */
static void fill(uint16_t *x, int64_t n)
{
    enum { ONE = 0x3f80, SIGN = 0x8000, LOW_BITS = 0xff };
    for (int64_t i = 0; i < n; i++) {
        uint64_t mixed = (uint64_t)(i + 1) * 0x9E3779B97F4A7C15U >> 32;
        x[i] = (uint16_t)((ONE ^ (mixed & LOW_BITS)) | (mixed >> 8 & SIGN));
    }
}

/* Products that take a slice's time, as far as one look at the clock can tell. */
static int64_t products_of_slice(lv_real *C, const uint16_t *A, const uint16_t *B)
{
    for (int64_t times = 1;; times *= 2) {
        double start = omp_get_wtime();
        multiply(C, A, B, times);
        double took = omp_get_wtime() - start;
        if (took >= SLICE_S / 8) {
            int64_t wanted = (int64_t)((double)times * SLICE_S / took);
            return wanted > 0 ? wanted : 1;
        }
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The calling thread's median, while the others measure theirs. */
static double rate_of_thread(lv_real *C, uint16_t *A, uint16_t *B)
{
    double rates[SLICES];
    fill(A, M * K);
    fill(B, N * K);
    int64_t times = products_of_slice(C, A, B);
#pragma omp barrier
    for (int i = 0; i < SLICES; i++) {
        double start = omp_get_wtime();
        multiply(C, A, B, times);
        rates[i] = 2.0 * M * N * K * (double)times / (omp_get_wtime() - start);
    }
    qsort(rates, SLICES, sizeof *rates, compare);
    return (rates[SLICES / 2 - 1] + rates[SLICES / 2]) / 2;
}

double lv_gemm_rate(void)
{
    int n_threads = omp_get_max_threads();
    double *rates = calloc((size_t)n_threads, sizeof *rates);
    LV_CHECK(rates, "no memory for %d rates", n_threads);
#pragma omp parallel num_threads(n_threads)
    {
        lv_real *C = aligned_alloc(64, M * N * sizeof *C);
        uint16_t *A = aligned_alloc(64, M * K * sizeof *A);
        uint16_t *B = aligned_alloc(64, N * K * sizeof *B);
        LV_CHECK(A && B && C, "no memory for the blocks of a product");
        rates[omp_get_thread_num()] = rate_of_thread(C, A, B);
        free(A);
        free(B);
        free(C);
    }
    double sum = 0;
    for (int i = 0; i < n_threads; i++) {
        sum += rates[i];
    }
    free(rates);
    return sum;
}
