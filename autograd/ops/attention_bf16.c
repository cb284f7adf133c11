/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of bf16: keys and values of a unit are packed once for all its query tiles and for all
 * heads that share them. Scores, maxima, sums and everything that is added up are f32; p and ds are
 * rounded where they become operands. Packed operands are named by what they are in the product:
 *   s = Q K^T, dp = dO V^T, o += p V, dq += ds K, dv^T += dO^T p, dk^T += Q^T ds */
#include "autograd/kernels/bf16.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/vector.h"
#include "autograd/ops/attention.h"

#include <math.h>
#include <string.h>

enum {
    QUERIES = LV_ATTENTION_QUERIES,
    KEYS = LV_ATTENTION_KEYS,
    FEW_QUERIES = 4, /* of a group: not worth packing its keys */
};

/* Of one thread. */
typedef struct {
    uint16_t *kt, *vt; /* (D, keys) */
    uint16_t *k, *v;   /* (KEYS, D), one after another */
    uint16_t *q, *dout;
    uint16_t *qt, *dout_t; /* (D, QUERIES) */
    lv_real *s, *dp;       /* (QUERIES, KEYS) */
    uint16_t *p, *ds;      /* the same as packed A */
    uint16_t *p_b, *ds_b;  /* and as packed B */
    lv_real *o;            /* (QUERIES, D), and dq */
    lv_real *dk_t, *dv_t;  /* (D, KEYS), one after another */
} workspace;

static int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* The next bytes of a thread's scratch; NULL while they are only counted. */
static void *take(char *scratch, int64_t *used, int64_t count, int64_t element_bytes)
{
    int64_t at = *used;
    *used += round_up(count * element_bytes, 64);
    return scratch ? scratch + at : NULL;
}

static int64_t workspace_cut(workspace *w, char *scratch, int64_t D, int64_t keys,
                             int64_t accumulated)
{
    enum { HALF = sizeof(uint16_t), REAL = sizeof(lv_real) };
    int64_t used = 0;
    int64_t depth = lv_bf16_depth(D);
    int64_t tiles = (keys + KEYS - 1) / KEYS;
    int64_t by_depth = lv_bf16_b_count(D, tiles * KEYS);
    int64_t by_keys = tiles * lv_bf16_b_count(KEYS, D);
    bool backward = accumulated > 0;
    w->kt = take(scratch, &used, by_depth, HALF);
    w->q = take(scratch, &used, QUERIES * depth, HALF);
    w->s = take(scratch, &used, QUERIES * KEYS, REAL);
    w->o = take(scratch, &used, QUERIES * D, REAL);
    if (!backward) {
        w->v = take(scratch, &used, by_keys, HALF);
        w->p = take(scratch, &used, QUERIES * KEYS, HALF);
        return used;
    }
    int64_t sums = round_up(accumulated, KEYS) * D;
    w->vt = take(scratch, &used, by_depth, HALF);
    w->k = take(scratch, &used, by_keys, HALF);
    w->dout = take(scratch, &used, QUERIES * depth, HALF);
    w->qt = take(scratch, &used, D * QUERIES, HALF);
    w->dout_t = take(scratch, &used, D * QUERIES, HALF);
    w->dp = take(scratch, &used, QUERIES * KEYS, REAL);
    w->ds = take(scratch, &used, QUERIES * KEYS, HALF);
    w->p_b = take(scratch, &used, QUERIES * KEYS, HALF);
    w->ds_b = take(scratch, &used, QUERIES * KEYS, HALF);
    w->dk_t = take(scratch, &used, sums, REAL);
    w->dv_t = take(scratch, &used, sums, REAL);
    return used;
}

static int64_t scratch_bytes(const lv_attention_layout *l, int64_t keys, int64_t accumulated)
{
    workspace unused = {0};
    return workspace_cut(&unused, NULL, l->head_dim, keys, accumulated);
}

/* What a unit needs at every tile. */
typedef struct {
    const lv_attention_args *x;
    const lv_attention_unit *unit;
    const lv_vector_kernels *vector;
    workspace w;
    int64_t D, depth;   /* head size, padded as a depth */
    int64_t q_ld, k_ld; /* row distances */
    int64_t tile_count; /* elements of one packed tile of w.k, w.v */
    int64_t n_keys;     /* of the unit */
    bool dq, dk, dv;    /* wanted of this unit */
} unit_state;

