/* SPDX-License-Identifier: Apache-2.0
 *
 * config.json and the image processor's file into the shapes of a model. What a file leaves out
 * has the value that transformers gives it; what would change the mathematics and is not
 * implemented is refused by name.
 * source transformers 4.57 and 5: configuration_llava.py; haotian-liu/LLaVA: llava_arch.py
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "train/model/hf/internal.h"
#include "train/model/keys.h"
#include "train/model/language/families.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_BYTES = 512 };

/* ---- which kind, and bare models ---- */

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

/* The family of a LLaVA in its own form, by its model_type or else its architecture; NULL: neither
 * says. */
static const lv_family *llava_family(const cJSON *root)
{
    const cJSON *item;
    const char *type = cJSON_GetStringValue(lv_json_find(root, "model_type"));
    const lv_family *family = type ? lv_family_find_llava(type) : NULL;
    cJSON_ArrayForEach (item, lv_json_find(root, "architectures")) {
        family = family || !cJSON_IsString(item) ? family : lv_family_find_llava(item->valuestring);
    }
    return family;
}

static int fail_type(const char *type)
{
    char vision[LIST_BYTES], language[LIST_BYTES];
    return lv_fail(
        LV_ERR_UNSUPPORTED, "\"model_type\": \"%s\" is not supported; there are %s, %s, llava",
        type, lv_towers_list(vision, sizeof vision), lv_families_list(language, sizeof language));
}

static int kind_of_config(lv_hf_kind *out, const cJSON *root)
{
    const char *type = NULL;
    int rc = lv_json_string(root, "model_type", true, &type);
    if (rc < 0) {
        return rc;
    }
    const bool llava = strcmp(type, "llava") == 0;
    if (lv_tower_find(type) || lv_tower_find_whole(type)) {
        *out = LV_HF_VISION;
    } else if (lv_family_find(type)) {
        *out = LV_HF_LANGUAGE;
    } else if (llava && (lv_json_find(root, "text_config") ||
                         names_architecture(root, "LlavaForConditionalGeneration"))) {
        *out = LV_HF_LLAVA;
    } else if (llava_family(root) || (llava && lv_json_find(root, "mm_hidden_size"))) {
        *out = LV_HF_LLAVA_ORIGINAL;
    } else if (llava) {
        return lv_fail(LV_ERR_FORMAT, "\"model_type\" is llava, but neither \"text_config\" nor "
                                      "\"mm_hidden_size\" nor \"architectures\" says which kind");
    } else {
        return fail_type(type);
    }
    return LV_OK;
}

/* config.json of a directory and its kind; root is the caller's. */
static int read_kind(cJSON **root, lv_hf_kind *kind, const char *dir)
{
    char *path = lv_path("%s/config.json", dir);
    cJSON *json = NULL;
    int rc = lv_json_read(&json, path);
    if (rc == LV_OK && (rc = kind_of_config(kind, json)) < 0) {
        cJSON_Delete(json);
        lv_fail_within("%s", path);
    }
    if (rc == LV_OK) {
        *root = json;
    }
    free(path);
    return rc;
}

/* The vision_config of a model; CLIP's old vision_config_dict takes its place.
 * in     usual: the tower if there is no model_type; absent: the config without a vision_config */
static int parse_vision(lv_vision_config *out, const cJSON *root, const lv_tower *usual,
                        const lv_vision_config *absent)
{
    const cJSON *part, *old;
    const char *type = usual->model_type;
    int rc = lv_key_object(&part, root, "vision_config");
    if (rc == LV_OK) rc = lv_key_object(&old, root, "vision_config_dict");
    if (rc < 0) {
        return rc;
    }
    part = old ? old : part;
    if (!part) {
        *out = *absent;
        out->tower = usual;
        return LV_OK;
    }
    rc = lv_json_string(part, "model_type", false, &type);
    const lv_tower *tower = rc == LV_OK ? lv_tower_find(type) : NULL;
    if (rc == LV_OK && !tower) {
        rc = fail_type(type);
    }
    if (rc == LV_OK) {
        lv_vision_config config = *tower->defaults;
        config.tower = tower;
        rc = tower->parse(&config, part, false);
        *out = config;
    }
    return rc < 0 ? lv_fail_within("\"%s\"", part->string) : rc;
}

