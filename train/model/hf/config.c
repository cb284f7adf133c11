/* SPDX-License-Identifier: Apache-2.0
 *
 * config.json into the shapes of a model. What a file leaves out has the value that transformers
 * gives it; what would change the mathematics and is not implemented stops here, by name.
 * source transformers 4.57 and 5: configuration_clip.py, configuration_llama.py,
 *        configuration_llava.py; haotian-liu/LLaVA: llava_arch.py
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "train/model/connector/connector.h"
#include "train/model/hf/internal.h"
#include "train/model/hf/keys.h"
#include "train/model/vision/clip.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const lv_clip_config lv_hf_clip_defaults = {.hidden_size = 768,
                                            .intermediate_size = 3072,
                                            .n_layers = 12,
                                            .n_heads = 12,
                                            .image_size = 224,
                                            .patch_size = 32,
                                            .n_channels = 3,
                                            .projection_dim = 512,
                                            .layer_norm_eps = 1e-5,
                                            .quick_gelu = true};
/* LlavaConfig's tower if there is no vision_config at all: ViT-L/14 at 336. */
const lv_clip_config lv_hf_llava_clip_defaults = {.hidden_size = 1024,
                                                  .intermediate_size = 4096,
                                                  .n_layers = 24,
                                                  .n_heads = 16,
                                                  .image_size = 336,
                                                  .patch_size = 14,
                                                  .n_channels = 3,
                                                  .projection_dim = 768,
                                                  .layer_norm_eps = 1e-5,
                                                  .quick_gelu = true};
const lv_llama_config lv_hf_llama_defaults = {.hidden_size = 4096,
                                              .intermediate_size = 11008,
                                              .n_layers = 32,
                                              .n_heads = 32,
                                              .vocab_size = 32000,
                                              .max_positions = 2048,
                                              .rms_norm_eps = 1e-6,
                                              .rope_theta = 10000,
                                              .bos_token_id = 1,
                                              .eos_token_id = 2,
                                              .pad_token_id = -1};

static const lv_hf_neutral_key llama_neutral[] = {
    {"attention_dropout", 0},  {"pretraining_tp", 1},        {"partial_rotary_factor", 1},
    {"sliding_window", NAN},   {"quantization_config", NAN}, {"add_cross_attention", 0},
    {"is_encoder_decoder", 0},
};
static const lv_hf_neutral_key clip_neutral[] = {
    {"attention_dropout", 0}, {"dropout", 0}, {"quantization_config", NAN}};
static int check_clip(const lv_clip_config *c)
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

/* Updates *config, which has the defaults, by what the object says. */
static int parse_clip(lv_clip_config *config, const cJSON *object, bool whole)
{
    lv_clip_config c = *config;
    const char *act = c.quick_gelu ? "quick_gelu" : "gelu";
    const lv_hf_size_key sizes[] = {
        {"hidden_size", &c.hidden_size, LV_HF_MAX_SIZE, true},
        {"intermediate_size", &c.intermediate_size, LV_HF_MAX_SIZE, true},
        {"num_hidden_layers", &c.n_layers, LV_HF_MAX_LAYERS, true},
        {"num_attention_heads", &c.n_heads, LV_HF_MAX_SIZE, true},
        {"image_size", &c.image_size, LV_HF_MAX_IMAGE, true},
        {"patch_size", &c.patch_size, LV_HF_MAX_IMAGE, true},
        {"num_channels", &c.n_channels, LV_HF_MAX_SIZE, false},
        {"projection_dim", &c.projection_dim, LV_HF_MAX_SIZE, false},
    };
    int rc = LV_HF_CHECK_NEUTRAL(object, clip_neutral);
    if (rc == LV_OK) rc = lv_hf_read_sizes(object, sizes, sizeof sizes / sizeof *sizes, whole);
    if (rc == LV_OK) {
        rc = lv_hf_read_positive(object, "layer_norm_eps", 1, &c.layer_norm_eps);
    }
    if (rc == LV_OK) {
        rc = lv_json_string(object, "hidden_act", false, &act);
    }
    if (rc < 0) {
        return rc;
    }
    c.quick_gelu = strcmp(act, "quick_gelu") == 0;
    if (!c.quick_gelu && strcmp(act, "gelu") != 0) {
        return lv_hf_refuse(lv_json_find(object, "hidden_act"));
    }
    rc = check_clip(&c);
    if (rc == LV_OK) {
        *config = c;
    }
    return rc;
}

/* rope_scaling (transformers 4) or rope_parameters (5): only the plain kind. */
static int parse_rope(lv_llama_config *c, const cJSON *rope)
{
    const cJSON *item;
    if (!rope) {
        return LV_OK;
    }
    if (!cJSON_IsObject(rope)) {
        return lv_hf_refuse(rope);
    }
    cJSON_ArrayForEach (item, rope) {
        bool type = strcmp(item->string, "rope_type") == 0 || strcmp(item->string, "type") == 0;
        bool plain = type && cJSON_IsString(item) && strcmp(item->valuestring, "default") == 0;
        bool whole = strcmp(item->string, "partial_rotary_factor") == 0 && cJSON_IsNumber(item) &&
                     item->valuedouble == 1;
        if (!plain && !whole && !cJSON_IsNull(item) && strcmp(item->string, "rope_theta") != 0) {
            lv_hf_refuse(item);
            return lv_fail_within("\"%s\"", rope->string);
        }
    }
    return lv_hf_read_positive(rope, "rope_theta", 1e30, &c->rope_theta);
}