static lv_matrix matrix(const void *x, int64_t at, int64_t ld, bool transposed)
{
    return (lv_matrix){lv_element_const(x, LV_BF16, at), LV_BF16, ld, transposed};
}

static unit_state unit_begin(const lv_attention_args *x, const lv_attention_unit *unit,
                             bool backward, void *scratch)
{
    const lv_attention_layout *l = x->layout;
    int64_t D = l->head_dim;
    int64_t n_keys = unit->keys.end - unit->keys.begin;
    unit_state u = {.x = x,
                    .unit = unit,
                    .vector = lv_vector(),
                    .D = D,
                    .depth = lv_bf16_depth(D),
                    .q_ld = l->n_heads * D,
                    .k_ld = l->n_kv_heads * D,
                    .tile_count = lv_bf16_b_count(KEYS, D),
                    .n_keys = n_keys,
                    .dq = unit->dq && x->dq.data,
                    .dk = unit->dkv && x->dk.data,
                    .dv = unit->dkv && x->dv.data};
    workspace_cut(&u.w, scratch, D, n_keys, !backward ? 0 : unit->dkv ? n_keys : KEYS);
    return u;
}

/* x (keys, D) as (D, keys). */
static void pack_by_depth(uint16_t *to, const unit_state *u, const void *x)
{
    lv_matrix m =
        matrix(x, lv_attention_k_at(u->x->layout, u->unit, u->unit->keys.begin), u->k_ld, true);
    lv_bf16_pack_b(to, &m, 0, u->D, 0, u->n_keys);
}

/* x (keys, D), tile by tile. */
static void pack_by_keys(uint16_t *to, const unit_state *u, const void *x)
{
    lv_matrix m =
        matrix(x, lv_attention_k_at(u->x->layout, u->unit, u->unit->keys.begin), u->k_ld, false);
    for (int64_t key = 0; key < u->n_keys; key += KEYS) {
        lv_bf16_pack_b(to + key / KEYS * u->tile_count, &m, key, lv_min_i64(KEYS, u->n_keys - key),
                       0, u->D);
    }
}

/* Rows of a query tile. */
static void pack_rows(uint16_t *to, const unit_state *u, const lv_attention_tile *tile,
                      const void *x)
{
    lv_matrix m = matrix(x, tile->at, u->q_ld, false);
    lv_bf16_pack_a(to, &m, 0, tile->n, 0, u->D);
}

static void pack_columns(uint16_t *to, const unit_state *u, const lv_attention_tile *tile,
                         const void *x)
{
    lv_matrix m = matrix(x, tile->at, u->q_ld, true);
    lv_bf16_pack_a(to, &m, 0, u->D, 0, tile->n);
}

static lv_real *lse_of(const lv_attention_args *x, const lv_attention_tile *tile)
{
    return x->lse ? x->lse + tile->a * x->Tq + tile->row : NULL;
}

static void forward_tile(const unit_state *u, const lv_attention_tile *tile)
{
    const workspace *w = &u->w;
    const lv_attention_layout *l = u->x->layout;
    lv_real max[QUERIES], sum[QUERIES];
    for (int64_t i = 0; i < tile->n; i++) {
        max[i] = -INFINITY;
        sum[i] = 0;
    }
    memset(w->o, 0, (size_t)(tile->n * u->D) * sizeof *w->o);
    pack_rows(w->q, u, tile, u->x->q);
    for (int64_t key = tile->keys.begin; key < tile->keys.end; key += KEYS) {
        int64_t n_keys = lv_min_i64(KEYS, tile->keys.end - key);
        int64_t n_packed = lv_min_i64(KEYS, u->unit->keys.end - key); /* the depth of o += p V */
        int64_t at = key - u->unit->keys.begin;
        const lv_range *visible;
        if (!lv_attention_sees(&visible, u->x, tile, key, n_keys)) {
            continue;
        }
        lv_bf16_multiply(w->s, KEYS, false, w->q, u->depth, w->kt + at * u->depth, tile->n, n_keys,
                         u->D);
        if (l->softcap > 0) {
            u->vector->softcap_tile(w->s, NULL, KEYS, NULL, (lv_real)l->scale, (lv_real)l->softcap,
                                    tile->n, n_keys);
        }
        u->vector->softmax_tile_packed(w->p, w->o, max, sum, w->s, KEYS, u->D,
                                       lv_attention_scale_left(l), tile->n, n_keys,
                                       lv_bf16_depth(n_packed), visible, key, u->D);
        lv_bf16_multiply(w->o, u->D, true, w->p, KEYS, w->v + at / KEYS * u->tile_count, tile->n,
                         u->D, n_packed);
    }
    void *o = lv_element(u->x->o, LV_BF16, tile->at);
    u->vector->softmax_finish(o, u->q_ld, LV_BF16, lse_of(u->x, tile), w->o, u->D, max, sum,
                              tile->n, u->D);
    lv_attention_clear_empty(u->x, tile, LV_BF16);
}