static int fail_kind(const char *dir, const char *expected)
{
    return lv_fail(LV_ERR_CONFIG, "%s/config.json: expected %s, this is another kind of model", dir,
                   expected);
}

/* A tower's own directory, or that of a whole model around it. */
static int parse_tower(lv_vision_config *out, const cJSON *root)
{
    const char *type = lv_json_find(root, "model_type")->valuestring;
    const lv_tower *whole = lv_tower_find_whole(type), *tower = lv_tower_find(type);
    if (whole) {
        return parse_vision(out, root, whole, whole->defaults);
    }
    *out = *tower->defaults;
    out->tower = tower;
    return tower->parse(out, root, true);
}

int lv_hf_vision_config(lv_vision_config *out, const char *dir)
{
    cJSON *root = NULL;
    lv_hf_kind kind = LV_HF_VISION;
    lv_vision_config config = {0};
    const lv_tower *first = lv_tower_find(NULL);
    int rc = read_kind(&root, &kind, dir);
    if (rc < 0) {
        return rc;
    }
    if (kind != LV_HF_VISION && kind != LV_HF_LLAVA) {
        rc = fail_kind(dir, "a vision tower");
    } else {
        rc = kind == LV_HF_VISION ? parse_tower(&config, root)
                                  : parse_vision(&config, root, first, first->llava_defaults);
        if (rc < 0) {
            lv_fail_within("%s/config.json", dir);
        } else {
            *out = config;
        }
    }
    cJSON_Delete(root);
    return rc;
}

static int parse_family(lv_llama_config *out, const lv_family *family, const cJSON *object,
                        bool whole)
{
    *out = *family->defaults;
    out->family = family;
    return lv_family_parse(out, object, whole);
}

int lv_hf_language_config(lv_llama_config *out, const char *dir)
{
    cJSON *root = NULL;
    lv_hf_kind kind = LV_HF_VISION;
    lv_llama_config config;
    int rc = read_kind(&root, &kind, dir);
    if (rc < 0) {
        return rc;
    }
    if (kind != LV_HF_LANGUAGE) {
        rc = fail_kind(dir, "a language model");
    } else {
        const char *type = lv_json_find(root, "model_type")->valuestring;
        rc = parse_family(&config, lv_family_find(type), root, true);
        if (rc < 0) {
            lv_fail_within("%s/config.json", dir);
        } else {
            *out = config;
        }
    }
    cJSON_Delete(root);
    return rc;
}

/* ---- the image processor ---- */

static const lv_neutral_key image_neutral[] = {{"do_normalize", 1}, {"do_rescale", 1},
                                               {"do_resize", 1},    {"do_center_crop", 1},
                                               {"resample", 3},     {NULL, 0}};

static int read_triple(const cJSON *object, const char *key, bool positive, float out[3])
{
    const cJSON *list = lv_json_find(object, key);
    if (!list) {
        return LV_OK;
    }
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != 3) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\": expected three numbers", key);
    }
    for (int i = 0; i < 3; i++) {
        const cJSON *item = cJSON_GetArrayItem(list, i);
        double value = cJSON_IsNumber(item) ? item->valuedouble : NAN;
        if (!(fabs(value) <= 1e6) || (positive && value < 1e-6)) {
            return lv_fail(LV_ERR_FORMAT, "\"%s\": value %d is impossible", key, i);
        }
        out[i] = (float)value;
    }
    return LV_OK;
}

