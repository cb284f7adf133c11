/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

typedef struct {
    const lv_real *bias;
    const void *residual;
    bool add;
} terms;

static inline void add_to(lv_real *values, const void *x, const lv_dtype dtype, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        values[i] += element_read(x, dtype, i);
    }
}

/* n columns of a row, up to 32. */
static inline __attribute__((always_inline)) void
finish_row(void *C, const lv_dtype dtype, const lv_real *sums, terms t, const int64_t n)
{
    lv_real values[32];
    for (int64_t i = 0; i < n; i++) {
        values[i] = sums[i];
    }
    if (t.bias) {
        add_to(values, t.bias, LV_F32, n);
    }
    if (t.residual) {
        add_to(values, t.residual, dtype, n);
    }
    if (t.add) {
        add_to(values, C, dtype, n);
    }
    for (int64_t i = 0; i < n; i++) {
        element_write(C, dtype, i, values[i]);
    }
}

static inline __attribute__((always_inline)) void finish(char *C, const lv_dtype dtype, int64_t ldc,
                                                         const lv_real *sums, int64_t ld, terms t,
                                                         int64_t M, int64_t N)
{
    enum { USUAL = 32 };
    const int64_t size = dtype == LV_F32 ? (int64_t)sizeof(lv_real) : (int64_t)sizeof(uint16_t);
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n += USUAL) {
            int64_t at = (m * ldc + n) * size, columns = N - n < USUAL ? N - n : USUAL;
            const terms here = {t.bias ? t.bias + n : NULL,
                                t.residual ? (const char *)t.residual + at : NULL, t.add};
            if (columns == USUAL) { /* a constant: unrolled */
                finish_row(C + at, dtype, sums + m * ld + n, here, USUAL);
            } else {
                finish_row(C + at, dtype, sums + m * ld + n, here, columns);
            }
        }
    }
}

void LV_LEVEL(gemm_finish)(void *C, lv_dtype C_dtype, int64_t ldc, bool add, const lv_real *sums,
                           int64_t ld, const lv_real *bias, const void *residual, int64_t M,
                           int64_t N)
{
    const terms t = {bias, residual, add};
    if (C_dtype == LV_F32) {
        finish(C, LV_F32, ldc, sums, ld, t, M, N);
    } else {
        finish(C, LV_BF16, ldc, sums, ld, t, M, N);
    }
}