/* Query by query, reading keys and values where they lie. */
static void forward_few(const unit_state *u, const lv_attention_tile *tile)
{
    const lv_attention_args *x = u->x;
    lv_real *q = u->w.s, *o = u->w.o; /* w.s is not used otherwise */
    const lv_attention_layout *l = x->layout;
    for (int64_t i = 0; i < tile->n; i++) {
        lv_range keys = l->visible[tile->row + i];
        int64_t k_at = lv_attention_k_at(l, u->unit, keys.begin);
        lv_real max = -INFINITY, sum = 0;
        void *to = lv_element(x->o, LV_BF16, tile->at + i * u->q_ld);
        lv_real *lse = lse_of(x, tile);
        lv_convert_to_real(q, lv_element_const(x->q, LV_BF16, tile->at + i * u->q_ld), LV_BF16,
                           u->D);
        memset(o, 0, (size_t)u->D * sizeof *o);
        u->vector->softmax_query(o, &max, &sum, q, lv_element_const(x->k, LV_BF16, k_at),
                                 lv_element_const(x->v, LV_BF16, k_at), u->k_ld, (lv_real)l->scale,
                                 (lv_real)l->softcap, keys.end - keys.begin, u->D);
        u->vector->softmax_finish(to, u->q_ld, LV_BF16, lse ? lse + i : NULL, o, u->D, &max, &sum,
                                  1, u->D);
    }
    lv_attention_clear_empty(x, tile, LV_BF16);
}

static void forward(const lv_attention_args *x, const lv_attention_unit *unit, void *scratch)
{
    unit_state u = unit_begin(x, unit, false, scratch);
    bool few = unit->group->rows.end - unit->group->rows.begin <= FEW_QUERIES;
    if (!few) {
        pack_by_depth(u.w.kt, &u, x->k);
        pack_by_keys(u.w.v, &u, x->v);
    }
    for (int64_t t = unit->tasks.begin; t < unit->tasks.end; t++) {
        lv_attention_tile tile = lv_attention_tile_of(x, unit, t);
        if (few) {
            forward_few(&u, &tile);
        } else {
            forward_tile(&u, &tile);
        }
    }
}

/* The query tile that was packed against n_keys keys from key on. */
static void backward_tile(const unit_state *u, const lv_attention_tile *tile, int64_t key,
                          int64_t n_keys, const lv_range *visible, const lv_real *delta)
{
    const workspace *w = &u->w;
    const lv_attention_layout *l = u->x->layout;
    int64_t n = tile->n, D = u->D, row_depth = lv_bf16_depth(n);
    int64_t at = key - u->unit->keys.begin;
    int64_t n_packed = lv_min_i64(KEYS, u->unit->keys.end - key);
    lv_bf16_multiply(w->s, KEYS, false, w->q, u->depth, w->kt + at * u->depth, n, n_keys, D);
    if (u->dq || u->dk) {
        lv_bf16_multiply(w->dp, KEYS, false, w->dout, u->depth, w->vt + at * u->depth, n, n_keys,
                         D);
    }
    bool keys = u->dk || u->dv, scores = u->dq || u->dk;
    if (l->softcap > 0) {
        u->vector->softcap_tile(w->s, scores ? w->dp : NULL, KEYS, delta, (lv_real)l->scale,
                                (lv_real)l->softcap, n, n_keys);
        delta = lv_attention_zeros;
    }
    u->vector->softmax_tile_backward_packed(keys ? w->p_b : NULL, keys ? w->ds_b : NULL,
                                            u->dq ? w->ds : NULL, w->s, scores ? w->dp : w->s, KEYS,
                                            lse_of(u->x, tile), delta, lv_attention_scale_left(l),
                                            n, n_keys, lv_bf16_depth(n_packed), visible, key);
    if (u->dv) { /* o = p v */
        lv_bf16_multiply(w->dv_t + at * D, KEYS, true, w->dout_t, row_depth, w->p_b, D, n_keys, n);
    }
    if (u->dk) { /* s = scale q k^T */
        lv_bf16_multiply(w->dk_t + at * D, KEYS, true, w->qt, row_depth, w->ds_b, D, n_keys, n);
    }
    if (u->dq) { /* s = scale q k^T */
        lv_bf16_multiply(w->o, D, true, w->ds, KEYS, w->k + at / KEYS * u->tile_count, n, D,
                         n_packed);
    }
}