static int parse_image_norm(float mean[3], float std[3], const cJSON *object)
{
    double scale = 1.0 / 255;
    int rc = lv_keys_check_neutral(object, image_neutral);
    if (rc == LV_OK) rc = lv_json_double(object, "rescale_factor", false, &scale);
    if (rc < 0) {
        return rc;
    }
    if (fabs(scale * 255 - 1) > 1e-6) {
        return lv_key_refuse(lv_json_find(object, "rescale_factor"));
    }
    rc = read_triple(object, "image_mean", false, mean);
    return rc < 0 ? rc : read_triple(object, "image_std", true, std);
}

/* transformers 5 keeps the image processor inside processor_config.json. */
static int read_image_processor(cJSON **root, const cJSON **object, char **path, const char *dir)
{
    *path = lv_path("%s/preprocessor_config.json", dir);
    if (lv_file_exists(*path)) {
        int rc = lv_json_read(root, *path);
        *object = *root;
        return rc;
    }
    free(*path);
    *path = lv_path("%s/processor_config.json", dir);
    if (!lv_file_exists(*path)) {
        return LV_OK;
    }
    int rc = lv_json_read(root, *path);
    if (rc == LV_OK && (rc = lv_key_object(object, *root, "image_processor")) < 0) {
        lv_fail_within("%s", *path);
    }
    return rc;
}

int lv_hf_image_norm(float mean[3], float std[3], const lv_tower *tower, const char *dir)
{
    float m[3], s[3];
    cJSON *root = NULL;
    const cJSON *object = NULL;
    char *path = NULL;
    memcpy(m, tower->image_mean, sizeof m);
    memcpy(s, tower->image_std, sizeof s);
    int rc = read_image_processor(&root, &object, &path, dir);
    if (rc == LV_OK && object && (rc = parse_image_norm(m, s, object)) < 0) {
        lv_fail_within("%s", path);
    }
    if (rc == LV_OK) {
        memcpy(mean, m, sizeof m);
        memcpy(std, s, sizeof s);
    }
    cJSON_Delete(root);
    free(path);
    return rc;
}

/* Whether the directory's image processor pads; false if it has none. */
static int image_pads(bool *out, const char *dir)
{
    bool pads = false;
    cJSON *root = NULL;
    const cJSON *object = NULL;
    char *path = NULL;
    int rc = read_image_processor(&root, &object, &path, dir);
    if (rc == LV_OK && object && (rc = lv_json_bool(object, "do_pad", false, &pads)) < 0) {
        lv_fail_within("%s", path);
    }
    if (rc == LV_OK) {
        *out = pads;
    }
    cJSON_Delete(root);
    free(path);
    return rc;
}

/* ---- LLaVA ---- */

enum { DEFAULT_IMAGE_TOKEN = 32000 };

static const lv_neutral_key llava_neutral[] = {{"quantization_config", NAN}, {NULL, 0}};
static const lv_neutral_key original_neutral[] = {{"mm_use_im_start_end", 0},
                                                  {"mm_use_im_patch_token", 0},
                                                  {"mm_resampler_type", NAN},
                                                  {NULL, 0}};

static int parse_select_layer(lv_llava_config *c, const cJSON *root, const char *key, bool required)
{
    int64_t layer = -2;
    int rc = lv_json_int(root, key, required, &layer);
    if (rc < 0) {
        return rc;
    }
    int64_t states = c->vision.n_layers ? c->vision.n_layers + 1 : LV_KEY_MAX_LAYERS;
    if (layer < -states || layer >= states) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\": the tower has no hidden state %" PRId64, key, layer);
    }
    c->vision_select_layer = (int)layer;
    return LV_OK;
}

/* The selected features, under the names of either form. */
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
               : lv_key_refuse(lv_json_find(root, key));
}

