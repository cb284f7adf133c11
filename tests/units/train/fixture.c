/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/units/train/fixture.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "train/model/connector/connector.h"
#include "train/model/language/families.h"
#include "train/model/vision/vision.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATHS = 8 };

int fixture_open(void **state)
{
    char *dir = lv_path("/tmp/llava-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    *state = dir;
    return 0;
}

int fixture_close(void **state)
{
    assert_int_equal(lv_dir_remove(*state), LV_OK);
    free(*state);
    return 0;
}

const char *fixture_path(void **state, const char *name)
{
    static char paths[PATHS][512];
    static int next;
    char *path = paths[next++ % PATHS];
    snprintf(path, sizeof paths[0], "%s/%s", (char *)*state, name);
    return path;
}

void fixture_write_bytes(void **state, const char *name, const void *data, size_t n)
{
    const char *path = fixture_path(state, name);
    char *dir = lv_path_dir(path);
    assert_int_equal(lv_dir_create(dir), LV_OK);
    assert_int_equal(lv_file_write(path, data, n), LV_OK);
    free(dir);
}

void fixture_write(void **state, const char *name, const char *text)
{
    fixture_write_bytes(state, name, text, strlen(text));
}

void fixture_safetensors(void **state, const char *name, const char *header, const void *data,
                         size_t n)
{
    size_t header_bytes = strlen(header);
    uint8_t *file = malloc(8 + header_bytes + n);
    assert_non_null(file);
    for (int i = 0; i < 8; i++) {
        file[i] = (uint8_t)((uint64_t)header_bytes >> 8 * i);
    }
    memcpy(file + 8, header, header_bytes);
    memcpy(file + 8 + header_bytes, data, n);
    fixture_write_bytes(state, name, file, 8 + header_bytes + n);
    free(file);
}

lv_llava_config fixture_llava_config(const char *projector)
{
    lv_llava_config c = {
        .vision = {.tower = lv_tower_find("clip_vision_model"),
                   .hidden_size = 8,
                   .intermediate_size = 12,
                   .n_layers = 2,
                   .n_heads = 2,
                   .image_size = 8,
                   .patch_size = 4,
                   .n_channels = 3,
                   .projection_dim = 5,
                   .layer_norm_eps = 1e-5,
                   .quick_gelu = true},
        .text = {.family = lv_family_find("llama"),
                 .hidden_size = 8,
                 .intermediate_size = 16,
                 .n_layers = 2,
                 .n_heads = 4,
                 .n_kv_heads = 2,
                 .head_dim = 2,
                 .vocab_size = 10,
                 .max_positions = 32,
                 .rms_norm_eps = 1e-6,
                 .rope_theta = 10000,
                 .bos_token_id = 1,
                 .eos_token_id = 2,
                 .pad_token_id = -1},
        .vision_select_layer = -2,
        .vision_select_patch = true,
        .image_token_id = -1,
        .image_mean = {0.48145466f, 0.4578275f, 0.40821073f},
        .image_std = {0.26862954f, 0.26130258f, 0.27577711f},
    };
    assert_int_equal(lv_connector_config_parse(&c.connector, projector), LV_OK);
    c.connector.in_size = c.vision.hidden_size;
    c.connector.out_size = c.text.hidden_size;
    return c;
}

static void declare(lv_params *params, const char *name, int64_t rows, int64_t columns)
{
    lv_params_declare(params, name, columns ? 2 : 1, (int64_t[]){rows, columns ? columns : 1}, true,
                      true);
}

static void declare_layer_of(lv_params *params, const char *prefix, int64_t rows, int64_t columns,
                             bool bias)
{
    char name[300];
    snprintf(name, sizeof name, "%s.weight", prefix);
    declare(params, name, rows, columns);
    if (bias) {
        snprintf(name, sizeof name, "%s.bias", prefix);
        declare(params, name, rows, 0);
    }
}

static void declare_vision(lv_params *params, const lv_vision_config *c)
{
    static const char BASE[] = "vision_tower.vision_model";
    int64_t H = c->hidden_size, F = c->intermediate_size, side = c->image_size / c->patch_size;
    char name[256];
    declare(params, "vision_tower.vision_model.embeddings.class_embedding", H, 0);
    lv_params_declare(params, "vision_tower.vision_model.embeddings.patch_embedding.weight", 4,
                      (int64_t[]){H, c->n_channels, c->patch_size, c->patch_size}, true, true);
    declare(params, "vision_tower.vision_model.embeddings.position_embedding.weight",
            side * side + 1, H);
    declare_layer_of(params, "vision_tower.vision_model.pre_layrnorm", H, 0, true);
    for (int64_t l = 0; l < c->n_layers; l++) {
        static const struct {
            const char *name;
            int rows, columns; /* 0: none, 1: H, 2: F */
        } parts[] = {{"self_attn.q_proj", 1, 1}, {"self_attn.k_proj", 1, 1},
                     {"self_attn.v_proj", 1, 1}, {"self_attn.out_proj", 1, 1},
                     {"layer_norm1", 1, 0},      {"layer_norm2", 1, 0},
                     {"mlp.fc1", 2, 1},          {"mlp.fc2", 1, 2}};
        const int64_t sizes[] = {0, H, F};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            snprintf(name, sizeof name, "%s.encoder.layers.%d.%s", BASE, (int)l, parts[i].name);
            declare_layer_of(params, name, sizes[parts[i].rows], sizes[parts[i].columns], true);
        }
    }
    declare_layer_of(params, "vision_tower.vision_model.post_layernorm", H, 0, true);
}

