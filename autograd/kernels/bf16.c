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

void lv_bf16_multiply_ahead(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                            const uint16_t *B, int64_t M, int64_t N, int64_t K,
                            lv_bf16_ahead *ahead)
{
#ifdef LV_VECTOR_X86
    switch (lv_cpu()) {
    case LV_CPU_PORTABLE:
    case LV_CPU_AVX2:
    case LV_CPU_AVX512:
        break;
    case LV_CPU_AVX512_BF16:
        lv_bf16_multiply_pairs(C, ldc, add, A, lda, B, M, N, K, ahead);
        return;
    case LV_CPU_AMX:
        lv_bf16_multiply_amx(C, ldc, add, A, lda, B, M, N, K, ahead);
        return;
    }
#endif
    (void)ahead; /* slow enough for the hardware to foresee */
    lv_vector()->bf16_multiply(C, ldc, add, A, lda, B, M, N, K);
}

void lv_bf16_multiply(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                      const uint16_t *B, int64_t M, int64_t N, int64_t K)
{
    lv_bf16_multiply_ahead(C, ldc, add, A, lda, B, M, N, K, &(lv_bf16_ahead){0});
}

const char *lv_bf16_kernel_name(void)
{
    return lv_cpu_name(lv_cpu());
}
