/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "data/base/file.h"
#include "data/json/manifest.h"
#include "train/model/hf/internal.h"
#include "train/model/weights/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROW_MULTIPLE = 64 };
const int64_t lv_hf_max_file_bytes = 5000000000;
static const char EMBEDDING[] = "language_model.model.embed_tokens.weight";
static const char HEAD[] = "language_model.lm_head.weight";

/* What is written: the parameters under their names in that kind of directory. */
typedef struct {
    lv_dtype dtype;
    lv_weight_source *sources;
    lv_tensor *tensors; /* of the parameters, in their order */
    size_t n;
    lv_real *mean_rows[2];         /* of new vocabulary rows */
    lv_tensor identity, zero_bias; /* the second layer of a linear projector */
} export;

static void export_free(export *e)
{
    for (size_t i = 0; i < e->n; i++) {
        free((char *)(uintptr_t)e->sources[i].name);
    }
    free(e->sources);
    free(e->tensors);
    free(e->mean_rows[0]);
    free(e->mean_rows[1]);
    free(e->identity.data);
    free(e->zero_bias.data);
    *e = (export){0};
}

static void add(export *e, const char *name, const lv_tensor *tensor)
{
    e->sources[e->n++] =
        (lv_weight_source){.name = lv_path("%s", name), .tensor = tensor, .dtype = e->dtype};
}

/* All parameters whose name begins with prefix, in their order. */
static int collect(export *e, lv_params *params, const char *prefix, lv_hf_kind kind)
{
    char name[LV_HF_NAME_BYTES];
    size_t n = lv_params_count(params);
    e->sources = calloc(n + 2, sizeof *e->sources); /* 2: a linear projector's second layer */
    e->tensors = calloc(n + 1, sizeof *e->tensors);
    if (!e->sources || !e->tensors) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for %zu names", n);
    }
    for (size_t i = 0; i < n; i++) {
        const lv_param *param = lv_params_at(params, i);
        if (strncmp(param->name, prefix, strlen(prefix)) == 0) {
            LV_CHECK(param->tensor.data, "%s was never loaded", param->name);
            lv_hf_name_for(name, kind, param->name);
            e->tensors[i] = lv_params_exact(params, param);
            add(e, name, &e->tensors[i]);
        }
    }
    return LV_OK;
}

/* out[k] = mean over rows of x[row][k], added up in double. */
static int mean_row(lv_real **out, const lv_tensor *x)
{
    int64_t rows = x->shape[0], columns = x->shape[1];
    double *sum = calloc((size_t)columns, sizeof *sum);
    lv_real *row = malloc((size_t)columns * sizeof *row);
    *out = malloc((size_t)columns * sizeof **out);
    if (!sum || !row || !*out) {
        free(sum);
        free(row);
        return lv_fail(LV_ERR_MEMORY, "out of memory for a row of the vocabulary");
    }
    for (int64_t r = 0; r < rows; r++) {
        lv_convert_to_real(row, lv_element_const(x->data, x->dtype, r * columns), x->dtype,
                           columns);
        for (int64_t k = 0; k < columns; k++) {
            sum[k] += row[k];
        }
    }
    free(row);
    for (int64_t k = 0; k < columns; k++) {
        (*out)[k] = (lv_real)(sum[k] / (double)rows);
    }
    free(sum);
    return LV_OK;
}

/* Gives embedding and head new rows behind the old ones, each the mean of those. Source i is
 * parameter i: all were collected. */
static int grow_vocabulary(export *e, lv_params *params, int64_t extra_rows)
{
    int g = 0;
    for (size_t i = 0; i < lv_params_count(params); i++) {
        const char *name = lv_params_at(params, i)->name;
        if (strcmp(name, EMBEDDING) != 0 && strcmp(name, HEAD) != 0) {
            continue;
        }
        int rc = mean_row(&e->mean_rows[g], e->sources[i].tensor);
        if (rc < 0) {
            return rc;
        }
        e->sources[i].extra_rows = extra_rows;
        e->sources[i].extra_row = e->mean_rows[g++];
    }
    return LV_OK;
}

