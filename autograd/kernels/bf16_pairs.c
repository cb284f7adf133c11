/* SPDX-License-Identifier: Apache-2.0
 *
 * vdpbf16ps: a pair of A, broadcast, times 16 pairs of B. A tile of up to 6 x 64 sums stays in
 * registers over all of the depth. The instruction takes denormals as zeros.
 */
#include "autograd/kernels/bf16_kernels.h"

#ifdef LV_VECTOR_X86

#include <immintrin.h>
#include <string.h>

enum { ROWS = 6, PANELS = 4, LANES = LV_BF16_COLUMNS };

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define INLINE static inline __attribute__((always_inline)) TARGET

typedef struct {
    const uint16_t *A, *B;
    int64_t lda, panel, pairs; /* panel: elements from one to the next */
    float *C;
    int64_t ldc;
    bool add;
    __mmask16 last; /* columns of the last panel */
} tile;

INLINE __m512bh broadcast_pair(const uint16_t *a)
{
    int pair;
    memcpy(&pair, a, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

INLINE void multiply_tile(const tile *t, const int rows, const int panels)
{
    __m512 sum[ROWS][PANELS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int p = 0; p < panels; p++) {
            sum[r][p] = _mm512_setzero_ps();
            __builtin_prefetch(t->C + r * t->ldc + p * LANES, 1);
        }
    }
    const uint16_t *b = t->B;
    const uint16_t *a = t->A;
    for (int64_t k = 0; k < t->pairs; k++, a += 2, b += 2 * LANES) {
        __m512bh pairs[PANELS];
#pragma GCC unroll 8
        for (int p = 0; p < panels; p++) {
            pairs[p] = (__m512bh)_mm512_loadu_si512(b + p * t->panel);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            __m512bh pair = broadcast_pair(a + r * t->lda);
#pragma GCC unroll 8
            for (int p = 0; p < panels; p++) {
                sum[r][p] = _mm512_dpbf16_ps(sum[r][p], pair, pairs[p]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int p = 0; p < panels; p++) {
            float *c = t->C + r * t->ldc + p * LANES;
            __mmask16 mask = p == panels - 1 ? t->last : 0xffff;
            if (t->add) {
                sum[r][p] = _mm512_add_ps(sum[r][p], _mm512_maskz_loadu_ps(mask, c));
            }
            _mm512_mask_storeu_ps(c, mask, sum[r][p]);
        }
    }
}

/* Constants for every shape of tile, so that its sums have registers. */
INLINE void multiply_rows(const tile *t, int64_t rows, const int panels)
{
    switch (rows) {
    case 1:
        multiply_tile(t, 1, panels);
        break;
    case 2:
        multiply_tile(t, 2, panels);
        break;
    case 3:
        multiply_tile(t, 3, panels);
        break;
    case 4:
        multiply_tile(t, 4, panels);
        break;
    case 5:
        multiply_tile(t, 5, panels);
        break;
    default:
        multiply_tile(t, ROWS, panels);
    }
}

TARGET static void multiply_1(const tile *t, int64_t rows)
{
    multiply_rows(t, rows, 1);
}

TARGET static void multiply_2(const tile *t, int64_t rows)
{
    multiply_rows(t, rows, 2);
}

TARGET static void multiply_3(const tile *t, int64_t rows)
{
    multiply_rows(t, rows, 3);
}

TARGET static void multiply_4(const tile *t, int64_t rows)
{
    multiply_rows(t, rows, 4);
}

void lv_bf16_multiply_pairs(lv_real *C, int64_t ldc, int64_t strip, bool add, const uint16_t *A,
                            int64_t lda, const uint16_t *B, int64_t M, int64_t N, int64_t K,
                            lv_bf16_beside *beside)
{
    (void)strip;
    static void (*const multiply[PANELS])(const tile *t, int64_t rows) = {multiply_1, multiply_2,
                                                                          multiply_3, multiply_4};
    int64_t panel = LANES * lv_bf16_depth(K);
    int64_t tiles = (M + ROWS - 1) / ROWS * ((N + PANELS * LANES - 1) / (PANELS * LANES));
    for (int64_t n = 0; n < N; n += PANELS * LANES) {
        int64_t columns = N - n < PANELS * LANES ? N - n : PANELS * LANES;
        int64_t panels = (columns + LANES - 1) / LANES;
        int64_t in_last = columns - (panels - 1) * LANES;
        for (int64_t m = 0; m < M; m += ROWS) {
            int64_t rows = M - m < ROWS ? M - m : ROWS;
            tile t = {
                .A = A + m * lda,
                .B = B + n / LANES * panel,
                .lda = lda,
                .panel = panel,
                .pairs = (K + 1) / 2,
                .C = C + m * ldc + n,
                .ldc = ldc,
                .add = add,
                .last = (__mmask16)((1U << in_last) - 1),
            };
            multiply[panels - 1](&t, rows);
            lv_bf16_run_beside(beside, tiles);
        }
    }
}

#endif
