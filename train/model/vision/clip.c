/* SPDX-License-Identifier: Apache-2.0
 *
 * The vision tower of a CLIP, any shape that Hugging Face's CLIPVisionModel has. I images,
 * N = (image_size/patch_size)^2 patches of an image, H hidden size, F inner size, C channels, P
 * patch size.
 *
 *   x  = pre_layrnorm(patch_embed(pixels))
 *   x += out_proj(attention(q_proj(n), k_proj(n), v_proj(n))),  n = layer_norm1(x)
 *   x += fc2(gelu(fc1(n))),                                     n = layer_norm2(x)
 *
 * Layers above the selected hidden state, and post_layernorm, are declared as unused.
 * source Radford et al. 2021, arXiv:2103.00020; transformers 4.57 and 5: configuration_clip.py
 */
#include "train/model/vision/vision.h"

#include "autograd/error.h"
#include "autograd/ops.h"
#include "data/image/image.h"
#include "data/json/json.h"
#include "train/model/keys.h"
#include "train/model/params/dense.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- configuration ---- */

static const lv_vision_config defaults = {.hidden_size = 768,
                                          .intermediate_size = 3072,
                                          .n_layers = 12,
                                          .n_heads = 12,
                                          .image_size = 224,
                                          .patch_size = 32,
                                          .n_channels = 3,
                                          .projection_dim = 512,
                                          .layer_norm_eps = 1e-5,
                                          .quick_gelu = true};

/* LlavaConfig: ViT-L/14 at 336 */
static const lv_vision_config llava_defaults = {.hidden_size = 1024,
                                                .intermediate_size = 4096,
                                                .n_layers = 24,
                                                .n_heads = 16,
                                                .image_size = 336,
                                                .patch_size = 14,
                                                .n_channels = 3,
                                                .projection_dim = 768,
                                                .layer_norm_eps = 1e-5,
                                                .quick_gelu = true};

static const lv_neutral_key neutral_keys[] = {
    {"attention_dropout", 0}, {"dropout", 0}, {"quantization_config", NAN}, {NULL, 0}};

static int check_sizes(const lv_vision_config *c)
{
    if (c->hidden_size % c->n_heads != 0) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"hidden_size\": %" PRId64 " is no multiple of \"num_attention_heads\" "
                       "%" PRId64,
                       c->hidden_size, c->n_heads);
    }
    if (c->image_size % c->patch_size != 0) {
        return lv_fail(LV_ERR_UNSUPPORTED,
                       "\"patch_size\": %" PRId64 " does not divide \"image_size\" %" PRId64,
                       c->patch_size, c->image_size);
    }
    if (c->n_channels != 3) {
        return lv_fail(LV_ERR_UNSUPPORTED, "\"num_channels\": %" PRId64 "; images have 3",
                       c->n_channels);
    }
    return LV_OK;
}

static int parse_config(lv_vision_config *config, const cJSON *object, bool whole)
{
    lv_vision_config c = *config;
    const char *act = c.quick_gelu ? "quick_gelu" : "gelu";
    const lv_size_key sizes[] = {
        {"hidden_size", &c.hidden_size, LV_KEY_MAX_SIZE, true},
        {"intermediate_size", &c.intermediate_size, LV_KEY_MAX_SIZE, true},
        {"num_hidden_layers", &c.n_layers, LV_KEY_MAX_LAYERS, true},
        {"num_attention_heads", &c.n_heads, LV_KEY_MAX_SIZE, true},
        {"image_size", &c.image_size, LV_KEY_MAX_IMAGE, true},
        {"patch_size", &c.patch_size, LV_KEY_MAX_IMAGE, true},
        {"num_channels", &c.n_channels, LV_KEY_MAX_SIZE, false},
        {"projection_dim", &c.projection_dim, LV_KEY_MAX_SIZE, false},
        {NULL, NULL, 0, false},
    };
    int rc = lv_keys_check_neutral(object, neutral_keys);
    if (rc == LV_OK) rc = lv_keys_read_sizes(object, sizes, whole);
    if (rc == LV_OK) {
        rc = lv_key_positive(object, "layer_norm_eps", 1, &c.layer_norm_eps);
    }
    if (rc == LV_OK) {
        rc = lv_json_string(object, "hidden_act", false, &act);
    }
    if (rc < 0) {
        return rc;
    }
    c.quick_gelu = strcmp(act, "quick_gelu") == 0;
    if (!c.quick_gelu && strcmp(act, "gelu") != 0) {
        return lv_key_refuse(lv_json_find(object, "hidden_act"));
    }
    rc = check_sizes(&c);
    if (rc == LV_OK) {
        *config = c;
    }
    return rc;
}

