/* SPDX-License-Identifier: Apache-2.0
 *
 * attention: per sequence and head, s = scale q k^T, p = softmax(s), o = p v, in tiles of queries
 * and keys. A row's maximum m and sum l are kept up as its key tiles come by, o being scaled by
 * exp(m_old - m_new); at the end o /= l, and lse = m + log l is kept.
 *   with p = exp(s - lse) formed again and D_i = dO_i . O_i:
 *   dv += p^T dO,  dp = dO v^T,  ds = p (dp - D) scale,  dq += ds k,  dk += ds^T q
 *
 * A heads, G key/value heads, D head size; rows of q and o are A*D long, of k and v G*D. */
#include "autograd/error.h"
#include "autograd/kernels/exp.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/rows.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

#include <omp.h>
#include <string.h>
#include <tgmath.h>

enum {
    TILE_QUERIES = 64,
    TILE_KEYS = 128,
    TILE_SCORES =
        TILE_QUERIES * TILE_KEYS, /* fewer queries (decoding: one) leave room for more keys */
};

typedef struct {
    lv_attention_layout layout;
    lv_real *lse; /* (A, Tq) */
} saved_attention;

/* Rows [row, row + n) of the queries, of sequence b. */
typedef struct {
    int64_t b, row, n;
} query_tile;

/* Where one head of q, k, v lies; the same for o, dq, dk, dv. */
typedef struct {
    int64_t q_ld, k_ld;         /* row distances */
    int64_t q_column, k_column; /* first column of the head */
} head;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static head head_of(const lv_attention_layout *l, int64_t a)
{
    return (head){.q_ld = l->n_heads * l->head_dim,
                  .k_ld = l->n_kv_heads * l->head_dim,
                  .q_column = a * l->head_dim,
                  .k_column = a / (l->n_heads / l->n_kv_heads) * l->head_dim};
}

static int64_t tile_keys(int64_t n_queries)
{
    return n_queries >= TILE_QUERIES ? TILE_KEYS : TILE_SCORES / n_queries;
}

/* The keys that query row sees are [k_start[b], last_key): its sequence's, up to its own. */
static int64_t last_key(const lv_attention_layout *l, int64_t b, int64_t row)
{
    return l->causal ? l->k_start[b + 1] - (l->q_start[b + 1] - 1 - row) : l->k_start[b + 1];
}

/* s (n, n_keys) = scale q k^T, -infinity where the query does not see the key. */
static void scores(lv_real *s, const lv_attention_layout *l, const head *h, const query_tile *tile,
                   int64_t key, int64_t n_keys, const lv_real *q, const lv_real *k)
{
    lv_gemm_serial(false, true, tile->n, n_keys, l->head_dim, (lv_real)l->scale,
                   q + tile->row * h->q_ld + h->q_column, h->q_ld, k + key * h->k_ld + h->k_column,
                   h->k_ld, 0, s, n_keys);
    for (int64_t i = 0; i < tile->n; i++) {
        int64_t seen = last_key(l, tile->b, tile->row + i) - key;
        for (int64_t j = seen < 0 ? 0 : seen; j < n_keys; j++) {
            s[i * n_keys + j] = -INFINITY;
        }
    }
}

static void forward_tile(lv_real *o, lv_real *lse, lv_real *s, const lv_attention_layout *l,
                         int64_t a, const query_tile *tile, const lv_real *q, const lv_real *k,
                         const lv_real *v)
{
    head h = head_of(l, a);
    lv_real max[TILE_QUERIES], sum[TILE_QUERIES];
    for (int64_t i = 0; i < tile->n; i++) {
        max[i] = -INFINITY;
        sum[i] = 0;
        memset(o + (tile->row + i) * h.q_ld + h.q_column, 0, (size_t)l->head_dim * sizeof *o);
    }
    int64_t end = last_key(l, tile->b, tile->row + tile->n - 1);
    int64_t step = tile_keys(tile->n);
    for (int64_t key = l->k_start[tile->b]; key < end; key += step) {
        int64_t n_keys = least(step, end - key);
        scores(s, l, &h, tile, key, n_keys, q, k);
        for (int64_t i = 0; i < tile->n; i++) {
            lv_real both[] = {max[i], lv_row_max(s + i * n_keys, n_keys)};
            lv_real new_max = lv_row_max(both, 2);
            lv_real keep = max[i] == -INFINITY ? 0 : lv_exp(max[i] - new_max);
            sum[i] = sum[i] * keep + lv_row_exp(s + i * n_keys, new_max, n_keys);
            max[i] = new_max;
            lv_row_scale(o + (tile->row + i) * h.q_ld + h.q_column, keep, l->head_dim);
        }
        lv_gemm_serial(false, false, tile->n, l->head_dim, n_keys, 1, s, n_keys,
                       v + key * h.k_ld + h.k_column, h.k_ld, 1,
                       o + tile->row * h.q_ld + h.q_column, h.q_ld);
    }
    for (int64_t i = 0; i < tile->n; i++) {
        lv_row_scale(o + (tile->row + i) * h.q_ld + h.q_column, 1 / sum[i], l->head_dim);
        if (lse) {
            lse[tile->row + i] = max[i] + log(sum[i]);
        }
    }
}

