/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread's part of a bf16 product, in chunks of rows: for every block of columns and of depth B
 * is packed once, into the L2 cache, and the chunk's rows of A stream past it. They are packed once
 * a chunk, or read where they lie if that is as they would be packed.
 */
#include "autograd/kernels/bf16_kernels.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/gemm_scratch.h"
#include "autograd/kernels/vector.h"

#include <string.h>

enum {
    BLOCK_M = 256,
    BLOCK_N = 256,
    BLOCK_K = 1024,
    FEW_ROWS = 128,
    FEW_ROWS_K = 256,
    CHUNK_ROWS = 4 * BLOCK_M,
    CHUNK_COUNT = 4 << 20, /* elements of a chunk's A: as much as the L3 cache has for a thread */
};

/* Where a thread's packed operands and its sums lie, in its scratch memory. */
typedef struct {
    uint16_t *a, *b;
    lv_real *c;
} blocks;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* For few rows a block of B is used little: a small one is read back from a nearer cache. */
static int64_t block_k(const lv_gemm_args *x)
{
    return x->M <= FEW_ROWS ? FEW_ROWS_K : BLOCK_K;
}

/* Sums that need nothing added and no rounding are formed where they belong. */
static bool in_place(const lv_gemm_args *x)
{
    return x->C_dtype == LV_F32 && !x->bias && !x->residual;
}

static void finish(const lv_gemm_args *x, const lv_real *sums, int64_t m, int64_t M, int64_t n,
                   int64_t N)
{
    const lv_vector_kernels *vector = lv_vector();
    for (int64_t i = 0; i < M; i++) {
        int64_t at = (m + i) * x->ldc + n;
        vector->gemm_finish(lv_element(x->C, x->C_dtype, at), x->C_dtype, x->add, sums + i * N,
                            x->bias ? x->bias + n : NULL,
                            x->residual ? lv_element_const(x->residual, x->C_dtype, at) : NULL, N);
    }
}

/* The rows of a chunk: a multiple of BLOCK_M, or all. */
static int64_t chunk_rows(const lv_gemm_args *x, int64_t M)
{
    int64_t rows = CHUNK_COUNT / lv_bf16_depth(x->K + 1) / BLOCK_M * BLOCK_M;
    rows = rows < BLOCK_M ? BLOCK_M : least(rows, CHUNK_ROWS);
    return least(M, rows);
}

/* Rows of A lie in memory as pack_a would put them. */
static bool lies_packed(const lv_gemm_args *x)
{
    return !x->A.transposed && x->K % LV_BF16_DEPTH == 0;
}

static blocks blocks_for(const lv_gemm_args *x, int64_t M)
{
    int64_t a_count = lies_packed(x) ? 0 : M * lv_bf16_depth(x->K);
    char *at = lv_gemm_scratch(sizeof(lv_real) * (size_t)M * BLOCK_N +
                               sizeof(uint16_t) * (size_t)(a_count + BLOCK_N * block_k(x)));
    blocks s = {.c = (lv_real *)(void *)at};
    s.b = (uint16_t *)(void *)(s.c + M * BLOCK_N);
    s.a = s.b + BLOCK_N * block_k(x);
    return s;
}

/* A's rows [m, m+M), block of depth after block of depth. */
static void pack_chunk(const lv_gemm_args *x, const blocks *s, int64_t m, int64_t M)
{
    for (int64_t k = 0; k < x->K && !lies_packed(x); k += block_k(x)) {
        lv_bf16_pack_a(s->a + M * k, &x->A, m, M, k, least(x->K - k, block_k(x)));
    }
}

/* Rows of A as the kernels read them. */
typedef struct {
    const uint16_t *at;
    int64_t ld;
} a_rows;

/* From row i of the chunk [m, m+M), depth [k, k+K). */
static a_rows rows_of_a(const lv_gemm_args *x, const blocks *s, int64_t m, int64_t M, int64_t i,
                        int64_t k, int64_t K)
{
    if (lies_packed(x)) {
        return (a_rows){lv_element_const(x->A.data, LV_BF16, (m + i) * x->A.ld + k), x->A.ld};
    }
    int64_t depth = lv_bf16_depth(K);
    return (a_rows){s->a + M * k + i * depth, depth};
}

