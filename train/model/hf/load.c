/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "train/model/hf/internal.h"
#include "train/model/weights/weights.h"

#include <stdlib.h>
#include <string.h>

static const char EMBEDDING[] = "language_model.model.embed_tokens.weight";
static const char HEAD[] = "language_model.lm_head.weight";

/* One loading: which tensor of the file fills each parameter. */
typedef struct {
    lv_params *params;
    const lv_llava_config *config;
    lv_part part;
    const lv_weight **sources; /* one a parameter; NULL until found */
} part_load;

static const lv_weight **slot_of(const part_load *l, const char *canonical)
{
    for (size_t i = 0; i < lv_params_count(l->params); i++) {
        if (strcmp(lv_params_at(l->params, i)->name, canonical) == 0) {
            return &l->sources[i];
        }
    }
    return NULL;
}

/* A layer that the connector does not have: an identity with a bias of zero. */
static int check_identity(const lv_weight *weight)
{
    int64_t rows = weight->shape[0], columns = weight->n_dims == 2 ? weight->shape[1] : 1;
    size_t bytes = lv_dtype_bytes(weight->dtype);
    static const uint32_t ones[] = {[LV_F32] = 0x3f800000, [LV_BF16] = 0x3f80, [LV_F16] = 0x3c00};
    bool same = weight->n_dims == 1 || rows == columns;
    for (int64_t i = 0; same && i < rows * columns; i++) {
        const uint8_t *at = (const uint8_t *)weight->data + (size_t)i * bytes;
        uint32_t expected = weight->n_dims == 2 && i % (columns + 1) == 0 ? ones[weight->dtype] : 0;
        for (size_t b = 0; b < bytes; b++) {
            same = same && at[b] == (uint8_t)(expected >> 8 * b);
        }
    }
    return same ? LV_OK
                : lv_fail(LV_ERR_UNSUPPORTED,
                          "tensor \"%s\": two linear layers without an activation between them; "
                          "only a second one that changes nothing is read",
                          weight->name);
}

static bool same_values(const lv_weight *a, const lv_weight *b)
{
    return a->dtype == b->dtype && a->n_bytes == b->n_bytes &&
           memcmp(a->data, b->data, (size_t)a->n_bytes) == 0;
}

static int assign(part_load *l, const lv_weight *weight)
{
    char canonical[LV_HF_NAME_BYTES];
    lv_part part;
    lv_hf_name_class class = lv_hf_name_canonical(canonical, &part, weight->name, l->config);
    if (class == LV_HF_NAME_IGNORED || (class != LV_HF_NAME_UNKNOWN && part != l->part)) {
        return LV_OK;
    }
    if (class == LV_HF_NAME_IDENTITY) {
        return check_identity(weight);
    }
    bool head_of_tied = l->config->text.tied && strcmp(canonical, HEAD) == 0;
    const lv_weight **source =
        class == LV_HF_NAME_PARAM ? slot_of(l, head_of_tied ? EMBEDDING : canonical) : NULL;
    if (!source) {
        return lv_fail(LV_ERR_FORMAT,
                       "tensor \"%s\" belongs to no part of the model that "
                       "config.json describes",
                       weight->name);
    }
    if (!*source) {
        *source = weight;
        return LV_OK;
    }
    bool same = same_values(*source, weight);
    if (l->config->text.tied &&
        strcmp(lv_params_at(l->params, (size_t)(source - l->sources))->name, EMBEDDING) == 0) {
        return same ? LV_OK
                    : lv_fail(LV_ERR_FORMAT,
                              "tensors \"%s\" and \"%s\" differ, but \"tie_word_embeddings\" says "
                              "that they are one",
                              (*source)->name, weight->name);
    }
    return lv_fail(LV_ERR_FORMAT, "tensors \"%s\" and \"%s\" are the same parameter",
                   (*source)->name, weight->name);
}