/* The HF form has two layers and an activation: with none and an identity it is linear. */
static int add_identity(export *e, int64_t size)
{
    lv_real *w = calloc((size_t)(size * size), sizeof *w);
    lv_real *b = calloc((size_t)size, sizeof *b);
    e->identity = (lv_tensor){.dtype = LV_F32, .n_dims = 2, .shape = {size, size, 1, 1}, .data = w};
    e->zero_bias = (lv_tensor){.dtype = LV_F32, .n_dims = 1, .shape = {size, 1, 1, 1}, .data = b};
    if (!w || !b) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the projector's second layer");
    }
    for (int64_t i = 0; i < size; i++) {
        w[i * size + i] = 1;
    }
    add(e, "multi_modal_projector.linear_2.weight", &e->identity);
    add(e, "multi_modal_projector.linear_2.bias", &e->zero_bias);
    return LV_OK;
}

/* Chooses the image token's id and the number of vocabulary rows; *added if the tokenizer's files
 * have to list it. */
static int place_image_token(lv_llava_config *config, bool *added, const char *tokenizer_dir)
{
    lv_hf_tokenizer tokenizer;
    int64_t rows = config->text.vocab_size;
    *added = false;
    if (config->image_token_id >= 0) {
        return LV_OK;
    }
    int rc = lv_hf_tokenizer_read(&tokenizer, tokenizer_dir);
    if (rc < 0) {
        return rc;
    }
    *added = tokenizer.found && tokenizer.image_id < 0;
    config->image_token_id = tokenizer.image_id >= 0 ? tokenizer.image_id
                             : tokenizer.found       ? tokenizer.next_id
                                                     : rows;
    if (config->image_token_id >= rows) {
        rows = (config->image_token_id + ROW_MULTIPLE) / ROW_MULTIPLE * ROW_MULTIPLE;
    }
    config->text.vocab_size = rows;
    return LV_OK;
}

static bool has_hf_form(const lv_projector_config *projector)
{
    return projector->kind == LV_PROJECTOR_LINEAR ||
           (projector->kind == LV_PROJECTOR_MLP_GELU && projector->depth == 2);
}

/* The HF form's weights and files into dir. */
static int write_hf(lv_params *params, lv_llava_config config, const char *tokenizer_dir,
                    bool aspect_pad, lv_dtype dtype, const char *dir)
{
    export e = {.dtype = dtype};
    bool added = false;
    int64_t old_rows = config.text.vocab_size;
    int rc = place_image_token(&config, &added, tokenizer_dir);
    if (rc < 0 || (rc = collect(&e, params, "", LV_HF_LLAVA)) < 0) {
        goto fail;
    }
    if (config.text.vocab_size > old_rows &&
        (rc = grow_vocabulary(&e, params, config.text.vocab_size - old_rows)) < 0) {
        goto fail;
    }
    if (config.projector.kind == LV_PROJECTOR_LINEAR &&
        (rc = add_identity(&e, config.projector.out_size)) < 0) {
        goto fail;
    }
    rc = lv_weights_write(dir, e.sources, e.n, lv_hf_max_file_bytes);
    if (rc < 0 || (rc = lv_hf_write_llava_json(&config, LV_HF_LLAVA, aspect_pad, dtype, dir)) < 0) {
        goto fail;
    }
    if (tokenizer_dir) {
        rc = lv_hf_tokenizer_copy(dir, tokenizer_dir, added ? config.image_token_id : -1,
                                  &config.text);
    }
fail:
    export_free(&e);
    return rc;
}