static void write_config(cJSON *o, const lv_vision_config *c)
{
    lv_key_set_number(o, "hidden_size", (double)c->hidden_size);
    lv_key_set_number(o, "intermediate_size", (double)c->intermediate_size);
    lv_key_set_number(o, "num_hidden_layers", (double)c->n_layers);
    lv_key_set_number(o, "num_attention_heads", (double)c->n_heads);
    lv_key_set_number(o, "num_channels", (double)c->n_channels);
    lv_key_set_number(o, "image_size", (double)c->image_size);
    lv_key_set_number(o, "patch_size", (double)c->patch_size);
    lv_key_set_number(o, "projection_dim", (double)c->projection_dim);
    lv_key_set_string(o, "hidden_act", c->quick_gelu ? "quick_gelu" : "gelu");
    lv_key_set_number(o, "layer_norm_eps", c->layer_norm_eps);
    lv_key_set_number(o, "attention_dropout", 0);
}

/* ---- parameters ---- */

typedef struct {
    lv_dense layer_norm1, q_proj, k_proj, v_proj, out_proj;
    lv_dense layer_norm2, fc1, fc2;
} clip_layer;

typedef struct {
    lv_vision_config config;
    bool select_patch;
    int64_t n_run; /* layers below the selected hidden state */
    lv_tensor *class_embedding, *patch_embedding, *position_embedding;
    lv_dense pre_layrnorm;
    clip_layer layers[]; /* [n_run] */
} clip_tower;

/* What one layer's forward needs beside its input; in the step arena, for recomputation. */
typedef struct {
    const lv_vision_config *config;
    const clip_layer *layer;
    const lv_attention_layout *layout;
} clip_layer_run;

static int64_t patches_per_image(const lv_vision_config *c)
{
    int64_t side = c->image_size / c->patch_size;
    return side * side;
}

static int64_t rows_per_image(const lv_vision_config *config, bool select_patch)
{
    return patches_per_image(config) + (select_patch ? 0 : 1);
}

static const char *layer_name(char *buf, size_t bytes, int64_t l, const char *part)
{
    snprintf(buf, bytes, "vision_tower.vision_model.encoder.layers.%" PRId64 ".%s", l, part);
    return buf;
}

static lv_init normal_init(double std)
{
    return (lv_init){LV_INIT_NORMAL, std};
}

/* Initial values: transformers' CLIPPreTrainedModel. */
static clip_layer declare_layer(const lv_vision_config *c, lv_params *params, int64_t l, bool used)
{
    const int64_t H = c->hidden_size, F = c->intermediate_size;
    const lv_init in = normal_init(1 / sqrt((double)H * 2 * (double)c->n_layers));
    const lv_init out = normal_init(1 / sqrt((double)H)), fc = normal_init(1 / sqrt(2 * (double)H));
    clip_layer y;
    char name[128];
#define NAME(part) layer_name(name, sizeof name, l, part)
    y.k_proj = lv_dense_declare(params, NAME("self_attn.k_proj"), H, H, true, used, in);
    y.v_proj = lv_dense_declare(params, NAME("self_attn.v_proj"), H, H, true, used, in);
    y.q_proj = lv_dense_declare(params, NAME("self_attn.q_proj"), H, H, true, used, in);
    y.out_proj = lv_dense_declare(params, NAME("self_attn.out_proj"), H, H, true, used, out);
    y.layer_norm1 = lv_norm_declare(params, NAME("layer_norm1"), H, true, used);
    y.fc1 = lv_dense_declare(params, NAME("mlp.fc1"), F, H, true, used, fc);
    y.fc2 = lv_dense_declare(params, NAME("mlp.fc2"), H, F, true, used, in);
    y.layer_norm2 = lv_norm_declare(params, NAME("layer_norm2"), H, true, used);
#undef NAME
    return y;
}

