/* SPDX-License-Identifier: Apache-2.0
 *
 * vector.def's gemm_finish with the instruction that rounds to bf16, which takes denormals as
 * zeros: without it, rounding costs a tenth of the product.
 */
#include "autograd/kernels/bf16_kernels.h"

#ifdef LV_VECTOR_X86

#include <immintrin.h>

enum { LANES = 16 };

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define INLINE static inline __attribute__((always_inline)) TARGET

INLINE __m512 load(const void *x, const lv_dtype dtype, int64_t i, __mmask16 mask)
{
    if (dtype == LV_F32) {
        return _mm512_maskz_loadu_ps(mask, (const float *)x + i);
    }
    __m256i h = _mm256_maskz_loadu_epi16(mask, (const char *)x + 2 * i);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

typedef struct {
    char *C;
    const char *residual;
    int64_t ldc, ld, rows; /* ldc: bytes */
    const float *sums, *bias;
    __mmask16 low, high; /* columns of the first and the second 16 */
} columns;

INLINE __m512 total(const columns *x, int64_t row, int64_t i, __mmask16 mask, const lv_dtype dtype,
                    const bool bias, const bool residual, const bool add)
{
    __m512 sum = _mm512_maskz_loadu_ps(mask, x->sums + row * x->ld + i);
    if (bias) {
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, x->bias + i));
    }
    if (residual) {
        sum = _mm512_add_ps(sum, load(x->residual + row * x->ldc, dtype, i, mask));
    }
    return add ? _mm512_add_ps(load(x->C + row * x->ldc, dtype, i, mask), sum) : sum;
}

INLINE void finish_columns(const columns *x, const lv_dtype dtype, const bool bias,
                           const bool residual, const bool add)
{
    __mmask32 both = (__mmask32)x->low | (__mmask32)x->high << LANES;
    for (int64_t row = 0; row < x->rows; row++) {
        char *c = x->C + row * x->ldc;
        __m512 low = total(x, row, 0, x->low, dtype, bias, residual, add);
        __m512 high = total(x, row, LANES, x->high, dtype, bias, residual, add);
        if (dtype == LV_F32) {
            _mm512_mask_storeu_ps(c, x->low, low);
            _mm512_mask_storeu_ps(c + LANES * sizeof(float), x->high, high);
        } else {
            _mm512_mask_storeu_epi16(c, both, (__m512i)_mm512_cvtne2ps_pbh(high, low));
        }
    }
}

/* Constants for every sum of terms: a row is a few instructions. */
INLINE void finish_terms(const columns *x, const lv_dtype dtype, bool add)
{
    enum { BIAS = 1, RESIDUAL = 2, ADD = 4 };
    switch ((x->bias ? BIAS : 0) | (x->residual ? RESIDUAL : 0) | (add ? ADD : 0)) {
    case 0:
        finish_columns(x, dtype, false, false, false);
        break;
    case BIAS:
        finish_columns(x, dtype, true, false, false);
        break;
    case RESIDUAL:
        finish_columns(x, dtype, false, true, false);
        break;
    case BIAS | RESIDUAL:
        finish_columns(x, dtype, true, true, false);
        break;
    case ADD:
        finish_columns(x, dtype, false, false, true);
        break;
    case ADD | BIAS:
        finish_columns(x, dtype, true, false, true);
        break;
    case ADD | RESIDUAL:
        finish_columns(x, dtype, false, true, true);
        break;
    default:
        finish_columns(x, dtype, true, true, true);
    }
}

/* The first n lanes, all if n is more. */
INLINE __mmask16 lanes(int64_t n)
{
    return n >= LANES ? 0xffff : n > 0 ? (__mmask16)((1U << n) - 1) : 0;
}

TARGET void lv_bf16_finish_pairs(void *C, lv_dtype C_dtype, int64_t ldc, bool add,
                                 const lv_real *sums, int64_t ld, const lv_real *bias,
                                 const void *residual, int64_t M, int64_t N)
{
    int64_t bytes = C_dtype == LV_F32 ? sizeof(float) : sizeof(uint16_t);
    for (int64_t n = 0; n < N; n += 2 * LANES) {
        const columns x = {
            .C = (char *)C + n * bytes,
            .residual = residual ? (const char *)residual + n * bytes : NULL,
            .ldc = ldc * bytes,
            .ld = ld,
            .rows = M,
            .sums = sums + n,
            .bias = bias ? bias + n : NULL,
            .low = lanes(N - n),
            .high = lanes(N - n - LANES),
        };
        if (C_dtype == LV_F32) {
            finish_terms(&x, LV_F32, add);
        } else {
            finish_terms(&x, LV_BF16, add);
        }
    }
}

#endif
