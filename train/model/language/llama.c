/* SPDX-License-Identifier: Apache-2.0
 *
 * T rows, H hidden size, A heads, G key/value heads, D head size, V vocabulary.
 */
#include "train/model/language/llama.h"

#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "autograd/ops.h"
#include "train/model/params/dense.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    lv_dense input_layernorm, q_proj, k_proj, v_proj, o_proj;
    lv_dense post_attention_layernorm, gate_proj, up_proj, down_proj;
} llama_layer;

/* A table that was too small stays until the model is destroyed: a tape may still point to it. */
typedef struct rope_angles {
    lv_rope_table table;
    struct rope_angles *smaller;
} rope_angles;

struct lv_llama {
    lv_llama_config config;
    lv_tensor *embed_tokens, *lm_head;
    lv_dense norm;
    llama_layer *layers; /* [n_layers] */
    rope_angles *angles;
};

/* What one layer's forward needs beside its input; in the step arena, for recomputation. */
typedef struct {
    const lv_llama_config *config;
    const llama_layer *layer;
    const int32_t *position;
    const lv_rope_table *angles;
    const lv_attention_layout *layout;
    const lv_llama_rows *rows;
    bool is_last;  /* of the layers: only the wanted rows pass the rest of it */
    int64_t index; /* of the layer */
} llama_layer_run;

static const double INIT_STD = 0.02; /* transformers' initializer_range */

static const char *layer_name(char *buf, size_t bytes, int64_t l, const char *part)
{
    snprintf(buf, bytes, "language_model.model.layers.%" PRId64 ".%s", l, part);
    return buf;
}

static void declare_layer(llama_layer *y, const lv_llama_config *c, lv_params *params, int64_t l)
{
    const int64_t H = c->hidden_size, F = c->intermediate_size;
    const int64_t AD = c->n_heads * c->head_dim, GD = c->n_kv_heads * c->head_dim;
    const lv_init init = {LV_INIT_NORMAL, INIT_STD};
    char name[128];
#define NAME(part) layer_name(name, sizeof name, l, part)
    y->q_proj = lv_dense_declare(params, NAME("self_attn.q_proj"), AD, H, c->qkv_bias, true, init);
    y->k_proj = lv_dense_declare(params, NAME("self_attn.k_proj"), GD, H, c->qkv_bias, true, init);
    y->v_proj = lv_dense_declare(params, NAME("self_attn.v_proj"), GD, H, c->qkv_bias, true, init);
    y->o_proj = lv_dense_declare(params, NAME("self_attn.o_proj"), H, AD, c->o_bias, true, init);
    y->gate_proj = lv_dense_declare(params, NAME("mlp.gate_proj"), F, H, c->mlp_bias, true, init);
    y->up_proj = lv_dense_declare(params, NAME("mlp.up_proj"), F, H, c->mlp_bias, true, init);
    y->down_proj = lv_dense_declare(params, NAME("mlp.down_proj"), H, F, c->mlp_bias, true, init);
    y->input_layernorm = lv_norm_declare(params, NAME("input_layernorm"), H, false, true);
    y->post_attention_layernorm =
        lv_norm_declare(params, NAME("post_attention_layernorm"), H, false, true);
#undef NAME
}

int lv_llama_create(lv_llama **out, const lv_llama_config *config, lv_params *params)
{
    const lv_init init = {LV_INIT_NORMAL, INIT_STD};
    lv_llama *llama = calloc(1, sizeof *llama);
    llama_layer *layers = calloc((size_t)config->n_layers, sizeof *layers);
    if (!llama || !layers) {
        free(llama);
        free(layers);
        return lv_fail(LV_ERR_MEMORY, "language model: no memory for %" PRId64 " layers",
                       config->n_layers);
    }
    llama->config = *config;
    llama->layers = layers;
    lv_params_part_begin(params, LV_PART_LANGUAGE);
    llama->embed_tokens =
        lv_dense_declare(params, "language_model.model.embed_tokens", config->vocab_size,
                         config->hidden_size, false, true, init)
            .w;
    lv_params_of(params, llama->embed_tokens)->by_rows = !config->tied;
    for (int64_t l = 0; l < config->n_layers; l++) {
        declare_layer(&llama->layers[l], config, params, l);
    }
    llama->norm =
        lv_norm_declare(params, "language_model.model.norm", config->hidden_size, false, true);
    llama->lm_head = config->tied
                         ? llama->embed_tokens
                         : lv_dense_declare(params, "language_model.lm_head", config->vocab_size,
                                            config->hidden_size, false, true, init)
                               .w;
    *out = llama;
    return LV_OK;
}

void lv_llama_destroy(lv_llama **llama)
{
    if (!*llama) {
        return;
    }
    while ((*llama)->angles) {
        rope_angles *a = (*llama)->angles;
        (*llama)->angles = a->smaller;
        free(a->table.cos);
        free(a->table.sin);
        free(a);
    }
    free((*llama)->layers);
    free(*llama);
    *llama = NULL;
}