static int parse_hf_connector(lv_connector_config *connector, const cJSON *root)
{
    const char *act = "gelu";
    bool bias = true;
    int rc = lv_json_string(root, "projector_hidden_act", false, &act);
    if (rc == LV_OK) rc = lv_json_bool(root, "multimodal_projector_bias", false, &bias);
    if (rc < 0) {
        return rc;
    }
    if (!bias) {
        return lv_key_refuse(lv_json_find(root, "multimodal_projector_bias"));
    }
    return lv_connector_config_of_hf(connector, act)
               ? LV_OK
               : lv_key_refuse(lv_json_find(root, "projector_hidden_act"));
}

static int parse_image_token(lv_llava_config *c, const cJSON *root)
{
    int64_t id = DEFAULT_IMAGE_TOKEN;
    int rc = lv_json_int(root, "image_token_index", false, &id);
    if (rc == LV_OK) rc = lv_json_int(root, "image_token_id", false, &id);
    if (rc == LV_OK && (id < 0 || id >= c->text.vocab_size)) {
        rc = lv_fail(LV_ERR_FORMAT,
                     "\"image_token_index\": %" PRId64 " is outside the vocabulary of %" PRId64, id,
                     c->text.vocab_size);
    }
    c->image_token_id = id;
    return rc;
}

static int parse_text(lv_llama_config *out, const cJSON *root)
{
    const cJSON *text;
    const char *type = lv_family_find(NULL)->model_type;
    int rc = lv_key_object(&text, root, "text_config");
    if (rc < 0) {
        return rc;
    }
    rc = lv_json_string(text, "model_type", false, &type);
    const lv_family *family = rc == LV_OK ? lv_family_find(type) : NULL;
    if (rc == LV_OK) {
        /* also without one: it fills in sizes that follow from others */
        rc = family ? parse_family(out, family, text, false) : fail_type(type);
    }
    return rc < 0 ? lv_fail_within("\"text_config\"") : rc;
}

static int parse_llava_hf(lv_llava_config *c, const cJSON *root)
{
    const lv_tower *first = lv_tower_find(NULL);
    int rc = lv_keys_check_neutral(root, llava_neutral);
    if (rc < 0 || (rc = parse_text(&c->text, root)) < 0 ||
        (rc = parse_vision(&c->vision, root, first, first->llava_defaults)) < 0 ||
        (rc = parse_hf_connector(&c->connector, root)) < 0 ||
        (rc = parse_select_layer(c, root, "vision_feature_layer", false)) < 0 ||
        (rc = parse_image_token(c, root)) < 0) {
        return rc;
    }
    c->connector.in_size = c->vision.hidden_size;
    return parse_select_feature(c, root, "vision_feature_select_strategy", "default", "full");
}

/* Image layouts of later LLaVAs. */
static int parse_original_image(lv_llava_config *c, const cJSON *root)
{
    const char *aspect = "square", *merge = "flat";
    int rc = lv_json_string(root, "image_aspect_ratio", false, &aspect);
    if (rc == LV_OK) rc = lv_json_string(root, "mm_patch_merge_type", false, &merge);
    if (rc < 0) {
        return rc;
    }
    if (strcmp(aspect, "square") != 0 && strcmp(aspect, "pad") != 0) {
        return lv_key_refuse(lv_json_find(root, "image_aspect_ratio"));
    }
    c->aspect_pad = strcmp(aspect, "pad") == 0;
    return strcmp(merge, "flat") == 0 ? LV_OK
                                      : lv_key_refuse(lv_json_find(root, "mm_patch_merge_type"));
}

static int parse_original_connector(lv_connector_config *connector, const cJSON *root)
{
    const char *type = "linear"; /* before LLaVA 1.5 there was no other */
    int rc = lv_json_string(root, "mm_projector_type", false, &type);
    if (rc < 0) {
        return rc;
    }
    return lv_connector_config_parse(connector, type) < 0
               ? lv_fail(LV_ERR_UNSUPPORTED, "\"mm_projector_type\": %s", lv_error_message())
               : LV_OK;
}

