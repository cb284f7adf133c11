/* SPDX-License-Identifier: Apache-2.0
 *
 * From directories to an lv_llava: which directory gives which part, and whether the parts fit.
 */
#include "autograd/error.h"
#include "train/model/hf/hf.h"
#include "train/model/llava/internal.h"
#include "train/model/weights/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_BYTES = 64 };

/* The paths of each part's weights; NULL: initial values, from the seed. */
typedef struct {
    const char *path[LV_N_PARTS];
} part_paths;

/* ---- configuration ---- */

static int config_from_llava(lv_llava_config *config, part_paths *from, const lv_llava_options *o)
{
    bool needs_tower = false;
    if (o->language_model) {
        return lv_fail(LV_ERR_CONFIG,
                       "model.language_model (%s) and model.llava (%s) are both given; a LLaVA "
                       "directory brings its own language model",
                       o->language_model, o->llava);
    }
    int rc = lv_hf_llava_config(config, &needs_tower, o->llava);
    if (rc) {
        return rc;
    }
    if (needs_tower && !o->vision_tower) {
        return lv_fail(LV_ERR_CONFIG,
                       "%s has no vision tower; give the tower's directory as model.vision_tower",
                       o->llava);
    }
    if (!needs_tower && o->vision_tower) {
        return lv_fail(LV_ERR_CONFIG,
                       "model.vision_tower (%s) is given, but %s has a vision tower of its own; "
                       "leave it out",
                       o->vision_tower, o->llava);
    }
    if (needs_tower) {
        rc = lv_hf_vision_config(&config->vision, o->vision_tower);
        if (rc == LV_OK) {
            rc = lv_hf_image_norm(config->image_mean, config->image_std, config->vision.tower,
                                  o->vision_tower);
        }
        config->connector.in_size = config->vision.hidden_size;
    }
    from->path[LV_PART_VISION] = needs_tower ? o->vision_tower : o->llava;
    from->path[LV_PART_CONNECTOR] = o->projector_weights ? o->projector_weights : o->llava;
    from->path[LV_PART_LANGUAGE] = o->llava;
    return rc;
}

/* The type of a LLaVA directory's own connector may only be repeated. */
static int check_connector_type(const lv_llava_config *config, const lv_llava_options *o)
{
    lv_connector_config given = {0};
    char own_type[TYPE_BYTES], given_type[TYPE_BYTES];
    if (!o->projector_type) {
        return LV_OK;
    }
    int rc = lv_connector_config_parse(&given, o->projector_type);
    if (rc < 0) {
        return rc;
    }
    lv_connector_type(own_type, sizeof own_type, &config->connector);
    lv_connector_type(given_type, sizeof given_type, &given);
    return strcmp(own_type, given_type) == 0
               ? LV_OK
               : lv_fail(LV_ERR_CONFIG,
                         "model.projector.type is %s, but the projector of %s is %s; leave the key "
                         "out",
                         o->projector_type, o->llava, own_type);
}

static int config_from_parts(lv_llava_config *config, part_paths *from, const lv_llava_options *o)
{
    if (!o->vision_tower || !o->language_model) {
        return lv_fail(LV_ERR_CONFIG,
                       "model.%s is missing: give model.llava, or both model.vision_tower and "
                       "model.language_model",
                       o->vision_tower ? "language_model" : "vision_tower");
    }
    if (!o->projector_type) {
        return lv_fail(LV_ERR_CONFIG,
                       "model.projector.type is missing: which connector joins %s "
                       "and %s?",
                       o->vision_tower, o->language_model);
    }
    int rc = lv_connector_config_parse(&config->connector, o->projector_type);
    if (rc == LV_OK) rc = lv_hf_vision_config(&config->vision, o->vision_tower);
    if (rc == LV_OK) rc = lv_hf_language_config(&config->text, o->language_model);
    if (rc == LV_OK) {
        rc = lv_hf_image_norm(config->image_mean, config->image_std, config->vision.tower,
                              o->vision_tower);
    }
    if (rc) {
        return rc;
    }
    config->connector.in_size = config->vision.hidden_size;
    config->connector.out_size = config->text.hidden_size;
    config->vision_select_layer = -2;
    config->vision_select_patch = true;
    config->image_token_id = -1;
    from->path[LV_PART_VISION] = o->vision_tower;
    from->path[LV_PART_CONNECTOR] = o->projector_weights;
    from->path[LV_PART_LANGUAGE] = o->language_model;
    return LV_OK;
}