static void check_layout(const lv_attention_layout *l, const lv_tensor *q, const lv_tensor *k,
                         const lv_tensor *v)
{
    LV_CHECK(l->n_heads > 0 && l->n_kv_heads > 0 && l->n_heads % l->n_kv_heads == 0 &&
                 l->head_dim > 0,
             "attention: %lld heads of %lld over %lld key/value heads", (long long)l->n_heads,
             (long long)l->head_dim, (long long)l->n_kv_heads);
    lv_op_expect("attention", "q", q, 2, (int64_t[]){-1, l->n_heads * l->head_dim});
    lv_op_expect("attention", "k", k, 2, (int64_t[]){-1, l->n_kv_heads * l->head_dim});
    lv_op_expect_like("attention", "v", v, k);
    int64_t B = l->n_sequences;
    LV_CHECK(l->q_start[0] == 0 && l->q_start[B] == q->shape[0] && l->k_start[0] >= 0 &&
                 l->k_start[B] <= k->shape[0],
             "attention: sequences do not cover the %lld queries, or keys are beyond %lld",
             (long long)q->shape[0], (long long)k->shape[0]);
    for (int64_t b = 0; b < B; b++) {
        int64_t Lq = l->q_start[b + 1] - l->q_start[b];
        int64_t Lk = l->k_start[b + 1] - l->k_start[b];
        LV_CHECK(Lq >= 0 && Lk > 0 && (!l->causal || Lq <= Lk),
                 "attention: sequence %lld has %lld queries and %lld keys", (long long)b,
                 (long long)Lq, (long long)Lk);
    }
}

/* The query tiles of all sequences, in the step arena. */
static query_tile *tiles_of(lv_tape *tape, const lv_attention_layout *l, int64_t *n_tiles)
{
    int64_t most = l->q_start[l->n_sequences] / TILE_QUERIES + l->n_sequences;
    query_tile *tiles = lv_tape_alloc(tape, (size_t)most * sizeof *tiles);
    int64_t n = 0;
    for (int64_t b = 0; b < l->n_sequences; b++) {
        int64_t end = l->q_start[b + 1];
        for (int64_t row = l->q_start[b]; row < end; row += TILE_QUERIES) {
            tiles[n++] = (query_tile){b, row, least(TILE_QUERIES, end - row)};
        }
    }
    *n_tiles = n;
    return tiles;
}

lv_tensor *lv_attention(lv_tape *tape, lv_tensor *q, lv_tensor *k, lv_tensor *v,
                        const lv_attention_layout *layout)
{
    check_layout(layout, q, k, v);
    lv_tensor *in[] = {q, k, v};
    int64_t Tq = q->shape[0];
    int64_t A = layout->n_heads;
    lv_tensor *out = lv_tape_tensor(tape, LV_F32, 2, q->shape);
    saved_attention *saved = lv_tape_alloc(tape, sizeof *saved);
    *saved = (saved_attention){.layout = *layout};
    if (lv_tape_wants(tape, 3, in)) {
        saved->lse = lv_tape_alloc(tape, (size_t)(A * Tq) * sizeof(lv_real));
    }
    size_t mark = lv_tape_mark(tape);
    int64_t n_tiles;
    const query_tile *tiles = tiles_of(tape, layout, &n_tiles);
    lv_real *scratch =
        lv_tape_alloc(tape, (size_t)omp_get_max_threads() * TILE_SCORES * sizeof *scratch);
#pragma omp parallel for schedule(dynamic) /* a unit's result does not depend on its thread */
    for (int64_t unit = 0; unit < n_tiles * A; unit++) {
        int64_t a = unit % A;
        forward_tile(out->data, saved->lse ? saved->lse + a * Tq : NULL,
                     scratch + omp_get_thread_num() * TILE_SCORES, layout, a, &tiles[unit / A],
                     q->data, k->data, v->data);
    }
    lv_tape_release(tape, mark);
    lv_tape_record(tape, &lv_op_attention, out, 3, in, saved);
    return out;
}

/* Data and gradients, the latter NULL where none is required. */
typedef struct {
    const lv_attention_layout *layout;
    const lv_real *q, *k, *v, *o, *dout, *lse;
    lv_real *dq, *dk, *dv;
    int64_t Tq;
} backward_args;

