/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread's part of a bf16 product: blocks of C, each summed over blocks of depth that are packed
 * on the way; a block's operands and its sums lie in the L2 cache.
 */
#include "autograd/kernels/bf16_kernels.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/gemm_scratch.h"
#include "autograd/kernels/vector.h"

#include <string.h>

enum { BLOCK_M = 256, BLOCK_N = 256, BLOCK_K = 512 };

typedef struct {
    uint16_t a[BLOCK_M * BLOCK_K], b[BLOCK_N * BLOCK_K];
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
    const lv_vector_kernels *vector = lv_vector();
    for (int64_t i = 0; i < M; i++) {
        int64_t at = (m + i) * x->ldc + n;
        vector->gemm_finish(lv_element(x->C, x->C_dtype, at), x->C_dtype, x->add, sums + i * N,
                            x->bias ? x->bias + n : NULL,
                            x->residual ? lv_element_const(x->residual, x->C_dtype, at) : NULL, N);
    }
}

/* C's block at (m, n); b still holds the last depth of the columns at n if there is one alone. */
static void multiply_block(const lv_gemm_args *x, blocks *s, int64_t m, int64_t M, int64_t n,
                           int64_t N, bool b_is_packed)
{
    bool place = in_place(x);
    lv_real *c = place ? (lv_real *)x->C + m * x->ldc + n : s->c;
    int64_t ldc = place ? x->ldc : N;
    bool add = place && x->add;
    int64_t k = 0;
    do {
        int64_t K = least(x->K - k, BLOCK_K);
        lv_bf16_pack_a(s->a, &x->A, m, M, k, K);
        if (!b_is_packed) {
            lv_bf16_pack_b(s->b, &x->B, k, K, n, N);
        }
        lv_bf16_multiply(c, ldc, add, s->a, lv_bf16_depth(K), s->b, M, N, K);
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

void lv_bf16_gemm(const lv_gemm_args *x, lv_range m, lv_range n)
{
    blocks *s = lv_gemm_scratch(sizeof *s);
    if (is_dots(x)) {
        multiply_dots(x, s, n);
        return;
    }
    for (int64_t j = n.begin; j < n.end; j += BLOCK_N) {
        for (int64_t i = m.begin; i < m.end; i += BLOCK_M) {
            multiply_block(x, s, i, least(m.end - i, BLOCK_M), j, least(n.end - j, BLOCK_N),
                           i > m.begin && x->K <= BLOCK_K);
        }
    }
}