lv_dtype lv_llama_dtype(const lv_llama *llama)
{
    return llama->embed_tokens->dtype;
}

/* ---- forward ---- */

/* The table for positions below n_positions: kept outside the step, grown by doubling. A dry tape
 * reads none of it. */
static const lv_rope_table *angles_for(lv_llama *llama, const lv_tape *tape, int64_t n_positions)
{
    if (llama->angles && llama->angles->table.n_positions >= n_positions) {
        return &llama->angles->table;
    }
    int64_t n = llama->angles ? 2 * llama->angles->table.n_positions : 256;
    while (n < n_positions) {
        n *= 2;
    }
    rope_angles *a = calloc(1, sizeof *a);
    LV_CHECK(a, "no memory for the angles of %" PRId64 " positions", n);
    a->table.n_positions = n;
    a->table.head_dim = llama->config.head_dim;
    size_t count = (size_t)n * (size_t)(llama->config.head_dim / 2);
    a->table.cos = calloc(count, sizeof(lv_real));
    a->table.sin = calloc(count, sizeof(lv_real));
    LV_CHECK(a->table.cos && a->table.sin, "no memory for the angles of %" PRId64 " positions", n);
    if (!lv_tape_is_dry(tape)) {
        lv_rope_table_fill(&a->table, llama->config.rope_theta);
    }
    a->smaller = llama->angles;
    llama->angles = a;
    return &a->table;
}

static lv_tensor *wanted_rows(lv_tape *tape, const lv_llama_rows *rows, lv_tensor *x)
{
    return lv_select_rows(tape, x, rows->wanted, rows->n_wanted);
}

/* y: keys or values. */
static lv_tensor *with_cached(lv_tape *tape, const llama_layer_run *run, lv_cache_half half,
                              lv_tensor *y)
{
    const lv_llama_rows *rows = run->rows;
    if (!rows->cache) {
        return y;
    }
    lv_tensor *all = lv_llama_cache_append(rows->cache, tape, run->index, half, y,
                                           rows->n_sequences, rows->cached, rows->seq_start);
    lv_tape_done(tape, y);
    return all;
}

/* Every row is a key of later ones; what follows is each row's own. */
static lv_tensor *attention_block(lv_tape *tape, const llama_layer_run *run, lv_tensor *x)
{
    const llama_layer *w = run->layer;
    lv_tensor *n = lv_rmsnorm(tape, x, w->input_layernorm.w, run->config->rms_norm_eps);
    lv_tensor *q = lv_dense_apply(tape, &w->q_proj, n);
    lv_tensor *k = lv_dense_apply(tape, &w->k_proj, n);
    lv_tensor *v = lv_dense_apply(tape, &w->v_proj, n);
    lv_tape_done(tape, n);
    q = lv_rope(tape, q, run->position, run->angles);
    k = lv_rope(tape, k, run->position, run->angles);
    k = with_cached(tape, run, LV_CACHE_KEYS, k);
    v = with_cached(tape, run, LV_CACHE_VALUES, v);
    lv_tensor *o = lv_attention(tape, q, k, v, run->layout);
    lv_tape_done(tape, q);
    lv_tape_done(tape, k);
    lv_tape_done(tape, v);
    if (run->is_last) {
        lv_tensor *all = o;
        o = wanted_rows(tape, run->rows, all);
        lv_tape_done(tape, all);
        x = wanted_rows(tape, run->rows, x);
    }
    lv_tensor *y = lv_dense_apply_add(tape, &w->o_proj, o, x);
    lv_tape_done(tape, o);
    if (run->is_last) {
        lv_tape_done(tape, x);
    }
    return y;
}

static lv_tensor *mlp_block(lv_tape *tape, const llama_layer_run *run, lv_tensor *x)
{
    const llama_layer *w = run->layer;
    lv_tensor *n = lv_rmsnorm(tape, x, w->post_attention_layernorm.w, run->config->rms_norm_eps);
    lv_tensor *gate = lv_dense_apply(tape, &w->gate_proj, n);
    lv_tensor *up = lv_dense_apply(tape, &w->up_proj, n);
    lv_tape_done(tape, n);
    lv_tensor *inner = lv_silu_mul(tape, gate, up);
    lv_tape_done(tape, gate);
    lv_tape_done(tape, up);
    lv_tensor *y = lv_dense_apply_add(tape, &w->down_proj, inner, x);
    lv_tape_done(tape, inner);
    return y;
}

static lv_tensor *layer_forward(lv_tape *tape, const void *context, lv_tensor *const *in)
{
    lv_tensor *middle = attention_block(tape, context, in[0]);
    lv_tensor *y = mlp_block(tape, context, middle);
    lv_tape_done(tape, middle);
    return y;
}

