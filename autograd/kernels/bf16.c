/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/bf16.h"

#include "autograd/kernels/convert.h"

#include <string.h>

static uint16_t element(const lv_matrix *x, int64_t row, int64_t column)
{
    int64_t at = x->transposed ? column * x->ld + row : row * x->ld + column;
    uint16_t h;
    if (x->dtype == LV_BF16) {
        memcpy(&h, (const char *)x->data + 2 * at, sizeof h);
    } else {
        lv_convert_from_real(&h, LV_BF16, (const lv_real *)x->data + at, 1);
    }
    return h;
}

void lv_bf16_pack_a(uint16_t *dst, const lv_matrix *A, int64_t m, int64_t M, int64_t k, int64_t K)
{
    int64_t depth = lv_bf16_depth(K);
    for (int64_t i = 0; i < M; i++) {
        for (int64_t j = 0; j < depth; j++) {
            dst[i * depth + j] = j < K ? element(A, m + i, k + j) : 0;
        }
    }
}

void lv_bf16_pack_b(uint16_t *dst, const lv_matrix *B, int64_t k, int64_t K, int64_t n, int64_t N)
{
    int64_t depth = lv_bf16_depth(K);
    for (int64_t p = 0; p < N; p += LV_BF16_COLUMNS) {
        for (int64_t j = 0; j < depth; j++) {
            for (int64_t c = 0; c < LV_BF16_COLUMNS; c++) {
                dst[p * depth + (j / 2 * LV_BF16_COLUMNS + c) * 2 + j % 2] =
                    j < K && p + c < N ? element(B, k + j, n + p + c) : 0;
            }
        }
    }
}

void lv_bf16_multiply(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
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

const char *lv_bf16_kernel_name(void)
{
    return "portable";
}
