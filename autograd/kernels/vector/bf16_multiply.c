/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of packed bf16 for CPUs without an instruction for them: a pair of depth is widened to
 * two vectors of floats by a shift and a mask, on the way to the multiplier.
 */
#include "autograd/kernels/bf16.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/vector/level.h"

#include <string.h>

/* Sums of a tile, one row of B and one element of A fill the registers. */
#if defined(__AVX512F__)
enum { LANES = 16, ROWS = 6, PANELS = 4, ONE_ROW_PANELS = 4 };
#elif defined(__AVX2__)
enum { LANES = 8, ROWS = 5, PANELS = 1, ONE_ROW_PANELS = 4 };
#else
enum { LANES = 4, ROWS = 2, PANELS = 1, ONE_ROW_PANELS = 1 };
#endif
enum { VECTORS = LV_BF16_COLUMNS / LANES, PIECE = 544 };

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef uint32_t bits __attribute__((vector_size(LANES * 4)));

#define INLINE static inline __attribute__((always_inline))

INLINE vec even(bits pairs)
{
    return (vec)(pairs << 16);
}

INLINE vec odd(bits pairs)
{
    return (vec)(pairs & 0xffff0000);
}

INLINE bits load(const uint16_t *at)
{
    bits x;
    memcpy(&x, at, sizeof x);
    return x;
}

INLINE vec broadcast(const float *at)
{
    uint32_t x;
    memcpy(&x, at, sizeof x);
    return (vec)(x - (bits){0}); /* of floats it would be a subtraction */
}

/* Rows of A widened, a piece of the depth in the L1 cache: their elements are broadcast as they are
 * loaded. */
typedef struct {
    float at[ROWS][PIECE];
} wide_rows;

typedef struct {
    const wide_rows *A;
    const uint16_t *B;
    int64_t panel, pairs; /* panel: elements from one to the next */
    lv_real *C;
    int64_t ldc, columns;
    bool add;
} tile;

static void widen_rows(wide_rows *to, const uint16_t *A, int64_t lda, int64_t rows, int64_t K)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t k = 0; k < K; k++) {
            uint16_t h; /* at any alignment */
            memcpy(&h, (const char *)A + (r * lda + k) * (int64_t)sizeof h, sizeof h);
            to->at[r][k] = lv_bf16_to_float(h);
        }
    }
}

/* The sums of one row and panel to C. */
INLINE void finish(lv_real *c, const vec sums[VECTORS], int64_t columns, bool add)
{
    float s[LV_BF16_COLUMNS];
    memcpy(s, sums, sizeof s);
    for (int64_t i = 0; i < (columns < LV_BF16_COLUMNS ? columns : LV_BF16_COLUMNS); i++) {
        c[i] = add ? c[i] + (lv_real)s[i] : (lv_real)s[i];
    }
}

INLINE void multiply_tile(const tile *t, const int rows, const int panels)
{
    vec sum[ROWS][ONE_ROW_PANELS * VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int v = 0; v < panels * VECTORS; v++) {
            sum[r][v] = (vec){0};
        }
    }
    const uint16_t *b = t->B;
    for (int64_t k = 0; k < 2 * t->pairs; k += 2, b += 2 * LV_BF16_COLUMNS) {
#pragma GCC unroll 2
        for (int parity = 0; parity < 2; parity++) {
            vec y[ONE_ROW_PANELS * VECTORS];
#pragma GCC unroll 8
            for (int v = 0; v < panels * VECTORS; v++) {
                bits pairs = load(b + v / VECTORS * t->panel + v % VECTORS * 2 * LANES);
                y[v] = parity ? odd(pairs) : even(pairs);
            }
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                vec x = broadcast(&t->A->at[r][k + parity]);
#pragma GCC unroll 8
                for (int v = 0; v < panels * VECTORS; v++) {
                    sum[r][v] += x * y[v];
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int p = 0; p < panels; p++) {
            finish(t->C + r * t->ldc + p * LV_BF16_COLUMNS, &sum[r][p * VECTORS],
                   t->columns - p * LV_BF16_COLUMNS, t->add);
        }
    }
}

/* Constants for every height of tile, so that its sums have registers. */
INLINE void multiply_rows(const tile *t, int64_t rows, const int panels)
{
    switch (rows) {
    case 1:
        multiply_tile(t, 1, panels);
        break;
#if defined(__AVX2__)
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
#endif
    default:
        multiply_tile(t, ROWS, panels);
    }
}

/* Sums of one panel alone would wait for each other. */
static void multiply_one_row(const tile *t, int64_t rows)
{
    (void)rows;
    multiply_tile(t, 1, ONE_ROW_PANELS);
}

static void multiply_narrow(const tile *t, int64_t rows)
{
    multiply_rows(t, rows, 1);
}

static void multiply_wide(const tile *t, int64_t rows)
{
    multiply_rows(t, rows, PANELS);
}

void LV_LEVEL(bf16_multiply)(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                             const uint16_t *B, int64_t M, int64_t N, int64_t K)
{
    int64_t panel = LV_BF16_COLUMNS * lv_bf16_depth(K);
    int64_t k = 0;
    do {
        int64_t depth = K - k < PIECE ? K - k : PIECE;
        for (int64_t m = 0; m < M; m += ROWS) {
            int64_t rows = M - m < ROWS ? M - m : ROWS;
            wide_rows wide;
            widen_rows(&wide, A + m * lda + k, lda, rows, (depth + 1) / 2 * 2);
            int64_t n = 0;
            while (n < N) {
                int64_t panels = rows == 1 ? ONE_ROW_PANELS : PANELS;
                bool all = N - n > (panels - 1) * LV_BF16_COLUMNS;
                tile t = {
                    .A = &wide,
                    .B = B + n / LV_BF16_COLUMNS * panel + k * LV_BF16_COLUMNS,
                    .panel = panel,
                    .pairs = (depth + 1) / 2,
                    .C = C + m * ldc + n,
                    .ldc = ldc,
                    .columns = N - n,
                    .add = add || k > 0,
                };
                (!all ? multiply_narrow : rows == 1 ? multiply_one_row : multiply_wide)(&t, rows);
                n += all ? panels * LV_BF16_COLUMNS : LV_BF16_COLUMNS;
            }
        }
        k += depth;
    } while (k < K);
}
