/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON files of a Hugging Face directory. All keys are written, also those with a default, so
 * that both transformers 4 and 5 read the same model.
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "train/model/connector/connector.h"
#include "train/model/hf/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void need(const void *item)
{
    LV_CHECK(item, "out of memory for a JSON value");
}

static void set_number(cJSON *object, const char *key, double value)
{
    need(cJSON_AddNumberToObject(object, key, value));
}

static void set_bool(cJSON *object, const char *key, bool value)
{
    need(cJSON_AddBoolToObject(object, key, value));
}

static void set_string(cJSON *object, const char *key, const char *value)
{
    need(cJSON_AddStringToObject(object, key, value));
}

static void set_null(cJSON *object, const char *key)
{
    need(cJSON_AddNullToObject(object, key));
}

static void set_token(cJSON *object, const char *key, int64_t id)
{
    need(id < 0 ? cJSON_AddNullToObject(object, key)
                : cJSON_AddNumberToObject(object, key, (double)id));
}

static cJSON *set_object(cJSON *object, const char *key)
{
    cJSON *child = cJSON_AddObjectToObject(object, key);
    need(child);
    return child;
}

static cJSON *new_object(void)
{
    cJSON *object = cJSON_CreateObject();
    need(object);
    return object;
}

static void set_architecture(cJSON *object, const char *architecture, const char *model_type,
                             lv_dtype dtype)
{
    cJSON *list = cJSON_AddArrayToObject(object, "architectures");
    need(list);
    LV_CHECK(cJSON_AddItemToArray(list, cJSON_CreateString(architecture)), "out of memory");
    set_string(object, "model_type", model_type);
    set_string(object, "torch_dtype", dtype == LV_BF16 ? "bfloat16" : "float32");
}

/* Three floats with the fewest digits that give the same floats again. */
static void set_triple(cJSON *object, const char *key, const float values[3])
{
    cJSON *list = cJSON_AddArrayToObject(object, key);
    need(list);
    for (int i = 0; i < 3; i++) {
        char text[32];
        int digits = 6;
        do {
            snprintf(text, sizeof text, "%.*g", digits, (double)values[i]);
        } while (strtof(text, NULL) != values[i] && digits++ < 9);
        LV_CHECK(cJSON_AddItemToArray(list, cJSON_CreateNumber(strtod(text, NULL))),
                 "out of memory");
    }
}

/* Prints and deletes root. */
static int write_json(cJSON *root, const char *dir, const char *name)
{
    char *path = lv_path("%s/%s", dir, name);
    char *text = lv_json_print(root);
    char *line = lv_path("%s\n", text);
    int rc = lv_file_write(path, line, strlen(line));
    free(line);
    free(text);
    cJSON_Delete(root);
    free(path);
    return rc;
}

static void set_clip(cJSON *o, const lv_clip_config *c)
{
    set_number(o, "hidden_size", (double)c->hidden_size);
    set_number(o, "intermediate_size", (double)c->intermediate_size);
    set_number(o, "num_hidden_layers", (double)c->n_layers);
    set_number(o, "num_attention_heads", (double)c->n_heads);
    set_number(o, "num_channels", (double)c->n_channels);
    set_number(o, "image_size", (double)c->image_size);
    set_number(o, "patch_size", (double)c->patch_size);
    set_number(o, "projection_dim", (double)c->projection_dim);
    set_string(o, "hidden_act", c->quick_gelu ? "quick_gelu" : "gelu");
    set_number(o, "layer_norm_eps", c->layer_norm_eps);
    set_number(o, "attention_dropout", 0);
}

static void set_llama(cJSON *o, const lv_llama_config *c)
{
    set_number(o, "vocab_size", (double)c->vocab_size);
    set_number(o, "hidden_size", (double)c->hidden_size);
    set_number(o, "intermediate_size", (double)c->intermediate_size);
    set_number(o, "num_hidden_layers", (double)c->n_layers);
    set_number(o, "num_attention_heads", (double)c->n_heads);
    set_number(o, "num_key_value_heads", (double)c->n_kv_heads);
    set_number(o, "head_dim", (double)c->head_dim);
    set_string(o, "hidden_act", "silu");
    set_number(o, "max_position_embeddings", (double)c->max_positions);
    set_number(o, "rms_norm_eps", c->rms_norm_eps);
    set_number(o, "rope_theta", c->rope_theta);
    set_null(o, "rope_scaling");
    set_bool(o, "tie_word_embeddings", c->tied);
    set_bool(o, "attention_bias", c->attention_bias);
    set_bool(o, "mlp_bias", c->mlp_bias);
    set_number(o, "attention_dropout", 0);
    set_token(o, "bos_token_id", c->bos_token_id);
    set_token(o, "eos_token_id", c->eos_token_id);
    set_token(o, "pad_token_id", c->pad_token_id);
    set_bool(o, "use_cache", true);
}

static int write_generation_config(const lv_llama_config *c, const char *dir)
{
    cJSON *root = new_object();
    set_bool(root, "_from_model_config", true);
    set_token(root, "bos_token_id", c->bos_token_id);
    set_token(root, "eos_token_id", c->eos_token_id);
    if (c->pad_token_id >= 0) {
        set_token(root, "pad_token_id", c->pad_token_id);
    }
    return write_json(root, dir, "generation_config.json");
}

