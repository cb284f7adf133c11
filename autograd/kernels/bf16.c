/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/bf16.h"

#include "autograd/cpu.h"
#include "autograd/kernels/bf16_kernels.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/vector.h"

lv_matrix lv_matrix_part(const lv_matrix *x, int64_t row, int64_t column)
{
    lv_matrix y = *x;
    y.data = lv_element_const(x->data, x->dtype,
                              x->transposed ? column * x->ld + row : row * x->ld + column);
    return y;
}

void lv_bf16_pack_a(uint16_t *dst, const lv_matrix *A, int64_t m, int64_t M, int64_t k, int64_t K)
{
    lv_matrix from = lv_matrix_part(A, m, k);
    lv_vector()->bf16_pack_rows(dst, lv_bf16_depth(K), &from, M, K);
}

void lv_bf16_pack_b(uint16_t *dst, const lv_matrix *B, int64_t k, int64_t K, int64_t n, int64_t N)
{
    lv_matrix from = lv_matrix_part(B, k, n);
    lv_vector()->bf16_pack_panels(dst, &from, K, N);
}

void lv_bf16_multiply_beside(lv_real *C, int64_t ldc, int64_t strip, bool add, const uint16_t *A,
                             int64_t lda, const uint16_t *B, int64_t M, int64_t N, int64_t K,
                             lv_bf16_beside *beside)
{
    switch (lv_cpu()) {
#ifdef LV_VECTOR_X86
    case LV_CPU_AVX512_BF16:
        lv_bf16_multiply_pairs(C, ldc, strip, add, A, lda, B, M, N, K, beside);
        break;
    case LV_CPU_AMX:
        lv_bf16_multiply_amx(C, ldc, strip, add, A, lda, B, M, N, K, beside);
        break;
#endif
    default:
        (void)strip; /* of tiles alone */
        lv_vector()->bf16_multiply(C, ldc, add, A, lda, B, M, N, K);
    }
    while (beside->done < beside->units) {
        beside->run(beside->of, beside->done++);
    }
}

bool lv_bf16_has_tiles(void)
{
#ifdef LV_VECTOR_X86
    return lv_cpu() == LV_CPU_AMX;
#else
    return false;
#endif
}

lv_gemm_finish *lv_bf16_finish(void)
{
#ifdef LV_VECTOR_X86
    if (lv_cpu() >= LV_CPU_AVX512_BF16) {
        return lv_bf16_finish_pairs;
    }
#endif
    return lv_vector()->gemm_finish;
}

void lv_bf16_multiply(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                      const uint16_t *B, int64_t M, int64_t N, int64_t K)
{
    lv_bf16_multiply_beside(C, ldc, 32, add, A, lda, B, M, N, K, &(lv_bf16_beside){0});
}

const char *lv_bf16_kernel_name(void)
{
    return lv_cpu_name(lv_cpu());
}