static int check_llama(const lv_llama_config *c)
{
    if (c->n_heads % c->n_kv_heads != 0) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"num_attention_heads\": %" PRId64 " is no multiple of "
                       "\"num_key_value_heads\" %" PRId64,
                       c->n_heads, c->n_kv_heads);
    }
    if (c->head_dim % 2 != 0) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"head_dim\": %" PRId64 " is odd; rotary positions need "
                       "pairs",
                       c->head_dim);
    }
    if (c->n_heads * c->head_dim > LV_HF_MAX_SIZE) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"head_dim\": %" PRId64 " times %" PRId64 " heads is too big", c->head_dim,
                       c->n_heads);
    }
    return LV_OK;
}

/* Values of a LLaMA that are not sizes. */
static int parse_llama_rest(lv_llama_config *c, const cJSON *object)
{
    const char *act = "silu";
    int rc = lv_hf_read_positive(object, "rms_norm_eps", 1, &c->rms_norm_eps);
    if (rc < 0 || (rc = lv_hf_read_positive(object, "rope_theta", 1e30, &c->rope_theta)) < 0 ||
        (rc = parse_rope(c, lv_json_find(object, "rope_scaling"))) < 0 ||
        (rc = parse_rope(c, lv_json_find(object, "rope_parameters"))) < 0 ||
        (rc = lv_json_bool(object, "tie_word_embeddings", false, &c->tied)) < 0 ||
        (rc = lv_json_bool(object, "attention_bias", false, &c->attention_bias)) < 0 ||
        (rc = lv_json_bool(object, "mlp_bias", false, &c->mlp_bias)) < 0 ||
        (rc = lv_hf_read_token(object, "bos_token_id", &c->bos_token_id)) < 0 ||
        (rc = lv_hf_read_token(object, "eos_token_id", &c->eos_token_id)) < 0 ||
        (rc = lv_hf_read_token(object, "pad_token_id", &c->pad_token_id)) < 0 ||
        (rc = lv_json_string(object, "hidden_act", false, &act)) < 0) {
        return rc;
    }
    return strcmp(act, "silu") == 0 || strcmp(act, "swish") == 0
               ? LV_OK
               : lv_hf_refuse(lv_json_find(object, "hidden_act"));
}

int lv_hf_parse_llama(lv_llama_config *config, const cJSON *object, bool whole)
{
    lv_llama_config c = *config;
    const lv_hf_size_key sizes[] = {
        {"vocab_size", &c.vocab_size, LV_HF_MAX_VOCAB, true},
        {"hidden_size", &c.hidden_size, LV_HF_MAX_SIZE, true},
        {"intermediate_size", &c.intermediate_size, LV_HF_MAX_SIZE, true},
        {"num_hidden_layers", &c.n_layers, LV_HF_MAX_LAYERS, true},
        {"num_attention_heads", &c.n_heads, LV_HF_MAX_SIZE, true},
        {"max_position_embeddings", &c.max_positions, LV_HF_MAX_POSITIONS, false},
    };
    int rc = LV_HF_CHECK_NEUTRAL(object, llama_neutral);
    if (rc == LV_OK) rc = lv_hf_read_sizes(object, sizes, sizeof sizes / sizeof *sizes, whole);
    if (rc < 0) {
        return rc;
    }
    c.n_kv_heads = c.n_heads;
    c.head_dim = c.hidden_size / c.n_heads;
    if (!lv_json_find(object, "head_dim") && c.hidden_size % c.n_heads != 0) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"hidden_size\": %" PRId64 " is no multiple of \"num_attention_heads\" "
                       "%" PRId64,
                       c.hidden_size, c.n_heads);
    }
    const lv_hf_size_key derived[] = {
        {"num_key_value_heads", &c.n_kv_heads, LV_HF_MAX_SIZE, false},
        {"head_dim", &c.head_dim, LV_HF_MAX_SIZE, false},
    };
    rc = lv_hf_read_sizes(object, derived, sizeof derived / sizeof *derived, false);
    if (rc == LV_OK) rc = parse_llama_rest(&c, object);
    if (rc == LV_OK) rc = check_llama(&c);
    if (rc == LV_OK) {
        *config = c;
    }
    return rc;
}

static bool names_architecture(const cJSON *root, const char *name)
{
    const cJSON *item;
    cJSON_ArrayForEach (item, lv_json_find(root, "architectures")) {
        if (cJSON_IsString(item) && strcmp(item->valuestring, name) == 0) {
            return true;
        }
    }
    return false;
}