/* A model with no change to its vocabulary. */
static int write_plain(lv_params *params, const char *prefix, lv_hf_kind kind,
                       const char *tokenizer_dir, lv_dtype dtype, const char *dir)
{
    export e = {.dtype = dtype};
    int rc = collect(&e, params, prefix, kind);
    if (rc == LV_OK) rc = lv_weights_write(dir, e.sources, e.n, lv_hf_max_file_bytes);
    if (rc == LV_OK && tokenizer_dir) {
        rc = lv_hf_tokenizer_copy(dir, tokenizer_dir, -1, NULL);
    }
    export_free(&e);
    return rc;
}

int lv_hf_save_llava(lv_params *params, const lv_llava_config *config, const char *tokenizer_dir,
                     bool aspect_pad, lv_dtype dtype, const char *dir, bool *original)
{
    lv_hf_staging staging;
    bool hf = has_hf_form(&config->projector);
    int rc = lv_hf_staging_begin(&staging, dir);
    if (rc < 0) {
        return rc;
    }
    if (hf) {
        rc = write_hf(params, *config, tokenizer_dir, aspect_pad, dtype, staging.path);
    } else {
        rc = write_plain(params, "", LV_HF_LLAVA_ORIGINAL, tokenizer_dir, dtype, staging.path);
        if (rc == LV_OK) {
            rc = lv_hf_write_llava_json(config, LV_HF_LLAVA_ORIGINAL, aspect_pad, dtype,
                                        staging.path);
        }
    }
    rc = lv_hf_staging_end(rc, &staging, dir);
    if (rc == LV_OK) {
        *original = !hf;
    }
    return rc;
}

int lv_hf_save_clip(lv_params *params, const lv_clip_config *config, const char *dir)
{
    lv_hf_staging staging;
    int rc = lv_hf_staging_begin(&staging, dir);
    if (rc < 0) {
        return rc;
    }
    rc = write_plain(params, "vision_tower.", LV_HF_CLIP, NULL, LV_F32, staging.path);
    if (rc == LV_OK) rc = lv_hf_write_clip_json(config, staging.path);
    return lv_hf_staging_end(rc, &staging, dir);
}

int lv_hf_save_llama(lv_params *params, const lv_llama_config *config, const char *tokenizer_dir,
                     const char *dir)
{
    lv_hf_staging staging;
    int rc = lv_hf_staging_begin(&staging, dir);
    if (rc < 0) {
        return rc;
    }
    rc = write_plain(params, "language_model.", LV_HF_LLAMA, tokenizer_dir, LV_F32, staging.path);
    if (rc == LV_OK) rc = lv_hf_write_llama_json(config, staging.path);
    return lv_hf_staging_end(rc, &staging, dir);
}

/* The digests that are already in dir, without this file's and without their own checksum. */
static cJSON *other_digests(const char *path, const char *name)
{
    cJSON *root = NULL;
    if (!lv_file_exists(path) || lv_manifest_read(&root, path) < 0) {
        return cJSON_CreateObject(); /* a damaged one vouches for nothing: begin anew */
    }
    cJSON_DeleteItemFromObjectCaseSensitive(root, "self_crc32");
    cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(root, "files"), name);
    return root;
}

int lv_hf_save_projector(lv_params *params, const char *dir, const char *name)
{
    export e = {.dtype = LV_F32};
    cJSON *root = NULL;
    char *path = lv_path("%s/%s", dir, name);
    char *digests = lv_path("%s/digests.json", dir);
    int rc = lv_dir_create(dir);
    if (rc < 0 || (rc = collect(&e, params, "projector.", LV_HF_CLIP)) < 0) {
        goto fail;
    }
    rc = lv_weights_write_file(path, e.sources, e.n);
    if (rc < 0) {
        goto fail;
    }
    root = other_digests(digests, name);
    rc = root ? lv_manifest_add_file(root, dir, name)
              : lv_fail(LV_ERR_MEMORY, "%s: out of memory", digests);
    if (rc == LV_OK) rc = lv_manifest_write(digests, root);
fail:
    cJSON_Delete(root);
    export_free(&e);
    free(path);
    free(digests);
    return rc;
}
