/* SPDX-License-Identifier: Apache-2.0
 *
 * Products by AMX tiles: up to 32 x 32 sums in tiles 0 to 3 over all of the depth, two tiles of A
 * (4, 5) and two of B (6, 7). A tile of A is 16 rows by 32 of depth, one of B is a 32 deep part of
 * a panel; both are full in depth, which packing has padded. Denormals are taken as zeros.
 *
 * Four products of tiles take 64 cycles and 4 KB of operands, twice what the L2 cache has ready in
 * that time. So 32 rows of A, up to some 544 deep, stay in the L1 cache, and B comes past it.
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
    int64_t ldc, strip; /* strip: from 32 columns of C to the next */
    bool add;
    lv_bf16_beside *beside;
    int64_t all_steps; /* of the whole product */
} operands;

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

/* In the first steps, the sums of the next columns come into the L1 cache. */
INLINE void fetch(const operands *x, const float *c, int64_t step)
{
    if (step < SIDE) {
        const float *row = c + x->strip + 2 * step * x->ldc;
        __builtin_prefetch(row, 1);
        __builtin_prefetch(row + SIDE, 1);
        __builtin_prefetch(row + x->ldc, 1);
        __builtin_prefetch(row + x->ldc + SIDE, 1);
    }
}

/* The sums in a tile go to memory, if there are any, and those at next take their place. */
#define CHANGE_SUMS(tile, sums, next)                                                              \
    do {                                                                                           \
        if (before) {                                                                              \
            TILE_STORE(tile, sums, bytes);                                                         \
        }                                                                                          \
        if (x->add) {                                                                              \
            TILE_LOAD(tile, next, bytes);                                                          \
        } else {                                                                                   \
            TILE_ZERO(tile);                                                                       \
        }                                                                                          \
    } while (0)

/* All rows times one or two panels b, into sums at c, which stay in tiles; those before go to
 * memory while the tiles work. */
INLINE void multiply_block(const operands *x, const uint16_t *b, float *c, float *before,
                           const bool two_tiles, const bool two_panels)
{
    const uint16_t *a = x->A;
    int64_t bytes = x->ldc * (int64_t)sizeof *c, below = SIDE * x->ldc;
    int64_t a_below = SIDE * x->a_bytes / (int64_t)sizeof *a;
    TILE_LOAD_ONCE(6, b, ROW_BYTES);
    TILE_LOAD(4, a, x->a_bytes);
    CHANGE_SUMS(0, before, c);
    TILE_DOT(0, 4, 6);
    if (two_panels) {
        TILE_LOAD_ONCE(7, b + x->panel, ROW_BYTES);
        CHANGE_SUMS(1, before + SIDE, c + SIDE);
        TILE_DOT(1, 4, 7);
    }
    if (two_tiles) {
        TILE_LOAD(5, a + a_below, x->a_bytes);
        CHANGE_SUMS(2, before + below, c + below);
        TILE_DOT(2, 5, 6);
    }
    if (two_tiles && two_panels) {
        CHANGE_SUMS(3, before + below + SIDE, c + below + SIDE);
        TILE_DOT(3, 5, 7);
    }
    lv_bf16_run_beside(x->beside, x->all_steps);
    for (int64_t k = 1; k < x->steps; k++) {
        a += LV_BF16_DEPTH;
        b += LV_BF16_DEPTH * LV_BF16_COLUMNS;
        TILE_LOAD_ONCE(6, b, ROW_BYTES);
        TILE_LOAD(4, a, x->a_bytes);
        TILE_DOT(0, 4, 6);
        if (two_panels) {
            TILE_LOAD_ONCE(7, b + x->panel, ROW_BYTES);
            TILE_DOT(1, 4, 7);
        }
        if (two_tiles) {
            TILE_LOAD(5, a + a_below, x->a_bytes);
            TILE_DOT(2, 5, 6);
        }
        if (two_tiles && two_panels) {
            TILE_DOT(3, 5, 7);
        }
        fetch(x, c, k - 1);
        lv_bf16_run_beside(x->beside, x->all_steps);
    }
}