/* LlavaImageProcessor pads to a square as LLaVA does; CLIPImageProcessor knows only the crop. */
static int write_preprocessor(const lv_clip_config *c, const float mean[3], const float std[3],
                              bool llava, bool aspect_pad, const char *dir)
{
    cJSON *root = new_object();
    set_string(root, "image_processor_type",
               aspect_pad ? "LlavaImageProcessor" : "CLIPImageProcessor");
    if (llava) {
        set_string(root, "processor_class", "LlavaProcessor");
    }
    if (aspect_pad) {
        set_bool(root, "do_pad", true);
    }
    set_bool(root, "do_convert_rgb", true);
    set_bool(root, "do_resize", true);
    set_number(set_object(root, "size"), "shortest_edge", (double)c->image_size);
    set_number(root, "resample", 3);
    set_bool(root, "do_center_crop", true);
    cJSON *crop = set_object(root, "crop_size");
    set_number(crop, "height", (double)c->image_size);
    set_number(crop, "width", (double)c->image_size);
    set_bool(root, "do_rescale", true);
    set_number(root, "rescale_factor", 1.0 / 255);
    set_bool(root, "do_normalize", true);
    set_triple(root, "image_mean", mean);
    set_triple(root, "image_std", std);
    return write_json(root, dir, "preprocessor_config.json");
}

static const char *feature_strategy(const lv_llava_config *c)
{
    return c->vision_select_patch ? "default" : "full";
}

static int write_processor(const lv_llava_config *c, const char *dir)
{
    cJSON *root = new_object();
    set_string(root, "processor_class", "LlavaProcessor");
    set_string(root, "image_token", "<image>");
    set_number(root, "patch_size", (double)c->vision.patch_size);
    set_string(root, "vision_feature_select_strategy", feature_strategy(c));
    set_number(root, "num_additional_image_tokens", 1);
    return write_json(root, dir, "processor_config.json");
}

static cJSON *hf_llava(const lv_llava_config *c, lv_dtype dtype)
{
    cJSON *root = new_object();
    set_architecture(root, "LlavaForConditionalGeneration", "llava", dtype);
    set_number(root, "image_token_index", (double)c->image_token_id);
    set_number(root, "image_seq_length", lv_llava_rows_per_image(c));
    set_string(root, "projector_hidden_act",
               c->projector.kind == LV_PROJECTOR_LINEAR ? "linear" : "gelu");
    set_bool(root, "multimodal_projector_bias", true);
    set_number(root, "vision_feature_layer", c->vision_select_layer);
    set_string(root, "vision_feature_select_strategy", feature_strategy(c));
    set_bool(root, "tie_word_embeddings", c->text.tied);
    cJSON *text = set_object(root, "text_config");
    set_string(text, "model_type", "llama");
    set_llama(text, &c->text);
    cJSON *vision = set_object(root, "vision_config");
    set_string(vision, "model_type", "clip_vision_model");
    set_clip(vision, &c->vision);
    return root;
}

/* LLaVA's own form, and the tower's shape beside it: LLaVA's code takes that from the directory
 * that its user enters as "mm_vision_tower". */
static cJSON *original_llava(const lv_llava_config *c, bool aspect_pad, lv_dtype dtype)
{
    char type[32];
    cJSON *root = new_object();
    set_architecture(root, "LlavaLlamaForCausalLM", "llava_llama", dtype);
    set_llama(root, &c->text);
    set_string(root, "mm_projector_type", lv_projector_type(type, sizeof type, &c->projector));
    set_number(root, "mm_hidden_size", (double)c->vision.hidden_size);
    set_number(root, "mm_vision_select_layer", c->vision_select_layer);
    set_string(root, "mm_vision_select_feature", c->vision_select_patch ? "patch" : "cls_patch");
    set_bool(root, "mm_use_im_start_end", false);
    set_bool(root, "mm_use_im_patch_token", false);
    set_bool(root, "use_mm_proj", true);
    set_string(root, "image_aspect_ratio", aspect_pad ? "pad" : "square");
    cJSON *vision = set_object(root, "vision_config");
    set_string(vision, "model_type", "clip_vision_model");
    set_clip(vision, &c->vision);
    return root;
}

int lv_hf_write_clip_json(const lv_clip_config *config, const char *dir)
{
    float mean[3], std[3];
    cJSON *root = new_object();
    set_architecture(root, "CLIPVisionModel", "clip_vision_model", LV_F32);
    set_clip(root, config);
    lv_hf_clip_norm(mean, std);
    int rc = write_json(root, dir, "config.json");
    return rc < 0 ? rc : write_preprocessor(config, mean, std, false, false, dir);
}

int lv_hf_write_llama_json(const lv_llama_config *config, const char *dir)
{
    cJSON *root = new_object();
    set_architecture(root, "LlamaForCausalLM", "llama", LV_F32);
    set_llama(root, config);
    int rc = write_json(root, dir, "config.json");
    return rc < 0 ? rc : write_generation_config(config, dir);
}

int lv_hf_write_llava_json(const lv_llava_config *config, lv_hf_kind kind, bool aspect_pad,
                           lv_dtype dtype, const char *dir)
{
    bool hf = kind == LV_HF_LLAVA;
    cJSON *root = hf ? hf_llava(config, dtype) : original_llava(config, aspect_pad, dtype);
    int rc = write_json(root, dir, "config.json");
    if (rc < 0 || (rc = write_generation_config(&config->text, dir)) < 0 ||
        (rc = write_preprocessor(&config->vision, config->image_mean, config->image_std, hf,
                                 aspect_pad && hf, dir)) < 0) {
        return rc;
    }
    return hf ? write_processor(config, dir) : LV_OK;
}
