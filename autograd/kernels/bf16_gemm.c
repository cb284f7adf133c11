/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread's part of a bf16 product: blocks of C, each summed over blocks of depth that are packed
 * on the way. 64 columns of B stay in the L2 cache while the rows of A stream past them; an A that
 * lies as if it were packed is read where it is.
 */
#include "autograd/kernels/bf16_kernels.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/gemm_scratch.h"
#include "autograd/kernels/vector.h"

#include <string.h>

enum { BLOCK_M = 512, BLOCK_N = 256, BLOCK_K = 1024, A_COUNT = BLOCK_M * BLOCK_K };
enum { B_COUNT = BLOCK_N * BLOCK_K, FEW_ROWS = 128 };

typedef struct {
    uint16_t a[A_COUNT], b[B_COUNT];
    lv_real c[BLOCK_M * BLOCK_N];
} blocks;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Sums that need nothing added and no rounding are formed where they belong. */
static bool in_place(const lv_gemm_args *x)
{
    return x->C_dtype == LV_F32 && !x->bias && !x->residual;
}

static void finish(const lv_gemm_args *x, const lv_real *sums, int64_t m, int64_t M, int64_t n,
                   int64_t N)
{
    enum { AHEAD = 4, LINE_BYTES = 64 };
    const lv_vector_kernels *vector = lv_vector();
    int64_t bytes = N * (int64_t)lv_dtype_bytes(x->C_dtype);
    for (int64_t i = 0; i < M; i++) {
        int64_t at = (m + i) * x->ldc + n;
        if (i + AHEAD < M) {
            const char *row = lv_element_const(x->C, x->C_dtype, at + AHEAD * x->ldc);
            for (int64_t b = 0; b < bytes; b += LINE_BYTES) {
                __builtin_prefetch(row + b, 1);
            }
        }
        vector->gemm_finish(lv_element(x->C, x->C_dtype, at), x->C_dtype, x->add, sums + i * N,
                            x->bias ? x->bias + n : NULL,
                            x->residual ? lv_element_const(x->residual, x->C_dtype, at) : NULL, N);
    }
}

/* A block of a product: rows m, columns n of C. */
typedef struct {
    int64_t m, M, n, N;
} place;

typedef struct {
    const uint16_t *at;
    int64_t ld;
    bool lies, whole; /* in memory as if it were packed; packed for all of the depth */
} packed_a;

/* A for the block's rows: where it lies if the kernels can read it there, or packed whole if that
 * is small, or to be packed a block of depth at a time. */
static packed_a a_of(const lv_gemm_args *x, const blocks *s, const place *at)
{
    int64_t all = lv_bf16_depth(x->K);
    if (!x->A.transposed && x->K == all) {
        return (packed_a){lv_element_const(x->A.data, LV_BF16, at->m * x->A.ld), x->A.ld, true,
                          false};
    }
    return (packed_a){s->a, all, false, at->M * all <= A_COUNT};
}