static lv_tensor *declare_embedding(lv_params *params, const char *name, int n_dims,
                                    const int64_t *shape, double std)
{
    lv_tensor *tensor = lv_params_declare(params, name, n_dims, shape, true, true);
    lv_params_of(params, tensor)->init = normal_init(std);
    return tensor;
}

static void declare_params(clip_tower *clip, lv_params *params)
{
    const lv_vision_config *c = &clip->config;
    const int64_t H = c->hidden_size, P = c->patch_size;
    clip->class_embedding = declare_embedding(
        params, "vision_tower.vision_model.embeddings.class_embedding", 1, &H, 1 / sqrt((double)H));
    clip->patch_embedding =
        declare_embedding(params, "vision_tower.vision_model.embeddings.patch_embedding.weight", 4,
                          (int64_t[]){H, c->n_channels, P, P}, 0.02);
    lv_params_of(params, clip->patch_embedding)->takes_bf16 = true;
    clip->position_embedding =
        declare_embedding(params, "vision_tower.vision_model.embeddings.position_embedding.weight",
                          2, (int64_t[]){patches_per_image(c) + 1, H}, 0.02);
    clip->pre_layrnorm =
        lv_norm_declare(params, "vision_tower.vision_model.pre_layrnorm", H, true, true);
    for (int64_t l = 0; l < c->n_layers; l++) {
        clip_layer y = declare_layer(c, params, l, l < clip->n_run);
        if (l < clip->n_run) {
            clip->layers[l] = y;
        }
    }
    lv_norm_declare(params, "vision_tower.vision_model.post_layernorm", H, true, false);
}

static int declare(void **state, const lv_vision_config *config, lv_vision_select select,
                   lv_params *params)
{
    clip_tower *clip = calloc(1, sizeof *clip + (size_t)select.n_run * sizeof *clip->layers);
    if (!clip) {
        return lv_fail(LV_ERR_MEMORY, "vision tower: no memory for %" PRId64 " layers",
                       select.n_run);
    }
    clip->config = *config;
    clip->select_patch = select.select_patch;
    clip->n_run = select.n_run;
    declare_params(clip, params);
    *state = clip;
    return LV_OK;
}

/* ---- forward ---- */

static lv_tensor *norm(lv_tape *tape, const clip_layer_run *run, const lv_dense *w, lv_tensor *x)
{
    return lv_layernorm(tape, x, w->w, w->b, run->config->layer_norm_eps);
}

static lv_tensor *attention_block(lv_tape *tape, const clip_layer_run *run, lv_tensor *x)
{
    const clip_layer *w = run->layer;
    lv_tensor *n = norm(tape, run, &w->layer_norm1, x);
    lv_tensor *q = lv_dense_apply(tape, &w->q_proj, n);
    lv_tensor *k = lv_dense_apply(tape, &w->k_proj, n);
    lv_tensor *v = lv_dense_apply(tape, &w->v_proj, n);
    lv_tape_done(tape, n);
    lv_tensor *o = lv_attention(tape, q, k, v, run->layout);
    lv_tape_done(tape, q);
    lv_tape_done(tape, k);
    lv_tape_done(tape, v);
    lv_tensor *y = lv_dense_apply_add(tape, &w->out_proj, o, x);
    lv_tape_done(tape, o);
    return y;
}

static lv_tensor *mlp_block(lv_tape *tape, const clip_layer_run *run, lv_tensor *x)
{
    const clip_layer *w = run->layer;
    lv_tensor *n = norm(tape, run, &w->layer_norm2, x);
    lv_tensor *inner = lv_dense_apply(tape, &w->fc1, n);
    lv_tape_done(tape, n);
    lv_tensor *active = run->config->quick_gelu ? lv_quick_gelu(tape, inner) : lv_gelu(tape, inner);
    lv_tape_done(tape, inner);
    lv_tensor *y = lv_dense_apply_add(tape, &w->fc2, active, x);
    lv_tape_done(tape, active);
    return y;
}

static lv_tensor *layer_forward(lv_tape *tape, const void *context, lv_tensor *const *in)
{
    lv_tensor *middle = attention_block(tape, context, in[0]);
    lv_tensor *y = mlp_block(tape, context, middle);
    lv_tape_done(tape, middle);
    return y;
}