static int kind_of(lv_hf_kind *out, const cJSON *root)
{
    const char *type = NULL;
    int rc = lv_json_string(root, "model_type", true, &type);
    if (rc < 0) {
        return rc;
    }
    if (strcmp(type, "clip_vision_model") == 0 || strcmp(type, "clip") == 0) {
        *out = LV_HF_CLIP;
    } else if (strcmp(type, "llama") == 0) {
        *out = LV_HF_LLAMA;
    } else if (strcmp(type, "llava_llama") == 0) {
        *out = LV_HF_LLAVA_ORIGINAL;
    } else if (strcmp(type, "llava") != 0) {
        return lv_fail(LV_ERR_UNSUPPORTED,
                       "\"model_type\": \"%s\" is not supported; there are "
                       "clip, clip_vision_model, llama, llava, llava_llama",
                       type);
    } else if (lv_json_find(root, "text_config") ||
               names_architecture(root, "LlavaForConditionalGeneration")) {
        *out = LV_HF_LLAVA;
    } else if (lv_json_find(root, "mm_hidden_size") ||
               names_architecture(root, "LlavaLlamaForCausalLM")) {
        *out = LV_HF_LLAVA_ORIGINAL;
    } else {
        return lv_fail(LV_ERR_FORMAT, "\"model_type\" is llava, but neither \"text_config\" nor "
                                      "\"mm_hidden_size\" nor \"architectures\" says which kind");
    }
    return LV_OK;
}

/* config.json of a directory and its kind; root is the caller's. */
int lv_hf_read_config(cJSON **root, lv_hf_kind *kind, const char *dir)
{
    char *path = lv_path("%s/config.json", dir);
    cJSON *json = NULL;
    int rc = lv_json_read(&json, path);
    if (rc == LV_OK && (rc = kind_of(kind, json)) < 0) {
        cJSON_Delete(json);
        lv_fail_within("%s", path);
    }
    if (rc == LV_OK) {
        *root = json;
    }
    free(path);
    return rc;
}

int lv_hf_kind_of(lv_hf_kind *out, const char *dir)
{
    cJSON *root = NULL;
    lv_hf_kind kind;
    int rc = lv_hf_read_config(&root, &kind, dir);
    if (rc == LV_OK) {
        cJSON_Delete(root);
        *out = kind;
    }
    return rc;
}

/* The vision_config of a CLIPModel or LLaVA; CLIP's old vision_config_dict takes its place. */
int lv_hf_parse_vision(lv_clip_config *out, const cJSON *root, const lv_clip_config *absent)
{
    const cJSON *part, *old;
    int rc = lv_hf_find_object(&part, root, "vision_config");
    if (rc == LV_OK) {
        rc = lv_hf_find_object(&old, root, "vision_config_dict");
    }
    if (rc < 0) {
        return rc;
    }
    part = old ? old : part;
    *out = part ? lv_hf_clip_defaults : *absent;
    if (!part) {
        return LV_OK;
    }
    rc = lv_hf_check_model_type(part, "clip_vision_model");
    if (rc == LV_OK) rc = parse_clip(out, part, false);
    return rc < 0 ? lv_fail_within("\"%s\"", part->string) : rc;
}

int lv_hf_wrong_kind(const char *dir, const char *expected)
{
    return lv_fail(LV_ERR_CONFIG, "%s/config.json: expected %s, this is another kind of model", dir,
                   expected);
}

int lv_hf_clip_config(lv_clip_config *out, const char *dir)
{
    cJSON *root = NULL;
    lv_hf_kind kind;
    lv_clip_config config = lv_hf_clip_defaults;
    int rc = lv_hf_read_config(&root, &kind, dir);
    if (rc < 0) {
        return rc;
    }
    const char *type = lv_json_find(root, "model_type")->valuestring;
    if (kind == LV_HF_LLAVA) {
        rc = lv_hf_parse_vision(&config, root, &lv_hf_llava_clip_defaults);
    } else if (kind != LV_HF_CLIP) {
        rc = lv_hf_wrong_kind(dir, "a CLIP vision tower");
        goto fail;
    } else if (strcmp(type, "clip") == 0) {
        rc = lv_hf_parse_vision(&config, root, &lv_hf_clip_defaults);
    } else {
        rc = parse_clip(&config, root, true);
    }
    if (rc < 0) {
        lv_fail_within("%s/config.json", dir);
        goto fail;
    }
    *out = config;
fail:
    cJSON_Delete(root);
    return rc;
}

int lv_hf_llama_config(lv_llama_config *out, const char *dir)
{
    cJSON *root = NULL;
    lv_hf_kind kind;
    lv_llama_config config = lv_hf_llama_defaults;
    int rc = lv_hf_read_config(&root, &kind, dir);
    if (rc < 0) {
        return rc;
    }
    if (kind != LV_HF_LLAMA) {
        rc = lv_hf_wrong_kind(dir, "a LLaMA");
        goto fail;
    }
    rc = lv_hf_parse_llama(&config, root, true);
    if (rc < 0) {
        lv_fail_within("%s/config.json", dir);
        goto fail;
    }
    *out = config;
fail:
    cJSON_Delete(root);
    return rc;
}

int lv_llava_rows_per_image(const lv_llava_config *config)
{
    return (int)lv_projector_rows_out(
        &config->projector, lv_clip_rows_per_image(&config->vision, config->vision_select_patch));
}