static void backward_task(const unit_state *u, const lv_attention_tile *tile)
{
    const lv_attention_args *x = u->x;
    const workspace *w = &u->w;
    lv_real delta[QUERIES];
    u->vector->row_dots(delta, lv_element_const(x->dout, LV_BF16, tile->at),
                        lv_element_const(x->o, LV_BF16, tile->at), LV_BF16, u->q_ld, tile->n, u->D);
    pack_rows(w->q, u, tile, x->q);
    pack_rows(w->dout, u, tile, x->dout);
    if (u->dk) {
        pack_columns(w->qt, u, tile, x->q);
    }
    if (u->dv) {
        pack_columns(w->dout_t, u, tile, x->dout);
    }
    if (u->dq) {
        memset(w->o, 0, (size_t)(tile->n * u->D) * sizeof *w->o);
    }
    for (int64_t key = tile->keys.begin; key < tile->keys.end; key += KEYS) {
        int64_t n_keys = lv_min_i64(KEYS, tile->keys.end - key);
        const lv_range *visible;
        if (lv_attention_sees(&visible, x, tile, key, n_keys)) {
            backward_tile(u, tile, key, n_keys, visible, delta);
        }
    }
    if (u->dq) {
        u->vector->add_rows(lv_grad_at(x->dq, tile->at), u->q_ld, w->o, u->D, tile->n, u->D);
    }
}

/* The sums of a unit, rounded once. */
static void finish_keys(const unit_state *u, lv_grad grad, const lv_real *sums)
{
    for (int64_t key = 0; key < u->n_keys; key += KEYS) {
        int64_t at = lv_attention_k_at(u->x->layout, u->unit, u->unit->keys.begin + key);
        u->vector->add_transposed(lv_grad_at(grad, at), u->k_ld, sums + key * u->D, KEYS,
                                  lv_min_i64(KEYS, u->n_keys - key), u->D);
    }
}

static void backward(const lv_attention_args *x, const lv_attention_unit *unit, void *scratch)
{
    unit_state u = unit_begin(x, unit, true, scratch);
    size_t sum_bytes = (size_t)(round_up(u.n_keys, KEYS) * u.D) * sizeof(lv_real);
    pack_by_depth(u.w.kt, &u, x->k);
    pack_by_depth(u.w.vt, &u, x->v);
    if (u.dq) {
        pack_by_keys(u.w.k, &u, x->k);
    }
    if (u.dk) {
        memset(u.w.dk_t, 0, sum_bytes);
    }
    if (u.dv) {
        memset(u.w.dv_t, 0, sum_bytes);
    }
    for (int64_t t = unit->tasks.begin; t < unit->tasks.end; t++) {
        lv_attention_tile tile = lv_attention_tile_of(x, unit, t);
        if (unit->dq || tile.keys.begin < tile.keys.end) {
            backward_task(&u, &tile);
        }
    }
    if (u.dk) {
        finish_keys(&u, x->dk, u.w.dk_t);
    }
    if (u.dv) {
        finish_keys(&u, x->dv, u.w.dv_t);
    }
}

const lv_attention_form lv_attention_bf16 = {scratch_bytes, forward, backward};