/* Where B's block at (k, n) lies, of the columns before n_end. */
static lv_bf16_ahead rows_of_b(const lv_gemm_args *x, int64_t k, int64_t n, int64_t n_end)
{
    enum { LINE_BYTES = 64 };
    int64_t size = (int64_t)lv_dtype_bytes(x->B.dtype);
    int64_t K = least(x->K - k, block_k(x)), N = least(n_end - n, BLOCK_N);
    int64_t rows = x->B.transposed ? N : K;
    int64_t lines = ((x->B.transposed ? K : N) * size + LINE_BYTES - 1) / LINE_BYTES;
    int64_t first = x->B.transposed ? n * x->B.ld + k : k * x->B.ld + n;
    return (lv_bf16_ahead){
        .at = lv_element_const(x->B.data, x->B.dtype, first),
        .lines = lines,
        .rows = rows - 1,
        .row_lines = lines,
        .row_bytes = x->B.ld * size,
    };
}

/* What is packed after B's block at (k, n). */
static lv_bf16_ahead wanted_next(const lv_gemm_args *x, int64_t k, int64_t n, int64_t n_end)
{
    if (k + block_k(x) < x->K) {
        return rows_of_b(x, k + block_k(x), n, n_end);
    }
    return n + BLOCK_N < n_end ? rows_of_b(x, 0, n + BLOCK_N, n_end) : (lv_bf16_ahead){0};
}

/* Rows [m, m+M), and the block of columns at n, of C. */
static void multiply_columns(const lv_gemm_args *x, const blocks *s, int64_t m, int64_t M,
                             int64_t n, int64_t n_end)
{
    int64_t N = least(n_end - n, BLOCK_N);
    bool place = in_place(x);
    lv_real *c = place ? (lv_real *)x->C + m * x->ldc + n : s->c;
    int64_t ldc = place ? x->ldc : N;
    bool add = place && x->add;
    int64_t k = 0;
    do {
        int64_t K = least(x->K - k, block_k(x));
        lv_bf16_ahead ahead = wanted_next(x, k, n, n_end);
        lv_bf16_pack_b(s->b, &x->B, k, K, n, N);
        for (int64_t i = 0; i < M; i += BLOCK_M) {
            a_rows a = rows_of_a(x, s, m, M, i, k, K);
            lv_bf16_multiply_ahead(c + i * ldc, ldc, add, a.at, a.ld, s->b, least(M - i, BLOCK_M),
                                   N, K, &ahead);
        }
        add = true;
        k += K;
    } while (k < x->K);
    if (!place) {
        finish(x, s->c, m, M, n, N);
    }
}

/* One row times weights that lie row by row, as in decoding: they are read once, in place. */
static bool is_dots(const lv_gemm_args *x)
{
    return x->M == 1 && !x->A.transposed && x->B.transposed && x->B.dtype == LV_BF16;
}

static void multiply_dots(const lv_gemm_args *x, lv_range columns)
{
    enum { PIECE_N = 256, PIECE_K = 16384 };
    lv_real *sums = lv_gemm_scratch((PIECE_N + PIECE_K) * sizeof *sums), *wide = sums + PIECE_N;
    for (int64_t n = columns.begin; n < columns.end; n += PIECE_N) {
        int64_t N = least(columns.end - n, PIECE_N);
        memset(sums, 0, (size_t)N * sizeof *sums);
        for (int64_t k = 0; k < x->K; k += PIECE_K) {
            int64_t K = least(x->K - k, PIECE_K);
            lv_convert_to_real(wide, lv_element_const(x->A.data, LV_BF16, k), LV_BF16, K);
            lv_vector()->bf16_dot_rows(
                sums, wide, lv_element_const(x->B.data, LV_BF16, n * x->B.ld + k), x->B.ld, N, K);
        }
        finish(x, sums, 0, 1, n, N);
    }
}

void lv_bf16_gemm(const lv_gemm_args *x, lv_range m, lv_range n)
{
    if (is_dots(x)) {
        multiply_dots(x, n);
        return;
    }
    int64_t rows = chunk_rows(x, m.end - m.begin);
    blocks s = blocks_for(x, rows);
    for (int64_t i = m.begin; i < m.end; i += rows) {
        int64_t M = least(m.end - i, rows);
        pack_chunk(x, &s, i, M);
        for (int64_t j = n.begin; j < n.end; j += BLOCK_N) {
            multiply_columns(x, &s, i, M, j, n.end);
        }
    }
}
