/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of floats: tiles multiplied by the single-threaded BLAS, where they lie. */
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/vector.h"
#include "autograd/ops/attention.h"

#include <math.h>
#include <string.h>

enum {
    QUERIES = LV_ATTENTION_QUERIES,
    KEYS = LV_ATTENTION_KEYS,
    SCORES = QUERIES * KEYS, /* fewer queries (decoding: one) leave room for more keys */
};

static int64_t scratch_bytes(const lv_attention_layout *l, int64_t keys, int64_t accumulated)
{
    (void)l, (void)keys, (void)accumulated;
    return 2 * SCORES * (int64_t)sizeof(lv_real);
}

static void clear_rows(lv_real *x, int64_t ld, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i++) {
        memset(x + i * ld, 0, (size_t)columns * sizeof *x);
    }
}

static void forward_tile(const lv_attention_args *x, const lv_attention_unit *unit,
                         const lv_attention_tile *tile, lv_real *s)
{
    const lv_attention_layout *l = x->layout;
    const lv_vector_kernels *vector = lv_vector();
    int64_t D = l->head_dim, q_ld = l->n_heads * D, k_ld = l->n_kv_heads * D;
    lv_real *o = (lv_real *)x->o + tile->at;
    lv_real max[QUERIES], sum[QUERIES];
    for (int64_t i = 0; i < tile->n; i++) {
        max[i] = -INFINITY;
        sum[i] = 0;
    }
    clear_rows(o, q_ld, tile->n, D);
    int64_t step = tile->n >= QUERIES ? KEYS : SCORES / tile->n;
    for (int64_t key = tile->keys.begin; key < tile->keys.end; key += step) {
        int64_t n_keys = lv_min_i64(step, tile->keys.end - key);
        int64_t k_at = lv_attention_k_at(l, unit, key);
        const lv_range *visible;
        if (!lv_attention_sees(&visible, x, tile, key, n_keys)) {
            continue;
        }
        lv_gemm_serial(false, true, tile->n, n_keys, D, 1, (const lv_real *)x->q + tile->at, q_ld,
                       (const lv_real *)x->k + k_at, k_ld, 0, s, n_keys);
        if (l->softcap > 0) {
            vector->softcap_tile(s, NULL, n_keys, NULL, (lv_real)l->scale, (lv_real)l->softcap,
                                 tile->n, n_keys);
        }
        vector->softmax_tile(s, o, max, sum, n_keys, q_ld, lv_attention_scale_left(l), tile->n,
                             n_keys, visible, key, D);
        lv_gemm_serial(false, false, tile->n, D, n_keys, 1, s, n_keys, (const lv_real *)x->v + k_at,
                       k_ld, 1, o, q_ld);
    }
    vector->softmax_finish(o, q_ld, LV_F32, x->lse ? x->lse + tile->a * x->Tq + tile->row : NULL, o,
                           q_ld, max, sum, tile->n, D);
    lv_attention_clear_empty(x, tile, LV_F32);
}

static void forward(const lv_attention_args *x, const lv_attention_unit *unit, void *scratch)
{
    for (int64_t t = unit->tasks.begin; t < unit->tasks.end; t++) {
        lv_attention_tile tile = lv_attention_tile_of(x, unit, t);
        forward_tile(x, unit, &tile, scratch);
    }
}

/* Query tile against key tile; p and dp are scratch of SCORES each. */
static void backward_tile(const lv_attention_args *x, const lv_attention_unit *unit,
                          const lv_attention_tile *tile, int64_t key, int64_t n_keys,
                          const lv_range *visible, const lv_real *delta, lv_real *p, lv_real *dp)
{
    const lv_attention_layout *l = x->layout;
    int64_t D = l->head_dim, q_ld = l->n_heads * D, k_ld = l->n_kv_heads * D;
    const lv_vector_kernels *vector = lv_vector();
    int64_t n = tile->n;
    int64_t k_at = lv_attention_k_at(l, unit, key);
    const lv_real *q = (const lv_real *)x->q + tile->at, *k = (const lv_real *)x->k + k_at;
    const lv_real *dout = (const lv_real *)x->dout + tile->at;
    lv_real *dq = unit->dq && x->dq.data ? (lv_real *)x->dq.data + tile->at : NULL;
    lv_real *dk = unit->dkv && x->dk.data ? (lv_real *)x->dk.data + k_at : NULL;
    lv_real *dv = unit->dkv && x->dv.data ? (lv_real *)x->dv.data + k_at : NULL;
    lv_gemm_serial(false, true, n, n_keys, D, 1, q, q_ld, k, k_ld, 0, p, n_keys);
    if (dq || dk) {
        lv_gemm_serial(false, true, n, n_keys, D, 1, dout, q_ld, (const lv_real *)x->v + k_at, k_ld,
                       0, dp, n_keys);
    }
    dp = dq || dk ? dp : NULL;
    if (l->softcap > 0) {
        vector->softcap_tile(p, dp, n_keys, delta, (lv_real)l->scale, (lv_real)l->softcap, n,
                             n_keys);
        delta = lv_attention_zeros;
    }
    vector->softmax_tile_backward(p, dp, n_keys, x->lse + tile->a * x->Tq + tile->row, delta,
                                  lv_attention_scale_left(l), n, n_keys, visible, key);
    if (dv) { /* o = p v */
        lv_gemm_serial(true, false, n_keys, D, n, 1, p, n_keys, dout, q_ld, 1, dv, k_ld);
    }
    if (dq) { /* s = scale q k^T */
        lv_gemm_serial(false, false, n, D, n_keys, 1, dp, n_keys, k, k_ld, 1, dq, q_ld);
    }
    if (dk) { /* s = scale q k^T */
        lv_gemm_serial(true, false, n_keys, D, n, 1, dp, n_keys, q, q_ld, 1, dk, k_ld);
    }
}

/* A gradient that has not begun. */
static void begin(lv_grad grad, int64_t at, int64_t ld, int64_t rows, int64_t D)
{
    if (grad.data && !grad.add) {
        clear_rows((lv_real *)grad.data + at, ld, rows, D);
    }
}

static void backward(const lv_attention_args *x, const lv_attention_unit *unit, void *scratch)
{
    const lv_attention_layout *l = x->layout;
    int64_t D = l->head_dim, q_ld = l->n_heads * D, k_ld = l->n_kv_heads * D;
    lv_real delta[QUERIES], *p = scratch, *dp = p + SCORES;
    if (unit->dkv) {
        int64_t at = lv_attention_k_at(l, unit, unit->keys.begin);
        begin(x->dk, at, k_ld, unit->keys.end - unit->keys.begin, D);
        begin(x->dv, at, k_ld, unit->keys.end - unit->keys.begin, D);
    }
    for (int64_t t = unit->tasks.begin; t < unit->tasks.end; t++) {
        lv_attention_tile tile = lv_attention_tile_of(x, unit, t);
        if (unit->dq) {
            begin(x->dq, tile.at, q_ld, tile.n, D);
        }
        lv_vector()->row_dots(delta, (const lv_real *)x->dout + tile.at,
                              (const lv_real *)x->o + tile.at, LV_F32, q_ld, tile.n, D);
        for (int64_t key = tile.keys.begin; key < tile.keys.end; key += KEYS) {
            int64_t n_keys = lv_min_i64(KEYS, tile.keys.end - key);
            const lv_range *visible;
            if (lv_attention_sees(&visible, x, &tile, key, n_keys)) {
                backward_tile(x, unit, &tile, key, n_keys, visible, delta, p, dp);
            }
        }
    }
}

const lv_attention_form lv_attention_f32 = {scratch_bytes, forward, backward};
