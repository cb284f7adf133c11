/* SPDX-License-Identifier: Apache-2.0
 *
 * Products by AMX tiles: up to 32 x 32 sums in tiles 0 to 3 over all of the depth, two tiles of A
 * (4, 5) and two of B (6, 7). A tile of A is 16 rows by 32 of depth, one of B is a 32 deep part of
 * a panel; both are full in depth, which packing has padded. Denormals are taken as zeros.
 *
 * Tests compile this file a second time with LV_AMX_TILES naming an emulation of the tiles.
 */
#include "autograd/kernels/bf16_kernels.h"

#ifdef LV_VECTOR_X86

#ifndef LV_AMX_TILES
#define LV_AMX_TILES "autograd/kernels/bf16_amx_tiles.h"
#endif
#include LV_AMX_TILES

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { SIDE = 16, ROW_BYTES = 64 };

typedef struct {
    const uint16_t *A, *B;
    int64_t a_bytes, panel, steps; /* panel: elements from one to the next */
    float *C;
    int64_t ldc, rows, columns; /* up to 32 */
    bool add;
    lv_bf16_ahead *ahead;
} tile;

static void configure(int64_t rows)
{
    lv_tile_shapes shapes = {.palette = 1};
    uint8_t upper = (uint8_t)(rows < SIDE ? rows : SIDE);
    uint8_t lower = (uint8_t)(rows > SIDE ? rows - SIDE : upper); /* unused if there is none */
    const uint8_t of_tile[] = {upper, upper, lower, lower, upper, lower, SIDE, SIDE};
    for (int t = 0; t < 8; t++) {
        shapes.row_bytes[t] = ROW_BYTES;
        shapes.rows[t] = of_tile[t];
    }
    TILE_CONFIG(&shapes);
}

/* A step of depth takes 16 cycles a product of tiles: time for as many lines. */
INLINE void fetch(const tile *t, int lines)
{
    for (int i = 0; i < lines; i++) {
        lv_bf16_fetch(t->ahead);
    }
}

#define ADVANCE(a, b)                                                                              \
    do {                                                                                           \
        (a) += LV_BF16_DEPTH;                                                                      \
        (b) += LV_BF16_DEPTH * LV_BF16_COLUMNS;                                                    \
    } while (0)

static void dot_2x2(const tile *t, const uint16_t *a, const uint16_t *b)
{
    for (int64_t k = 0; k < t->steps; k++) {
        TILE_LOAD(6, b, ROW_BYTES);
        TILE_LOAD(4, a, t->a_bytes);
        TILE_DOT(0, 4, 6);
        TILE_LOAD(7, b + t->panel, ROW_BYTES);
        TILE_DOT(1, 4, 7);
        TILE_LOAD(5, (const char *)a + SIDE * t->a_bytes, t->a_bytes);
        TILE_DOT(2, 5, 6);
        TILE_DOT(3, 5, 7);
        fetch(t, 4);
        ADVANCE(a, b);
    }
}

static void dot_2x1(const tile *t, const uint16_t *a, const uint16_t *b)
{
    for (int64_t k = 0; k < t->steps; k++) {
        TILE_LOAD(6, b, ROW_BYTES);
        TILE_LOAD(4, a, t->a_bytes);
        TILE_DOT(0, 4, 6);
        TILE_LOAD(5, (const char *)a + SIDE * t->a_bytes, t->a_bytes);
        TILE_DOT(2, 5, 6);
        fetch(t, 2);
        ADVANCE(a, b);
    }
}

static void dot_1x2(const tile *t, const uint16_t *a, const uint16_t *b)
{
    for (int64_t k = 0; k < t->steps; k++) {
        TILE_LOAD(4, a, t->a_bytes);
        TILE_LOAD(6, b, ROW_BYTES);
        TILE_DOT(0, 4, 6);
        TILE_LOAD(7, b + t->panel, ROW_BYTES);
        TILE_DOT(1, 4, 7);
        fetch(t, 2);
        ADVANCE(a, b);
    }
}

static void dot_1x1(const tile *t, const uint16_t *a, const uint16_t *b)
{
    for (int64_t k = 0; k < t->steps; k++) {
        TILE_LOAD(4, a, t->a_bytes);
        TILE_LOAD(6, b, ROW_BYTES);
        TILE_DOT(0, 4, 6);
        fetch(t, 1);
        ADVANCE(a, b);
    }
}

/* Sums start at zero or at what C has, and go to C: all of its tile's columns are there. */
static void multiply_full(const tile *t, float *C, int64_t ldc, bool add)
{
    bool two_rows = t->rows > SIDE, two_panels = t->columns > SIDE;
    int64_t bytes = ldc * (int64_t)sizeof *C;
    float *below = C + SIDE * ldc;
    if (add) {
        TILE_LOAD(0, C, bytes);
    } else {
        TILE_ZERO(0);
    }
    if (add && two_panels) {
        TILE_LOAD(1, C + SIDE, bytes);
    } else {
        TILE_ZERO(1);
    }
    if (add && two_rows) {
        TILE_LOAD(2, below, bytes);
    } else {
        TILE_ZERO(2);
    }
    if (add && two_rows && two_panels) {
        TILE_LOAD(3, below + SIDE, bytes);
    } else {
        TILE_ZERO(3);
    }
    (two_rows ? two_panels ? dot_2x2 : dot_2x1 : two_panels ? dot_1x2 : dot_1x1)(t, t->A, t->B);
    TILE_STORE(0, C, bytes);
    if (two_panels) {
        TILE_STORE(1, C + SIDE, bytes);
    }
    if (two_rows) {
        TILE_STORE(2, below, bytes);
    }
    if (two_rows && two_panels) {
        TILE_STORE(3, below + SIDE, bytes);
    }
}

/* The last columns of C by way of a full tile. */
static void multiply_edge(const tile *t)
{
    float sums[2 * SIDE * 2 * SIDE];
    multiply_full(t, sums, 2 * SIDE, false);
    for (int64_t r = 0; r < t->rows; r++) {
        float *c = t->C + r * t->ldc;
        for (int64_t i = 0; i < t->columns; i++) {
            c[i] = t->add ? c[i] + sums[r * 2 * SIDE + i] : sums[r * 2 * SIDE + i];
        }
    }
}

void lv_bf16_multiply_amx(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                          const uint16_t *B, int64_t M, int64_t N, int64_t K, lv_bf16_ahead *ahead)
{
    int64_t depth = lv_bf16_depth(K);
    int64_t configured = 0;
    for (int64_t n = 0; n < N; n += 2 * SIDE) {
        for (int64_t m = 0; m < M; m += 2 * SIDE) {
            tile t = {
                .A = A + m * lda,
                .B = B + n * depth,
                .a_bytes = lda * (int64_t)sizeof *A,
                .panel = LV_BF16_COLUMNS * depth,
                .steps = depth / LV_BF16_DEPTH,
                .C = C + m * ldc + n,
                .ldc = ldc,
                .rows = M - m < 2 * SIDE ? M - m : 2 * SIDE,
                .columns = N - n < 2 * SIDE ? N - n : 2 * SIDE,
                .add = add,
                .ahead = ahead,
            };
            if (t.rows != configured) {
                configure(t.rows);
                configured = t.rows;
            }
            if (t.columns % SIDE == 0) {
                multiply_full(&t, t.C, ldc, add);
            } else {
                multiply_edge(&t);
            }
        }
    }
    if (configured > 0) {
        TILE_RELEASE();
    }
}

#endif