static int read_model_config(lv_llava_config *config, part_paths *from, const lv_llava_options *o)
{
    int rc = o->llava ? config_from_llava(config, from, o) : config_from_parts(config, from, o);
    if (rc == LV_OK && o->llava) {
        rc = check_connector_type(config, o);
    }
    if (rc) {
        return rc;
    }
    if (o->vision_select_layer) {
        config->vision_select_layer = *o->vision_select_layer;
    }
    if (o->vision_select_feature != LV_SELECT_DEFAULT) {
        config->vision_select_patch = o->vision_select_feature == LV_SELECT_PATCH;
    }
    return LV_OK;
}

/* ---- weights ---- */

/* In the dtype of config.json, which was read. */
static int assume_part(lv_llava *model, const char *path, lv_part part)
{
    const lv_dtype dtype = lv_hf_dtype_of(path);
    int rc = LV_OK;
    for (size_t i = 0; i < lv_params_count(model->params) && rc == LV_OK; i++) {
        lv_param *param = lv_params_at(model->params, i);
        if (param->part == part) {
            rc = lv_params_assume(model->params, param, dtype);
        }
    }
    return rc;
}

static int load_part(lv_llava *model, const char *path, lv_part part, uint64_t seed)
{
    const lv_connector_config *c = &model->config.connector;
    char type[TYPE_BYTES];
    if (lv_params_count_of(model->params, part) == 0) {
        return LV_OK;
    }
    if (!path) {
        return lv_params_init_part(model->params, part, seed);
    }
    int rc = model->dry && !lv_weights_exist(path)
                 ? assume_part(model, path, part)
                 : lv_hf_load(model->params, &model->config, path, part);
    if (rc < 0 && part == LV_PART_CONNECTOR) {
        lv_fail_within("projector weights from %s, where the model has %s from %" PRId64
                       " to %" PRId64,
                       path, lv_connector_type(type, sizeof type, c), c->in_size, c->out_size);
    }
    return rc;
}

static int load_parts(lv_llava *model, const part_paths *from, uint64_t seed)
{
    int rc = LV_OK;
    for (lv_part part = 0; part < LV_N_PARTS && rc == LV_OK; part++) {
        rc = load_part(model, from->path[part], part, seed);
    }
    return rc;
}

/* Bytes of frozen weights of a part that are bf16 in memory of this rank alone, but not in the
 * file. */
static int64_t narrowed_bytes(const lv_llava *model, lv_part part)
{
    int64_t n_bytes = 0;
    for (size_t i = 0; i < lv_params_count(model->params); i++) {
        const lv_param *param = lv_params_at(model->params, i);
        if (param->part == part && param->file_data && param->file_dtype != LV_BF16 &&
            param->tensor.dtype == LV_BF16 && !param->copied) {
            n_bytes += lv_tensor_count(&param->tensor) * (int64_t)lv_dtype_bytes(LV_BF16);
        }
    }
    return n_bytes;
}

/* A note for each directory, which may give several parts. */
static void take_notes(lv_llava *model, const part_paths *from)
{
    for (lv_part part = 0; part < LV_N_PARTS; part++) {
        const char *dir = from->path[part];
        int64_t n_bytes = 0;
        bool seen = false;
        for (lv_part other = 0; dir && other < LV_N_PARTS; other++) {
            if (from->path[other] && strcmp(from->path[other], dir) == 0) {
                seen = seen || other < part;
                n_bytes += narrowed_bytes(model, other);
            }
        }
        model->notes[part] = dir && !seen ? lv_hf_convert_note(dir, n_bytes) : NULL;
    }
}

static bool has_frozen(const lv_llava *model, lv_part part)
{
    for (size_t i = 0; i < lv_params_count(model->params); i++) {
        const lv_param *param = lv_params_at(model->params, i);
        if (!param->trainable && param->part == part) {
            return true;
        }
    }
    return false;
}

static uint64_t mix_hash(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 32);
}

/* Identifies the content of the files with a frozen parameter, whatever their names; a frozen part
 * without a file counts by its seed. */
static int fingerprint(lv_llava *model, const part_paths *from, uint64_t seed)
{
    uint64_t hash = 0;
    for (lv_part part = 0; part < LV_N_PARTS; part++) {
        uint64_t value = seed;
        if (!has_frozen(model, part)) {
            continue;
        }
        if (from->path[part]) {
            lv_weights *weights = NULL;
            int rc = lv_weights_open(&weights, from->path[part]);
            if (rc < 0) {
                return rc;
            }
            value = lv_weights_fingerprint(weights);
            lv_weights_close(&weights);
        }
        hash = mix_hash(mix_hash(hash, (uint64_t)part + 1), value);
    }
    model->fingerprint = hash;
    return LV_OK;
}