/* Query tile against key tile of one head; p and dp are scratch of TILE_SCORES each. */
static void backward_tile(const backward_args *x, const head *h, const query_tile *tile,
                          int64_t key, int64_t n_keys, const lv_real *lse, const lv_real *D_i,
                          lv_real *p, lv_real *dp)
{
    int64_t D = x->layout->head_dim;
    int64_t n = tile->n;
    int64_t q_at = tile->row * h->q_ld + h->q_column;
    int64_t k_at = key * h->k_ld + h->k_column;
    /* p = softmax(s) */
    scores(p, x->layout, h, tile, key, n_keys, x->q, x->k);
    for (int64_t i = 0; i < n; i++) {
        lv_row_exp(p + i * n_keys, lse[i], n_keys);
    }
    if (x->dv) { /* o = p v */
        lv_gemm_serial(true, false, n_keys, D, n, 1, p, n_keys, x->dout + q_at, h->q_ld, 1,
                       x->dv + k_at, h->k_ld);
    }
    if (!x->dq && !x->dk) {
        return;
    }
    lv_gemm_serial(false, true, n, n_keys, D, 1, x->dout + q_at, h->q_ld, x->v + k_at, h->k_ld, 0,
                   dp, n_keys);
    for (int64_t i = 0; i < n; i++) { /* p = softmax(s), s = scale q k^T */
        for (int64_t j = i * n_keys; j < (i + 1) * n_keys; j++) {
            dp[j] = p[j] * (dp[j] - D_i[i]) * (lv_real)x->layout->scale;
        }
    }
    if (x->dq) {
        lv_gemm_serial(false, false, n, D, n_keys, 1, dp, n_keys, x->k + k_at, h->k_ld, 1,
                       x->dq + q_at, h->q_ld);
    }
    if (x->dk) {
        lv_gemm_serial(true, false, n_keys, D, n, 1, dp, n_keys, x->q + q_at, h->q_ld, 1,
                       x->dk + k_at, h->k_ld);
    }
}

/* All heads of one key/value head, in one sequence. */
static void backward_unit(const backward_args *x, int64_t b, int64_t g, lv_real *p, lv_real *dp)
{
    const lv_attention_layout *l = x->layout;
    int64_t heads = l->n_heads / l->n_kv_heads;
    lv_real D_i[TILE_QUERIES];
    for (int64_t a = g * heads; a < (g + 1) * heads; a++) {
        head h = head_of(l, a);
        for (int64_t row = l->q_start[b]; row < l->q_start[b + 1]; row += TILE_QUERIES) {
            query_tile tile = {b, row, least(TILE_QUERIES, l->q_start[b + 1] - row)};
            for (int64_t i = 0; i < tile.n; i++) {
                int64_t at = (row + i) * h.q_ld + h.q_column;
                D_i[i] = lv_row_dot(x->dout + at, x->o + at, l->head_dim);
            }
            int64_t end = last_key(l, b, row + tile.n - 1);
            int64_t step = tile_keys(tile.n);
            for (int64_t key = l->k_start[b]; key < end; key += step) {
                backward_tile(x, &h, &tile, key, least(step, end - key), x->lse + a * x->Tq + row,
                              D_i, p, dp);
            }
        }
    }
}

static void backward(lv_tape *tape, const lv_node *node)
{
    const saved_attention *saved = node->saved;
    const lv_attention_layout *l = &saved->layout;
    lv_tensor *q = node->in[0];
    lv_tensor *k = node->in[1];
    lv_tensor *v = node->in[2];
    backward_args x = {.layout = l,
                       .q = q->data,
                       .k = k->data,
                       .v = v->data,
                       .o = node->out->data,
                       .dout = node->out->grad,
                       .lse = saved->lse,
                       .dq = q->requires_grad ? lv_tape_grad_cleared(tape, q).data : NULL,
                       .dk = k->requires_grad ? lv_tape_grad_cleared(tape, k).data : NULL,
                       .dv = v->requires_grad ? lv_tape_grad_cleared(tape, v).data : NULL,
                       .Tq = q->shape[0]};
    size_t mark = lv_tape_mark(tape);
    size_t threads = (size_t)omp_get_max_threads();
    lv_real *scratch = lv_tape_alloc(tape, threads * 2 * TILE_SCORES * sizeof *scratch);
    int64_t G = l->n_kv_heads;
#pragma omp parallel for schedule(dynamic) /* a unit adds to rows and columns of its own */
    for (int64_t unit = 0; unit < l->n_sequences * G; unit++) {
        lv_real *p = scratch + (int64_t)omp_get_thread_num() * 2 * TILE_SCORES;
        backward_unit(&x, unit / G, unit % G, p, p + TILE_SCORES);
    }
    lv_tape_release(tape, mark);
}

const lv_op lv_op_attention = {"attention", backward};
