/* SPDX-License-Identifier: Apache-2.0
 *
 * config.json of the two LLaVA families, see hf_config.c.
 */
#include "autograd/error.h"
#include "data/json/json.h"
#include "train/model/connector/connector.h"
#include "train/model/hf/internal.h"
#include "train/model/hf/keys.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { DEFAULT_IMAGE_TOKEN = 32000 };

static const lv_hf_neutral_key llava_neutral[] = {{"quantization_config", NAN}};
static const lv_hf_neutral_key original_neutral[] = {
    {"mm_use_im_start_end", 0}, {"mm_use_im_patch_token", 0}, {"mm_resampler_type", NAN}};
static int parse_select_layer(lv_llava_config *c, const cJSON *root, const char *key, bool required)
{
    int64_t layer = -2;
    int rc = lv_json_int(root, key, required, &layer);
    if (rc < 0) {
        return rc;
    }
    int64_t states = c->vision.n_layers ? c->vision.n_layers + 1 : LV_HF_MAX_LAYERS;
    if (layer < -states || layer >= states) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\": the tower has no hidden state %" PRId64, key, layer);
    }
    c->vision_select_layer = (int)layer;
    return LV_OK;
}

/* The feature choice under either family's words. */
static int parse_select_feature(lv_llava_config *c, const cJSON *root, const char *key,
                                const char *patch, const char *all)
{
    const char *feature = patch;
    int rc = lv_json_string(root, key, false, &feature);
    if (rc < 0) {
        return rc;
    }
    c->vision_select_patch = strcmp(feature, patch) == 0;
    return c->vision_select_patch || strcmp(feature, all) == 0
               ? LV_OK
               : lv_hf_refuse(lv_json_find(root, key));
}

static int parse_hf_projector(lv_projector_config *projector, const cJSON *root)
{
    const char *act = "gelu";
    bool bias = true;
    int rc = lv_json_string(root, "projector_hidden_act", false, &act);
    if (rc == LV_OK) {
        rc = lv_json_bool(root, "multimodal_projector_bias", false, &bias);
    }
    if (rc < 0) {
        return rc;
    }
    if (!bias) {
        return lv_hf_refuse(lv_json_find(root, "multimodal_projector_bias"));
    }
    if (strcmp(act, "gelu") == 0) {
        *projector = (lv_projector_config){.kind = LV_PROJECTOR_MLP_GELU, .depth = 2};
    } else if (strcmp(act, "linear") == 0) {
        /* How this program writes a linear one: linear_2 is the identity, lv_hf_load checks it. */
        *projector = (lv_projector_config){.kind = LV_PROJECTOR_LINEAR};
    } else {
        return lv_hf_refuse(lv_json_find(root, "projector_hidden_act"));
    }
    return LV_OK;
}

static int parse_image_token(lv_llava_config *c, const cJSON *root)
{
    int64_t id = DEFAULT_IMAGE_TOKEN;
    int rc = lv_json_int(root, "image_token_index", false, &id);
    if (rc == LV_OK) {
        rc = lv_json_int(root, "image_token_id", false, &id);
    }
    if (rc == LV_OK && (id < 0 || id >= c->text.vocab_size)) {
        rc = lv_fail(LV_ERR_FORMAT,
                     "\"image_token_index\": %" PRId64 " is outside the vocabulary of %" PRId64, id,
                     c->text.vocab_size);
    }
    c->image_token_id = id;
    return rc;
}

static int parse_llava_hf(lv_llava_config *c, const cJSON *root)
{
    const cJSON *text;
    int rc = LV_HF_CHECK_NEUTRAL(root, llava_neutral);
    if (rc == LV_OK) {
        rc = lv_hf_find_object(&text, root, "text_config");
    }
    if (rc < 0) {
        return rc;
    }
    c->text = lv_hf_llama_defaults;
    /* also without one: sizes that follow from others are filled in there */
    if ((rc = lv_hf_check_model_type(text, "llama")) < 0 ||
        (rc = lv_hf_parse_llama(&c->text, text, false)) < 0) {
        return lv_fail_within("\"text_config\"");
    }
    if ((rc = lv_hf_parse_vision(&c->vision, root, &lv_hf_llava_clip_defaults)) < 0 ||
        (rc = parse_hf_projector(&c->projector, root)) < 0 ||
        (rc = parse_select_layer(c, root, "vision_feature_layer", false)) < 0 ||
        (rc = parse_image_token(c, root)) < 0) {
        return rc;
    }
    c->projector.in_size = c->vision.hidden_size;
    return parse_select_feature(c, root, "vision_feature_select_strategy", "default", "full");
}