/* ---- open and close ---- */

int lv_llava_declare(lv_llava *model)
{
    const lv_llava_config *c = &model->config;
    int rc = lv_vision_create(&model->vision, &c->vision, c->vision_select_layer,
                              c->vision_select_patch, model->params);
    if (rc == LV_OK) rc = lv_connector_create(&model->connector, &c->connector, model->params);
    if (rc == LV_OK) rc = lv_llama_create(&model->llama, &c->text, model->params);
    return rc;
}

int lv_llava_open(lv_llava **out, const lv_llava_options *options)
{
    part_paths from = {0};
    lv_llava *model = calloc(1, sizeof *model);
    int rc = model ? LV_OK : lv_fail(LV_ERR_MEMORY, "no memory for a model");
    if (rc) {
        goto fail;
    }
    model->recompute = options->recompute;
    model->dry = options->dry;
    rc = read_model_config(&model->config, &from, options);
    if (rc) {
        goto fail;
    }
    model->tokenizer_dir = strdup(from.path[LV_PART_LANGUAGE]);
    if (!model->tokenizer_dir) {
        rc = lv_fail(LV_ERR_MEMORY, "no memory for a model");
        goto fail;
    }
    rc = lv_params_create(&model->params);
    if (rc == LV_OK && options->dry) {
        rc = lv_params_dry_set(model->params);
    }
    if (rc == LV_OK && options->copies) {
        lv_params_copy_set(model->params);
    }
    if (rc == LV_OK) rc = lv_llava_declare(model);
    if (rc == LV_OK && options->precision == LV_PRECISION_BF16) {
        lv_params_dtype_set(model->params, LV_BF16);
    }
    if (rc == LV_OK && options->n_trainable > 0) {
        rc = lv_params_set_trainable(model->params, options->trainable, options->n_trainable);
    }
    if (rc == LV_OK && options->n_ranks > 0) {
        lv_params_share_set(model->params, options->rank, options->n_ranks, options->bucket_count);
    }
    if (rc == LV_OK) rc = lv_params_allocate(model->params);
    if (rc == LV_OK) rc = load_parts(model, &from, options->seed);
    if (rc == LV_OK && !options->dry) {
        rc = fingerprint(model, &from, options->seed);
    }
    if (rc) {
        goto fail;
    }
    take_notes(model, &from);
    model->dtype = options->precision == LV_PRECISION_OF_WEIGHTS ? lv_llama_dtype(model->llama)
                   : options->precision == LV_PRECISION_BF16     ? LV_BF16
                                                                 : LV_F32;
    *out = model;
    return LV_OK;

fail:
    lv_llava_close(&model);
    return rc;
}

void lv_llava_close(lv_llava **model)
{
    lv_llava *m = *model;
    if (!m) {
        return;
    }
    lv_vision_destroy(&m->vision);
    lv_connector_destroy(&m->connector);
    lv_llama_destroy(&m->llama);
    lv_params_destroy(&m->params);
    for (int i = 0; i < LV_LLAVA_N_NOTES; i++) {
        free(m->notes[i]);
    }
    free(m->tokenizer_dir);
    free(m);
    *model = NULL;
}

const lv_llava_config *lv_llava_config_of(const lv_llava *model)
{
    return &model->config;
}

lv_params *lv_llava_params(lv_llava *model)
{
    return model->params;
}

const char *lv_llava_note(const lv_llava *model, int i)
{
    LV_CHECK(i >= 0 && i < LV_LLAVA_N_NOTES, "note %d of a model", i);
    return model->notes[i];
}

lv_dtype lv_llava_dtype(const lv_llava *model)
{
    return model->dtype;
}

void lv_llava_vision_input(const lv_llava *model, lv_aspect aspect, lv_vision_input *out)
{
    const lv_llava_config *c = &model->config;
    *out = (lv_vision_input){
        .image_size = (int)c->vision.image_size,
        .rows_per_image = lv_llava_rows_per_image(c),
        .aspect = aspect,
    };
    memcpy(out->mean, c->image_mean, sizeof out->mean);
    memcpy(out->std, c->image_std, sizeof out->std);
}

const char *lv_llava_tokenizer_dir(const lv_llava *model)
{
    return model->tokenizer_dir;
}

uint64_t lv_llava_fingerprint(const lv_llava *model)
{
    return model->fingerprint;
}