int lv_hf_untie(lv_llava_config *config, const char *path)
{
    lv_weights *weights = NULL;
    const lv_weight *embedding = NULL, *head = NULL;
    char canonical[LV_HF_NAME_BYTES];
    lv_part part;
    if (!config->text.tied || !lv_weights_exist(path)) {
        return LV_OK;
    }
    int rc = lv_weights_open(&weights, path);
    for (size_t i = 0; rc == LV_OK && i < lv_weights_count(weights); i++) {
        const lv_weight *weight = lv_weights_at(weights, i);
        if (lv_hf_name_canonical(canonical, &part, weight->name, config) == LV_HF_NAME_PARAM) {
            embedding = strcmp(canonical, EMBEDDING) == 0 ? weight : embedding;
            head = strcmp(canonical, HEAD) == 0 ? weight : head;
        }
    }
    if (embedding && head && !same_values(embedding, head)) {
        config->text.tied = false;
    }
    lv_weights_close(&weights);
    return rc;
}

int lv_hf_check_finite(const lv_llava_config *config, const char *path, lv_part wanted, int rank,
                       int n_ranks)
{
    lv_weights *weights = NULL;
    char canonical[LV_HF_NAME_BYTES];
    lv_part part;
    int rc = lv_weights_open(&weights, path);
    for (size_t i = (size_t)rank; rc == LV_OK && i < lv_weights_count(weights);
         i += (size_t)n_ranks) {
        const lv_weight *weight = lv_weights_at(weights, i);
        if (lv_hf_name_canonical(canonical, &part, weight->name, config) == LV_HF_NAME_PARAM &&
            part == wanted) {
            rc = lv_weight_check_finite(weight);
            lv_weights_forget(weight);
        }
    }
    lv_weights_close(&weights);
    return rc < 0 ? lv_fail_within("%s", path) : LV_OK;
}

/* Why a parameter has no tensor: a dtype that is not read, or no such name. */
static int fail_missing(const part_load *l, const lv_weights *weights, const char *name)
{
    char canonical[LV_HF_NAME_BYTES];
    for (size_t i = 0; i < lv_weights_other_count(weights); i++) {
        lv_part part;
        const char *dtype;
        const char *other = lv_weights_other_at(weights, i, &dtype);
        if (lv_hf_name_canonical(canonical, &part, other, l->config) == LV_HF_NAME_PARAM &&
            strcmp(canonical, name) == 0) {
            return lv_fail(LV_ERR_UNSUPPORTED,
                           "tensor \"%s\" has dtype %s; F32, BF16 and F16 are read", other, dtype);
        }
    }
    return lv_fail(LV_ERR_FORMAT, "there is no tensor for %s", name);
}

static int find_sources(part_load *l, const lv_weights *weights)
{
    int rc = LV_OK;
    for (size_t i = 0; i < lv_weights_count(weights) && rc == LV_OK; i++) {
        rc = assign(l, lv_weights_at(weights, i));
    }
    for (size_t i = 0; i < lv_params_count(l->params) && rc == LV_OK; i++) {
        const lv_param *param = lv_params_at(l->params, i);
        if (param->part == l->part && !l->sources[i]) {
            rc = fail_missing(l, weights, param->name);
        }
    }
    return rc;
}

int lv_hf_load(lv_params *params, const lv_llava_config *config, const char *path, lv_part part)
{
    lv_weights *weights = NULL;
    part_load l = {.params = params, .config = config, .part = part};
    int rc = lv_weights_open(&weights, path);
    if (rc < 0) {
        return rc;
    }
    l.sources = calloc(lv_params_count(params) + 1, sizeof *l.sources);
    rc = l.sources ? find_sources(&l, weights) : lv_fail(LV_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < lv_params_count(params) && rc == LV_OK; i++) {
        const lv_weight *w = l.sources[i];
        if (w) {
            rc = lv_params_map(params, lv_params_at(params, i), w);
            if (!lv_params_at(params, i)->mapped) {
                lv_weights_forget(w);
            }
        }
    }
    free(l.sources);
    lv_params_keep(params, &weights);
    return rc < 0 ? lv_fail_within("%s", path) : LV_OK;
}