static int parse_llava_original(lv_llava_config *c, bool *needs_tower, const cJSON *root)
{
    bool tower_trained = false;
    int rc = lv_keys_check_neutral(root, original_neutral);
    const lv_family *family = llava_family(root);
    if (rc < 0 || (rc = parse_original_image(c, root)) < 0 ||
        (rc = parse_family(&c->text, family ? family : lv_family_find(NULL), root, true)) < 0 ||
        (rc = parse_original_connector(&c->connector, root)) < 0 ||
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
        const lv_tower *first = lv_tower_find(NULL);
        rc = parse_vision(&c->vision, root, first, first->defaults);
        c->connector.in_size = c->vision.hidden_size;
    }
    const lv_size_key sizes[] = {{"mm_hidden_size", &c->connector.in_size, LV_KEY_MAX_SIZE, true},
                                 {NULL, NULL, 0, false}};
    if (rc < 0 || (rc = lv_keys_read_sizes(root, sizes, *needs_tower)) < 0 ||
        (rc = parse_select_layer(c, root, "mm_vision_select_layer", true)) < 0) {
        return rc;
    }
    if (!*needs_tower && c->connector.in_size != c->vision.hidden_size) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"mm_hidden_size\": %" PRId64 ", but the tower's hidden_size is %" PRId64,
                       c->connector.in_size, c->vision.hidden_size);
    }
    c->image_token_id = -1;
    return parse_select_feature(c, root, "mm_vision_select_feature", "patch", "cls_patch");
}

int lv_hf_llava_config(lv_llava_config *out, bool *needs_tower, const char *dir)
{
    cJSON *root = NULL;
    lv_hf_kind kind = LV_HF_VISION;
    lv_llava_config config = {0};
    bool without_tower = false;
    int rc = read_kind(&root, &kind, dir);
    if (rc < 0) {
        return rc;
    }
    if (kind != LV_HF_LLAVA && kind != LV_HF_LLAVA_ORIGINAL) {
        rc = fail_kind(dir, "a LLaVA");
        goto done;
    }
    rc = kind == LV_HF_LLAVA ? parse_llava_hf(&config, root)
                             : parse_llava_original(&config, &without_tower, root);
    config.connector.out_size = config.text.hidden_size;
    if (rc == LV_OK && lv_connector_check(&config.connector) < 0) {
        rc = lv_fail(LV_ERR_FORMAT, "%s", lv_error_message());
    }
    if (rc < 0) {
        lv_fail_within("%s/config.json", dir);
        goto done;
    }
    const lv_tower *tower = without_tower ? lv_tower_find(NULL) : config.vision.tower;
    rc = lv_hf_image_norm(config.image_mean, config.image_std, tower, dir);
    if (rc == LV_OK && kind == LV_HF_LLAVA) {
        rc = image_pads(&config.aspect_pad, dir);
    }
    if (rc < 0) {
        goto done;
    }
    *out = config;
    *needs_tower = without_tower;
done:
    cJSON_Delete(root);
    return rc;
}

int lv_hf_any_config(lv_llava_config *out, lv_hf_kind *kind, const char *dir)
{
    cJSON *root = NULL;
    lv_llava_config config = {0};
    bool needs_tower = false;
    int rc = read_kind(&root, kind, dir);
    cJSON_Delete(root);
    if (rc == LV_OK) {
        rc = *kind == LV_HF_VISION     ? lv_hf_vision_config(&config.vision, dir)
             : *kind == LV_HF_LANGUAGE ? lv_hf_language_config(&config.text, dir)
                                       : lv_hf_llava_config(&config, &needs_tower, dir);
    }
    if (rc == LV_OK) {
        *out = config;
    }
    return rc;
}

int lv_llava_rows_per_image(const lv_llava_config *config)
{
    return (int)lv_connector_rows_out(
        &config->connector, lv_vision_rows_per_image(&config->vision, config->vision_select_patch));
}