/* Queries are the rows of x; keys are the same rows, or with a cache all that it has, each sequence
 * seeing its own alone. */
static const lv_attention_layout *layout_for(const lv_llama_config *c, lv_tape *tape,
                                             const lv_llama_rows *rows)
{
    const int64_t B = rows->n_sequences, *start = rows->seq_start;
    lv_attention_layout *layout = lv_tape_alloc(tape, sizeof *layout);
    lv_range *visible = lv_tape_alloc(tape, (size_t)start[B] * sizeof *visible);
    lv_range *keys = lv_tape_alloc(tape, (size_t)B * sizeof *keys);
    for (int64_t b = 0; b < B; b++) {
        keys[b] = (lv_range){start[b], start[b + 1]};
        if (rows->cache) {
            keys[b] = lv_llama_cache_rows(rows->cache, rows->cached[b]);
            keys[b].end += start[b + 1] - start[b];
        }
    }
    lv_visible_causal(visible, B, start, keys);
    *layout = (lv_attention_layout){
        .visible = visible,
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_kv_heads,
        .head_dim = c->head_dim,
        .scale = 1 / sqrt((double)c->head_dim),
    };
    return layout;
}

lv_tensor *lv_llama_hidden(lv_llama *llama, lv_tape *tape, lv_tensor *x, const lv_llama_rows *rows)
{
    const lv_llama_config *c = &llama->config;
    const int64_t T = x->shape[0];
    int32_t last_position = 0;
    for (int64_t t = 0; t < T; t++) {
        last_position = rows->position[t] > last_position ? rows->position[t] : last_position;
    }
    for (int64_t b = 0; rows->cache && b < rows->n_sequences; b++) {
        const lv_range cached = lv_llama_cache_rows(rows->cache, rows->cached[b]);
        const int64_t n_cached = cached.end - cached.begin;
        LV_CHECK(rows->position[rows->seq_start[b]] == n_cached,
                 "a sequence from position %d on of which %" PRId64 " rows are cached",
                 rows->position[rows->seq_start[b]], n_cached);
    }
    const llama_layer_run common = {
        .config = c,
        .position = rows->position,
        .angles = angles_for(llama, tape, (int64_t)last_position + 1),
        .layout = layout_for(c, tape, rows),
        .rows = rows,
    };
    llama_layer_run *runs = lv_tape_alloc(tape, (size_t)c->n_layers * sizeof *runs);
    size_t mark = lv_tape_mark(tape);
    for (int64_t l = 0; l < c->n_layers; l++) {
        runs[l] = common;
        runs[l].layer = &llama->layers[l];
        runs[l].index = l;
        runs[l].is_last = l == c->n_layers - 1;
        lv_tensor *y = rows->recompute ? lv_recompute(tape, layer_forward, &runs[l], 1, &x)
                                       : layer_forward(tape, &runs[l], &x);
        lv_tape_done(tape, x);
        x = lv_tape_keep(tape, mark, y);
    }
    if (rows->cache) {
        lv_llama_cache_advance(rows->cache, rows->n_sequences, rows->cached, rows->seq_start);
    }
    return x;
}

lv_tensor *lv_llama_embed(const lv_llama *llama, lv_tape *tape, const int32_t *ids, int64_t T)
{
    return lv_embedding(tape, llama->embed_tokens, ids, T);
}

static lv_tensor *last_norm(const lv_llama *llama, lv_tape *tape, lv_tensor *hidden)
{
    lv_tensor *x = lv_rmsnorm(tape, hidden, llama->norm.w, llama->config.rms_norm_eps);
    lv_tape_done(tape, hidden);
    return x;
}

lv_tensor *lv_llama_loss(const lv_llama *llama, lv_tape *tape, lv_tensor *hidden,
                         const int32_t *labels, lv_real *row_loss)
{
    lv_tensor *x = last_norm(llama, tape, hidden);
    return lv_cross_entropy(tape, x, llama->lm_head, labels, row_loss);
}

lv_tensor *lv_llama_logits(const lv_llama *llama, lv_tape *tape, lv_tensor *hidden)
{
    const int64_t R = hidden->shape[0];
    const lv_tensor *x = last_norm(llama, tape, hidden), *w = llama->lm_head;
    const int64_t H = w->shape[1], V = w->shape[0];
    lv_tensor *logits = lv_tape_tensor(tape, LV_F32, 2, (int64_t[]){R, V});
    lv_gemm(&(lv_gemm_args){.M = R,
                            .N = V,
                            .K = H,
                            .A = {x->data, x->dtype, H, false},
                            .B = {w->data, w->dtype, H, true},
                            .C = logits->data,
                            .C_dtype = LV_F32,
                            .ldc = V});
    return logits;
}