static void declare_projector(lv_params *params, const lv_connector_config *c)
{
    char name[64];
    char type[64];
    int depth = 1;
    lv_connector_type(type, sizeof type, c);
    if (strcmp(type, "linear") != 0 && sscanf(type, "mlp%dx_gelu", &depth) != 1) {
        depth = 0;
    }
    for (int i = 0; i < depth; i++) {
        snprintf(name, sizeof name, "projector.%d", 2 * i);
        declare_layer_of(params, name, c->out_size, i ? c->out_size : c->in_size, true);
    }
}

static void declare_text(lv_params *params, const lv_llama_config *c)
{
    int64_t H = c->hidden_size, F = c->intermediate_size, A = c->n_heads * c->head_dim,
            G = c->n_kv_heads * c->head_dim;
    char name[256];
    declare(params, "language_model.model.embed_tokens.weight", c->vocab_size, H);
    for (int64_t l = 0; l < c->n_layers; l++) {
        const struct {
            const char *name;
            int64_t rows, columns;
            bool bias;
        } parts[] = {
            {"self_attn.q_proj", A, H, c->qkv_bias},  {"self_attn.k_proj", G, H, c->qkv_bias},
            {"self_attn.v_proj", G, H, c->qkv_bias},  {"self_attn.o_proj", H, A, c->o_bias},
            {"mlp.gate_proj", F, H, c->mlp_bias},     {"mlp.up_proj", F, H, c->mlp_bias},
            {"mlp.down_proj", H, F, c->mlp_bias},     {"input_layernorm", H, 0, false},
            {"post_attention_layernorm", H, 0, false}};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            snprintf(name, sizeof name, "language_model.model.layers.%d.%s", (int)l, parts[i].name);
            declare_layer_of(params, name, parts[i].rows, parts[i].columns, parts[i].bias);
        }
    }
    declare_layer_of(params, "language_model.model.norm", H, 0, false);
    if (!c->tied) {
        declare_layer_of(params, "language_model.lm_head", c->vocab_size, H, false);
    }
}

lv_params *fixture_declare(const lv_llava_config *config)
{
    lv_params *params = NULL;
    assert_int_equal(lv_params_create(&params), LV_OK);
    lv_params_part_begin(params, LV_PART_VISION);
    declare_vision(params, &config->vision);
    lv_params_part_begin(params, LV_PART_CONNECTOR);
    declare_projector(params, &config->connector);
    lv_params_part_begin(params, LV_PART_LANGUAGE);
    declare_text(params, &config->text);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    return params;
}

/* 7 bits of mantissa and 5 of exponent: distinct for 8192 elements, within f16. */
static double distinct(const void *first, int64_t i)
{
    int64_t k = *(const int64_t *)first + i;
    return (double)((128 + k % 128) * (k & 4096 ? -1 : 1)) / (double)((int64_t)64 << (k / 128 % 8));
}

void fixture_fill(lv_params *params)
{
    int64_t first = 0;
    for (size_t i = 0; i < lv_params_count(params); i++) {
        lv_param *param = lv_params_at(params, i);
        assert_int_equal(lv_params_fill(params, param, distinct, &first), LV_OK);
        first += lv_tensor_count(&param->tensor);
    }
}

void fixture_assert_equal(lv_params *a, lv_params *b)
{
    assert_int_equal(lv_params_count(a), lv_params_count(b));
    for (size_t i = 0; i < lv_params_count(a); i++) {
        lv_param *x = lv_params_at(a, i), *y = lv_params_at(b, i);
        assert_string_equal(x->name, y->name);
        assert_true(lv_tensor_count(&x->tensor) <= lv_tensor_count(&y->tensor));
        if (memcmp(lv_tensor_real(&x->tensor), lv_tensor_real(&y->tensor),
                   (size_t)lv_tensor_count(&x->tensor) * sizeof(lv_real)) != 0) {
            fail_msg("%s differs", x->name);
        }
    }
}
