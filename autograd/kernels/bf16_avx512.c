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
    for (int r = 0; r < rows; r++) {
        for (int p = 0; p < panels; p++) {
            sum[r][p] = _mm512_setzero_ps();
            __builtin_prefetch(t->C + r * t->ldc + p * LANES, 1);
        }
    }
    const uint16_t *b = t->B;
    const uint16_t *a = t->A;
    for (int64_t k = 0; k < t->pairs; k++, a += 2, b += 2 * LANES) {
        __m512bh pairs[PANELS];
        for (int p = 0; p < panels; p++) {
            pairs[p] = (__m512bh)_mm512_loadu_si512(b + p * t->panel);
        }
        for (int r = 0; r < rows; r++) {
            __m512bh pair = broadcast_pair(a + r * t->lda);
            for (int p = 0; p < panels; p++) {
                sum[r][p] = _mm512_dpbf16_ps(sum[r][p], pair, pairs[p]);
            }
        }
    }
    for (int r = 0; r < rows; r++) {
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

/* One function a shape of tile, so that its sums have registers. */
#define TILE(rows, panels)                                                                         \
    TARGET static void tile_##rows##x##panels(const tile *t)                                       \
    {                                                                                              \
        multiply_tile(t, rows, panels);                                                            \
    }
#define TILES(rows) TILE(rows, 1) TILE(rows, 2) TILE(rows, 3) TILE(rows, 4)
TILES(1)
TILES(2)
TILES(3)
TILES(4) TILES(5) TILES(6)

#define NAMES(rows)                                                                                \
    {                                                                                              \
        tile_##rows##x1, tile_##rows##x2, tile_##rows##x3, tile_##rows##x4                         \
    }
    static void (*const tiles[ROWS][PANELS])(const tile *t) = {NAMES(1), NAMES(2), NAMES(3),
                                                               NAMES(4), NAMES(5), NAMES(6)};

void lv_bf16_multiply_avx512(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                             const uint16_t *B, int64_t M, int64_t N, int64_t K)
{
    int64_t panel = LANES * lv_bf16_depth(K);
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
            tiles[rows - 1][panels - 1](&t);
        }
    }
}

#endif