INLINE void multiply_blocks(const operands *x, int64_t blocks, const bool two_tiles,
                            const bool two_panels)
{
    int64_t bytes = x->ldc * (int64_t)sizeof *x->C;
    float *c = NULL;
    for (int64_t i = 0; i < blocks; i++) {
        float *next = x->C + i * x->strip;
        multiply_block(x, x->B + i * 2 * x->panel, next, c, two_tiles, two_panels);
        c = next;
    }
    TILE_STORE(0, c, bytes);
    if (two_panels) {
        TILE_STORE(1, c + SIDE, bytes);
    }
    if (two_tiles) {
        TILE_STORE(2, c + SIDE * x->ldc, bytes);
    }
    if (two_tiles && two_panels) {
        TILE_STORE(3, c + SIDE * x->ldc + SIDE, bytes);
    }
}

/* Constants for every shape of block. */
static void multiply_shape(const operands *x, int64_t blocks, int64_t rows, int64_t columns)
{
    if (rows > SIDE && columns > SIDE) {
        multiply_blocks(x, blocks, true, true);
    } else if (rows > SIDE) {
        multiply_blocks(x, blocks, true, false);
    } else if (columns > SIDE) {
        multiply_blocks(x, blocks, false, true);
    } else {
        multiply_blocks(x, blocks, false, false);
    }
}

/* The last columns of C by way of full tiles. */
static void multiply_edge(operands x, int64_t rows, int64_t columns)
{
    float sums[2 * SIDE * 2 * SIDE], *C = x.C;
    int64_t ldc = x.ldc;
    bool add = x.add;
    x.C = sums;
    x.ldc = 2 * SIDE;
    x.add = false;
    multiply_shape(&x, 1, rows, columns);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < columns; i++) {
            float sum = sums[r * 2 * SIDE + i];
            C[r * ldc + i] = add ? C[r * ldc + i] + sum : sum;
        }
    }
}

void lv_bf16_multiply_amx(lv_real *C, int64_t ldc, int64_t strip, bool add, const uint16_t *A,
                          int64_t lda, const uint16_t *B, int64_t M, int64_t N, int64_t K,
                          lv_bf16_beside *beside)
{
    if (K == 0 && !add) {
        for (int64_t n = 0; n < N; n += 2 * SIDE) {
            int64_t columns = N - n < 2 * SIDE ? N - n : 2 * SIDE;
            for (int64_t m = 0; m < M; m++) {
                memset(C + n / (2 * SIDE) * strip + m * ldc, 0, (size_t)columns * sizeof *C);
            }
        }
    }
    if (K == 0) {
        return;
    }
    int64_t depth = lv_bf16_depth(K);
    int64_t configured = 0;
    for (int64_t m = 0; m < M; m += 2 * SIDE) {
        int64_t rows = M - m < 2 * SIDE ? M - m : 2 * SIDE;
        if (rows != configured) {
            configure(rows);
            configured = rows;
        }
        for (int64_t n = 0; n < N;) {
            int64_t full = (N - n) / (2 * SIDE);
            int64_t blocks = full > 0 ? full : 1;
            int64_t columns = N - n < 2 * SIDE ? N - n : 2 * SIDE;
            const operands x = {
                .A = A + m * lda,
                .B = B + n * depth,
                .a_bytes = lda * (int64_t)sizeof *A,
                .panel = LV_BF16_COLUMNS * depth,
                .steps = depth / LV_BF16_DEPTH,
                .C = C + m * ldc + n / (2 * SIDE) * strip,
                .ldc = ldc,
                .strip = strip,
                .add = add,
                .beside = beside,
                .all_steps = depth / LV_BF16_DEPTH * ((M + 2 * SIDE - 1) / (2 * SIDE)) *
                             ((N + 2 * SIDE - 1) / (2 * SIDE)),
            };
            if (columns % SIDE == 0) {
                multiply_shape(&x, blocks, rows, columns);
            } else {
                multiply_edge(x, rows, columns);
            }
            n += blocks * 2 * SIDE;
        }
    }
    if (configured > 0) {
        TILE_RELEASE();
    }
}

#endif