/* Each image is one sequence in which every row sees every row. */
static const lv_attention_layout *layout_for(const lv_vision_config *c, lv_tape *tape, int64_t I)
{
    const int64_t L = patches_per_image(c) + 1, D = c->hidden_size / c->n_heads;
    lv_attention_layout *layout = lv_tape_alloc(tape, sizeof *layout);
    lv_range *visible = lv_tape_alloc(tape, (size_t)(I * L) * sizeof *visible);
    int64_t *start = lv_tape_alloc(tape, (size_t)(I + 1) * sizeof *start);
    lv_range *keys = lv_tape_alloc(tape, (size_t)I * sizeof *keys);
    start[0] = 0;
    for (int64_t i = 0; i < I; i++) {
        start[i + 1] = start[i] + L;
        keys[i] = (lv_range){start[i], start[i + 1]};
    }
    lv_visible_full(visible, I, start, keys);
    *layout = (lv_attention_layout){
        .visible = visible,
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_heads,
        .head_dim = D,
        .scale = 1 / sqrt((double)D),
    };
    return layout;
}

/* The rows of the patches: all but the first of each image. */
static const int32_t *patch_rows(const lv_vision_config *c, lv_tape *tape, int64_t I)
{
    const int64_t N = patches_per_image(c);
    int32_t *rows = lv_tape_alloc(tape, (size_t)(I * N) * sizeof *rows);
    for (int64_t i = 0; i < I; i++) {
        for (int64_t n = 0; n < N; n++) {
            rows[i * N + n] = (int32_t)(i * (N + 1) + 1 + n);
        }
    }
    return rows;
}

static lv_tensor *features(const void *state, lv_tape *tape, lv_tensor *pixels, bool recompute)
{
    const clip_tower *clip = state;
    const lv_vision_config *c = &clip->config;
    const int64_t I = pixels->shape[0];
    const lv_attention_layout *layout = layout_for(c, tape, I);
    const int32_t *rows = clip->select_patch ? patch_rows(c, tape, I) : NULL;
    clip_layer_run *runs = lv_tape_alloc(tape, (size_t)(clip->n_run + 1) * sizeof *runs);

    size_t mark = lv_tape_mark(tape);
    lv_tensor *x = lv_patch_embed(tape, pixels, clip->patch_embedding, clip->class_embedding,
                                  clip->position_embedding);
    x = lv_layernorm(tape, x, clip->pre_layrnorm.w, clip->pre_layrnorm.b, c->layer_norm_eps);
    x = lv_tape_keep(tape, mark, x);
    for (int64_t l = 0; l < clip->n_run; l++) {
        runs[l] = (clip_layer_run){.config = c, .layer = &clip->layers[l], .layout = layout};
        lv_tensor *y = recompute ? lv_recompute(tape, layer_forward, &runs[l], 1, &x)
                                 : layer_forward(tape, &runs[l], &x);
        lv_tape_done(tape, x);
        x = lv_tape_keep(tape, mark, y);
    }
    if (rows) {
        x = lv_select_rows(tape, x, rows, I * patches_per_image(c));
        x = lv_tape_keep(tape, mark, x);
    }
    return x;
}

/* ---- the row ---- */

static const lv_name_rule names[] = {
    {"vision_model.", "vision_model."}, /* transformers 5 leaves it out */
    {"embeddings.", "vision_model.embeddings."},
    {"pre_layrnorm.", "vision_model.pre_layrnorm."},
    {"encoder.", "vision_model.encoder."},
    {"post_layernorm.", "vision_model.post_layernorm."},
    {NULL, NULL},
};

/* the other half of a CLIPModel */
static const char *const ignored[] = {"text_model.", "text_projection.", "visual_projection.",
                                      "logit_scale", NULL};

const lv_tower lv_tower_clip = {
    .model_type = "clip_vision_model",
    .whole_type = "clip",
    .architecture = "CLIPVisionModel",
    .description = "a CLIP vision tower",
    .defaults = &defaults,
    .llava_defaults = &llava_defaults,
    .image_mean = LV_CLIP_MEAN,
    .image_std = LV_CLIP_STD,
    .image_processor = "CLIPImageProcessor",
    .parse = parse_config,
    .write = write_config,
    .rows_per_image = rows_per_image,
    .declare = declare,
    .features = features,
    .names = names,
    .ignored = ignored,
};
