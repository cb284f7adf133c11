/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/bf16.h"

#include "autograd/cpu.h"
#include "autograd/kernels/bf16_kernels.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/vector.h"

/* x from (row, column) of what it stands for on. */
static lv_matrix part(const lv_matrix *x, int64_t row, int64_t column)
{
    lv_matrix y = *x;
    y.data = lv_element_const(x->data, x->dtype,
                              x->transposed ? column * x->ld + row : row * x->ld + column);
    return y;
}

void lv_bf16_pack_a(uint16_t *dst, const lv_matrix *A, int64_t m, int64_t M, int64_t k, int64_t K)
{
    lv_matrix from = part(A, m, k);
    lv_vector()->bf16_pack_rows(dst, &from, M, K);
}

void lv_bf16_pack_b(uint16_t *dst, const lv_matrix *B, int64_t k, int64_t K, int64_t n, int64_t N)
{
    lv_matrix from = part(B, k, n);
    lv_vector()->bf16_pack_panels(dst, &from, K, N);
}

static void multiply_portable(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                              const uint16_t *B, int64_t M, int64_t N, int64_t K)
{
    int64_t depth = lv_bf16_depth(K);
    for (int64_t m = 0; m < M; m++) {
        for (int64_t p = 0; p < N; p += LV_BF16_COLUMNS) {
            int64_t columns = N - p < LV_BF16_COLUMNS ? N - p : LV_BF16_COLUMNS;
            lv_real sum[LV_BF16_COLUMNS] = {0};
            for (int64_t k = 0; k < depth; k++) {
                lv_real a = lv_bf16_to_float(A[m * lda + k]);
                const uint16_t *b = B + p * depth + k / 2 * 2 * LV_BF16_COLUMNS + k % 2;
                for (int64_t c = 0; c < LV_BF16_COLUMNS; c++) {
                    sum[c] += a * lv_bf16_to_float(b[2 * c]);
                }
            }
            lv_real *c = C + m * ldc + p;
            for (int64_t i = 0; i < columns; i++) {
                c[i] = add ? c[i] + sum[i] : sum[i];
            }
        }
    }
}

void lv_bf16_multiply(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                      const uint16_t *B, int64_t M, int64_t N, int64_t K)
{
#ifdef LV_VECTOR_X86
    if (lv_cpu() >= LV_CPU_AVX512_BF16) {
        lv_bf16_multiply_avx512(C, ldc, add, A, lda, B, M, N, K);
        return;
    }
#endif
    multiply_portable(C, ldc, add, A, lda, B, M, N, K);
}

const char *lv_bf16_kernel_name(void)
{
#ifdef LV_VECTOR_X86
    if (lv_cpu() >= LV_CPU_AVX512_BF16) {
        return "avx512_bf16";
    }
#endif
    return "portable";
}