/* Ways of cutting an image that LLaVA added later. */
static int parse_original_image(lv_llava_config *c, const cJSON *root)
{
    const char *aspect = "square", *merge = "flat";
    int rc = lv_json_string(root, "image_aspect_ratio", false, &aspect);
    if (rc == LV_OK) {
        rc = lv_json_string(root, "mm_patch_merge_type", false, &merge);
    }
    if (rc < 0) {
        return rc;
    }
    if (strcmp(aspect, "square") != 0 && strcmp(aspect, "pad") != 0) {
        return lv_hf_refuse(lv_json_find(root, "image_aspect_ratio"));
    }
    c->aspect_pad = strcmp(aspect, "pad") == 0;
    return strcmp(merge, "flat") == 0 ? LV_OK
                                      : lv_hf_refuse(lv_json_find(root, "mm_patch_merge_type"));
}

static int parse_original_projector(lv_projector_config *projector, const cJSON *root)
{
    const char *type = "linear"; /* before LLaVA 1.5 there was no other */
    int rc = lv_json_string(root, "mm_projector_type", false, &type);
    if (rc < 0) {
        return rc;
    }
    return lv_projector_config_parse(projector, type) < 0
               ? lv_fail(LV_ERR_UNSUPPORTED, "\"mm_projector_type\": %s", lv_error_message())
               : LV_OK;
}

static int parse_llava_original(lv_llava_config *c, bool *needs_tower, const cJSON *root)
{
    bool tower_trained = false;
    int rc = LV_HF_CHECK_NEUTRAL(root, original_neutral);
    c->text = lv_hf_llama_defaults;
    if (rc < 0 || (rc = parse_original_image(c, root)) < 0 ||
        (rc = lv_hf_parse_llama(&c->text, root, true)) < 0 ||
        (rc = parse_original_projector(&c->projector, root)) < 0 ||
        (rc = lv_json_bool(root, "unfreeze_mm_vision_tower", false, &tower_trained)) < 0) {
        return rc;
    }
    *needs_tower = !lv_json_find(root, "vision_config");
    if (*needs_tower && tower_trained) {
        return lv_fail(LV_ERR_UNSUPPORTED,
                       "\"unfreeze_mm_vision_tower\": the tower's weights are its own, but its "
                       "shape is not given; add the tower's config as \"vision_config\"");
    }
    if (!*needs_tower) {
        rc = lv_hf_parse_vision(&c->vision, root, &lv_hf_clip_defaults);
        c->projector.in_size = c->vision.hidden_size;
    }
    const lv_hf_size_key sizes[] = {
        {"mm_hidden_size", &c->projector.in_size, LV_HF_MAX_SIZE, true}};
    if (rc < 0 || (rc = lv_hf_read_sizes(root, sizes, 1, *needs_tower)) < 0 ||
        (rc = parse_select_layer(c, root, "mm_vision_select_layer", true)) < 0) {
        return rc;
    }
    if (!*needs_tower && c->projector.in_size != c->vision.hidden_size) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"mm_hidden_size\": %" PRId64 ", but the tower's hidden_size is %" PRId64,
                       c->projector.in_size, c->vision.hidden_size);
    }
    c->image_token_id = -1;
    return parse_select_feature(c, root, "mm_vision_select_feature", "patch", "cls_patch");
}

int lv_hf_llava_config(lv_llava_config *out, bool *needs_tower, const char *dir)
{
    cJSON *root = NULL;
    lv_hf_kind kind;
    lv_llava_config config = {0};
    bool without_tower = false;
    int rc = lv_hf_read_config(&root, &kind, dir);
    if (rc < 0) {
        return rc;
    }
    if (kind != LV_HF_LLAVA && kind != LV_HF_LLAVA_ORIGINAL) {
        rc = lv_hf_wrong_kind(dir, "a LLaVA");
        goto fail;
    }
    rc = kind == LV_HF_LLAVA ? parse_llava_hf(&config, root)
                             : parse_llava_original(&config, &without_tower, root);
    config.projector.out_size = config.text.hidden_size;
    if (rc == LV_OK && config.projector.kind == LV_PROJECTOR_IDENTITY &&
        config.projector.in_size != config.projector.out_size) {
        rc = lv_fail(LV_ERR_FORMAT, "an identity projector from %" PRId64 " to %" PRId64,
                     config.projector.in_size, config.projector.out_size);
    }
    if (rc < 0) {
        lv_fail_within("%s/config.json", dir);
        goto fail;
    }
    rc = lv_hf_image_norm(config.image_mean, config.image_std, dir);
    if (rc == LV_OK && kind == LV_HF_LLAVA) {
        rc = lv_hf_image_pads(&config.aspect_pad, dir);
    }
    if (rc < 0) {
        goto fail;
    }
    *out = config;
    *needs_tower = without_tower;
fail:
    cJSON_Delete(root);
    return rc;
}