/* Where B's block at (k, n) lies. */
static lv_bf16_ahead rows_of_b(const lv_gemm_args *x, int64_t k, int64_t n, int64_t n_end)
{
    enum { LINE_BYTES = 64 };
    int64_t size = (int64_t)lv_dtype_bytes(x->B.dtype);
    int64_t K = least(x->K - k, BLOCK_K), N = least(n_end - n, BLOCK_N);
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

static lv_bf16_ahead wanted_next(const lv_gemm_args *x, lv_range m, lv_range n, const place *at,
                                 int64_t k)
{
    if (k + BLOCK_K < x->K) {
        return rows_of_b(x, k + BLOCK_K, at->n, n.end);
    }
    if (at->m + at->M < m.end && x->K > BLOCK_K) {
        return rows_of_b(x, 0, at->n, n.end);
    }
    if (at->n + at->N < n.end) {
        return rows_of_b(x, 0, at->n + at->N, n.end);
    }
    return (lv_bf16_ahead){0};
}

static void multiply_block(const lv_gemm_args *x, blocks *s, lv_range m, lv_range n,
                           const place *at)
{
    bool in_c = in_place(x);
    lv_real *c = in_c ? (lv_real *)x->C + at->m * x->ldc + at->n : s->c;
    int64_t ldc = in_c ? x->ldc : at->N;
    bool add = in_c && x->add;
    packed_a a = a_of(x, s, at);
    if (a.whole && (at->n == n.begin || at->M < m.end - m.begin)) {
        lv_bf16_pack_rows(s->a, a.ld, &x->A, at->m, at->M, 0, x->K);
    }
    int64_t k = 0;
    do {
        int64_t K = least(x->K - k, BLOCK_K);
        if (!a.lies && !a.whole) {
            a.ld = lv_bf16_depth(K);
            lv_bf16_pack_a(s->a, &x->A, at->m, at->M, k, K);
        }
        if (at->m == m.begin || x->K > BLOCK_K) {
            lv_bf16_pack_b(s->b, &x->B, k, K, at->n, at->N);
        }
        lv_bf16_ahead ahead = wanted_next(x, m, n, at, k);
        lv_bf16_multiply_ahead(c, ldc, add, a.lies || a.whole ? a.at + k : a.at, a.ld, s->b, at->M,
                               at->N, K, &ahead);
        add = true;
        k += K;
    } while (k < x->K);
    if (!in_c) {
        finish(x, s->c, at->m, at->M, at->n, at->N);
    }
}

/* One row times weights that lie row by row, as in decoding: they are read once, in place. */
static bool is_dots(const lv_gemm_args *x)
{
    return x->M == 1 && !x->A.transposed && x->B.transposed && x->B.dtype == LV_BF16;
}

static void multiply_dots(const lv_gemm_args *x, blocks *s, lv_range columns)
{
    enum { PIECE_N = 256, PIECE_K = BLOCK_M * BLOCK_N - PIECE_N };
    lv_real *sums = s->c, *wide = s->c + PIECE_N;
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

/* A few rows times weights that lie row by row, as in forward passes: C^T = B^T A^T. What is packed
 * is A^T; the weights lie as a packed A does, and each is read once. */
static bool is_few_rows(const lv_gemm_args *x)
{
    return x->M <= FEW_ROWS && x->M < x->N && x->B.transposed && x->B.dtype == LV_BF16 &&
           x->K > 0 && x->K % LV_BF16_DEPTH == 0;
}

static void multiply_few_rows(const lv_gemm_args *x, blocks *s, lv_range m, lv_range n)
{
    lv_matrix rows = x->A;
    rows.transposed = !rows.transposed;
    int64_t M = m.end - m.begin;
    int64_t columns = (M + LV_BF16_COLUMNS - 1) / LV_BF16_COLUMNS * LV_BF16_COLUMNS;
    bool all = columns * x->K <= B_COUNT; /* then A^T is packed once */
    lv_real *sums = s->c + FEW_ROWS * BLOCK_N;
    for (int64_t j = n.begin; j < n.end; j += BLOCK_N) {
        const place at = {m.begin, M, j, least(n.end - j, BLOCK_N)};
        for (int64_t k = 0; k < x->K; k += BLOCK_K) {
            int64_t K = least(x->K - k, BLOCK_K);
            uint16_t *b = all ? s->b + columns * k : s->b;
            if (j == n.begin || !all) {
                lv_bf16_pack_b(b, &rows, k, K, m.begin, M);
            }
            lv_bf16_ahead ahead = wanted_next(x, m, n, &at, k);
            lv_bf16_multiply_ahead(s->c, M, k > 0,
                                   lv_element_const(x->B.data, LV_BF16, j * x->B.ld + k), x->B.ld,
                                   b, at.N, M, K, &ahead);
        }
        lv_vector()->transpose(sums, at.N, s->c, M, at.N, M);
        finish(x, sums, m.begin, M, j, at.N);
    }
}

void lv_bf16_gemm(const lv_gemm_args *x, lv_range m, lv_range n)
{
    blocks *s = lv_gemm_scratch(sizeof *s);
    if (is_dots(x)) {
        multiply_dots(x, s, n);
        return;
    }
    if (is_few_rows(x)) {
        multiply_few_rows(x, s, m, n);
        return;
    }
    for (int64_t j = n.begin; j < n.end; j += BLOCK_N) {
        for (int64_t i = m.begin; i < m.end; i += BLOCK_M) {
            const place at = {i, least(m.end - i, BLOCK_M), j, least(n.end - j, BLOCK_N)};
            multiply_block(x, s, m, n, &at);
        }
    }
}
