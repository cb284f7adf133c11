/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters into a Hugging Face directory. All keys of its JSON files are written, also those with
 * a default, so that both transformers 4 and 5 read the same model.
 */
#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/json/manifest.h"
#include "train/model/hf/internal.h"
#include "train/model/keys.h"
#include "train/model/language/families.h"
#include "train/model/weights/weights.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROW_MULTIPLE = 64 };
const int64_t lv_hf_max_file_bytes = 5000000000;
static const char EMBEDDING[] = "language_model.model.embed_tokens.weight";
static const char HEAD[] = "language_model.lm_head.weight";

/* ---- JSON files ---- */

static cJSON *new_object(void)
{
    cJSON *object = cJSON_CreateObject();
    LV_CHECK(object, "out of memory for a JSON value");
    return object;
}

static void set_architecture(cJSON *object, const char *architecture, const char *model_type,
                             lv_dtype dtype)
{
    cJSON *list = cJSON_AddArrayToObject(object, "architectures");
    LV_CHECK(list, "out of memory for a JSON value");
    LV_CHECK(cJSON_AddItemToArray(list, cJSON_CreateString(architecture)), "out of memory");
    lv_key_set_string(object, "model_type", model_type);
    lv_key_set_string(object, "torch_dtype", dtype == LV_BF16 ? "bfloat16" : "float32");
}

/* Three floats with the fewest digits that give the same floats again. */
static void set_triple(cJSON *object, const char *key, const float values[3])
{
    cJSON *list = cJSON_AddArrayToObject(object, key);
    LV_CHECK(list, "out of memory for a JSON value");
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

/* Writes and deletes root. */
static int write_config_json(cJSON *root, const char *dir, const char *name)
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

/* One id as a number, several as a list, in the place of an older member. */
static void set_stops(cJSON *object, const lv_hf_ids *ids)
{
    static const char key[] = "eos_token_id";
    if (!ids || ids->n_stops == 0) {
        return;
    }
    cJSON *list = ids->n_stops == 1 ? cJSON_CreateNumber(ids->stops[0])
                                    : cJSON_CreateIntArray(ids->stops, ids->n_stops);
    cJSON_DeleteItemFromObjectCaseSensitive(object, key);
    LV_CHECK(list && cJSON_AddItemToObject(object, key, list), "out of memory for a JSON value");
}

/* from: the directory whose generation_config.json is kept; NULL: a new one. */
static int write_generation_config(const lv_llama_config *c, const lv_hf_ids *ids, const char *from,
                                   const char *dir)
{
    static const char name[] = "generation_config.json";
    cJSON *root = NULL;
    char *path = from ? lv_path("%s/%s", from, name) : NULL;
    int rc = path && lv_file_exists(path) ? lv_json_read(&root, path) : LV_OK;
    if (root && !cJSON_IsObject(root)) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: expected an object", path);
    }
    free(path);
    if (rc < 0) {
        cJSON_Delete(root);
        return rc;
    }
    if (!root) {
        root = new_object();
        lv_key_set_bool(root, "_from_model_config", true);
        lv_key_set_token(root, "bos_token_id", c->bos_token_id);
        lv_key_set_token(root, "eos_token_id", c->eos_token_id);
        if (c->pad_token_id >= 0) {
            lv_key_set_token(root, "pad_token_id", c->pad_token_id);
        }
    }
    set_stops(root, ids);
    return write_config_json(root, dir, name);
}

/* LlavaImageProcessor pads to a square as LLaVA does; CLIPImageProcessor only crops. */
static int write_preprocessor(const lv_vision_config *c, const float mean[3], const float std[3],
                              bool llava, bool aspect_pad, const char *dir)
{
    cJSON *root = new_object();
    lv_key_set_string(root, "image_processor_type",
                      aspect_pad ? "LlavaImageProcessor" : c->tower->image_processor);
    if (llava) {
        lv_key_set_string(root, "processor_class", "LlavaProcessor");
    }
    if (aspect_pad) {
        lv_key_set_bool(root, "do_pad", true);
    }
    lv_key_set_bool(root, "do_convert_rgb", true);
    lv_key_set_bool(root, "do_resize", true);
    lv_key_set_number(lv_key_set_object(root, "size"), "shortest_edge", (double)c->image_size);
    lv_key_set_number(root, "resample", 3);
    lv_key_set_bool(root, "do_center_crop", true);
    cJSON *crop = lv_key_set_object(root, "crop_size");
    lv_key_set_number(crop, "height", (double)c->image_size);
    lv_key_set_number(crop, "width", (double)c->image_size);
    lv_key_set_bool(root, "do_rescale", true);
    lv_key_set_number(root, "rescale_factor", 1.0 / 255);
    lv_key_set_bool(root, "do_normalize", true);
    set_triple(root, "image_mean", mean);
    set_triple(root, "image_std", std);
    return write_config_json(root, dir, "preprocessor_config.json");
}

static const char *feature_strategy(const lv_llava_config *c)
{
    return c->vision_select_patch ? "default" : "full";
}

static int write_processor(const lv_llava_config *c, const char *dir)
{
    cJSON *root = new_object();
    lv_key_set_string(root, "processor_class", "LlavaProcessor");
    lv_key_set_string(root, "image_token", "<image>");
    lv_key_set_number(root, "patch_size", (double)c->vision.patch_size);
    lv_key_set_string(root, "vision_feature_select_strategy", feature_strategy(c));
    const int64_t n_others =
        lv_vision_rows_per_image(&c->vision, false) - lv_vision_rows_per_image(&c->vision, true);
    lv_key_set_number(root, "num_additional_image_tokens", (double)n_others);
    return write_config_json(root, dir, "processor_config.json");
}

static cJSON *hf_llava(const lv_llava_config *c, const lv_hf_ids *ids, lv_dtype dtype)
{
    cJSON *root = new_object();
    set_architecture(root, "LlavaForConditionalGeneration", "llava", dtype);
    lv_key_set_number(root, "image_token_index", (double)c->image_token_id);
    lv_key_set_number(root, "image_seq_length", lv_llava_rows_per_image(c));
    lv_key_set_string(root, "projector_hidden_act", c->connector.kind->hf_act);
    lv_key_set_bool(root, "multimodal_projector_bias", true);
    lv_key_set_number(root, "vision_feature_layer", c->vision_select_layer);
    lv_key_set_string(root, "vision_feature_select_strategy", feature_strategy(c));
    lv_key_set_bool(root, "tie_word_embeddings", c->text.tied);
    cJSON *text = lv_key_set_object(root, "text_config");
    lv_key_set_string(text, "model_type", c->text.family->model_type);
    lv_family_write(text, &c->text);
    set_stops(text, ids);
    cJSON *vision = lv_key_set_object(root, "vision_config");
    lv_key_set_string(vision, "model_type", c->vision.tower->model_type);
    c->vision.tower->write(vision, &c->vision);
    return root;
}

/* LLaVA's own form, and the tower's shape beside it: LLaVA's code takes that from the directory
 * that its user enters as "mm_vision_tower". */
static cJSON *original_llava(const lv_llava_config *c, const lv_hf_ids *ids, bool aspect_pad,
                             lv_dtype dtype)
{
    char type[32];
    cJSON *root = new_object();
    set_architecture(root, c->text.family->llava_architecture, c->text.family->llava_type, dtype);
    lv_family_write(root, &c->text);
    set_stops(root, ids);
    lv_key_set_string(root, "mm_projector_type",
                      lv_connector_type(type, sizeof type, &c->connector));
    lv_key_set_number(root, "mm_hidden_size", (double)c->vision.hidden_size);
    lv_key_set_number(root, "mm_vision_select_layer", c->vision_select_layer);
    lv_key_set_string(root, "mm_vision_select_feature",
                      c->vision_select_patch ? "patch" : "cls_patch");
    lv_key_set_bool(root, "mm_use_im_start_end", false);
    lv_key_set_bool(root, "mm_use_im_patch_token", false);
    lv_key_set_bool(root, "use_mm_proj", true);
    lv_key_set_string(root, "image_aspect_ratio", aspect_pad ? "pad" : "square");
    cJSON *vision = lv_key_set_object(root, "vision_config");
    lv_key_set_string(vision, "model_type", c->vision.tower->model_type);
    c->vision.tower->write(vision, &c->vision);
    return root;
}

static int write_vision_json(const lv_vision_config *config, const char *dir)
{
    const lv_tower *tower = config->tower;
    cJSON *root = new_object();
    set_architecture(root, tower->architecture, tower->model_type, LV_F32);
    tower->write(root, config);
    int rc = write_config_json(root, dir, "config.json");
    return rc < 0
               ? rc
               : write_preprocessor(config, tower->image_mean, tower->image_std, false, false, dir);
}

static int write_language_json(const lv_llama_config *config, const char *dir)
{
    cJSON *root = new_object();
    set_architecture(root, config->family->architecture, config->family->model_type, LV_F32);
    lv_family_write(root, config);
    int rc = write_config_json(root, dir, "config.json");
    return rc < 0 ? rc : write_generation_config(config, NULL, NULL, dir);
}

static int write_llava_json(const lv_llava_config *config, lv_hf_kind kind,
                            const char *tokenizer_dir, const lv_hf_ids *ids, bool aspect_pad,
                            lv_dtype dtype, const char *dir)
{
    bool hf = kind == LV_HF_LLAVA;
    if (!hf && !config->text.family->llava_type) {
        return lv_fail(LV_ERR_UNSUPPORTED,
                       "a LLaVA of %s can only be written with a connector that transformers has",
                       config->text.family->description);
    }
    cJSON *root =
        hf ? hf_llava(config, ids, dtype) : original_llava(config, ids, aspect_pad, dtype);
    int rc = write_config_json(root, dir, "config.json");
    if (rc < 0 || (rc = write_generation_config(&config->text, ids, tokenizer_dir, dir)) < 0 ||
        (rc = write_preprocessor(&config->vision, config->image_mean, config->image_std, hf,
                                 aspect_pad && hf, dir)) < 0) {
        return rc;
    }
    return hf ? write_processor(config, dir) : LV_OK;
}

/* ---- weights ---- */

/* What is written: the parameters under their names in that kind of directory. */
typedef struct {
    lv_dtype dtype;
    lv_weight_source *sources;
    lv_tensor *tensors; /* of the parameters, in their order */
    size_t n;
    lv_real *mean_rows[2];         /* of new vocabulary rows */
    lv_tensor identity, zero_bias; /* see hf_identity */
} hf_export;

static void hf_export_free(hf_export *e)
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
    *e = (hf_export){0};
}

static void add_source(hf_export *e, const char *name, const lv_tensor *tensor)
{
    e->sources[e->n++] =
        (lv_weight_source){.name = lv_path("%s", name), .tensor = tensor, .dtype = e->dtype};
}

/* The parameters of a part, or all for LV_N_PARTS, in their order. */
static int collect_params(hf_export *e, lv_params *params, lv_part part, lv_hf_kind kind,
                          const lv_connector_kind *connector)
{
    char name[LV_HF_NAME_BYTES];
    size_t n = lv_params_count(params);
    e->sources = calloc(n + 2, sizeof *e->sources); /* 2: an identity */
    e->tensors = calloc(n + 1, sizeof *e->tensors);
    if (!e->sources || !e->tensors) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for %zu names", n);
    }
    for (size_t i = 0; i < n; i++) {
        const lv_param *param = lv_params_at(params, i);
        if (part == LV_N_PARTS || param->part == part) {
            LV_CHECK(param->tensor.data, "%s was never loaded", param->name);
            lv_hf_name_for(name, kind, connector, param->name);
            e->tensors[i] = lv_params_exact(params, param);
            add_source(e, name, &e->tensors[i]);
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

/* Gives embedding and head new rows after the old ones, each the mean of those. Source i is
 * parameter i: all were collected. */
static int grow_vocabulary(hf_export *e, lv_params *params, int64_t extra_rows)
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

/* A layer of the HF form that the connector does not have. */
static int add_identity(hf_export *e, const char *layer, int64_t size)
{
    lv_real *w = calloc((size_t)(size * size), sizeof *w);
    lv_real *b = calloc((size_t)size, sizeof *b);
    e->identity = (lv_tensor){.dtype = LV_F32, .n_dims = 2, .shape = {size, size, 1, 1}, .data = w};
    e->zero_bias = (lv_tensor){.dtype = LV_F32, .n_dims = 1, .shape = {size, 1, 1, 1}, .data = b};
    if (!w || !b) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the projector's identity");
    }
    for (int64_t i = 0; i < size; i++) {
        w[i * size + i] = 1;
    }
    char name[LV_HF_NAME_BYTES];
    snprintf(name, sizeof name, "multi_modal_projector.%s.weight", layer);
    add_source(e, name, &e->identity);
    snprintf(name, sizeof name, "multi_modal_projector.%s.bias", layer);
    add_source(e, name, &e->zero_bias);
    return LV_OK;
}

/* ---- directories ---- */

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

/* The HF form's weights and files into dir. */
static int write_hf(lv_params *params, lv_llava_config config, const char *tokenizer_dir,
                    const lv_hf_ids *ids, bool aspect_pad, lv_dtype dtype, const char *dir)
{
    const lv_connector_kind *connector = config.connector.kind;
    hf_export e = {.dtype = dtype};
    bool added = false;
    int64_t old_rows = config.text.vocab_size;
    int rc = place_image_token(&config, &added, tokenizer_dir);
    if (rc < 0 || (rc = collect_params(&e, params, LV_N_PARTS, LV_HF_LLAVA, connector)) < 0) {
        goto done;
    }
    if (config.text.vocab_size > old_rows &&
        (rc = grow_vocabulary(&e, params, config.text.vocab_size - old_rows)) < 0) {
        goto done;
    }
    if (connector->hf_identity &&
        (rc = add_identity(&e, connector->hf_identity, config.connector.out_size)) < 0) {
        goto done;
    }
    rc = lv_weights_write(dir, e.sources, e.n, lv_hf_max_file_bytes);
    if (rc < 0 || (rc = write_llava_json(&config, LV_HF_LLAVA, tokenizer_dir, ids, aspect_pad,
                                         dtype, dir)) < 0) {
        goto done;
    }
    if (tokenizer_dir) {
        rc = lv_hf_tokenizer_copy(dir, tokenizer_dir, added ? config.image_token_id : -1,
                                  &config.text, ids);
    }
done:
    hf_export_free(&e);
    return rc;
}

/* A model with no change to its vocabulary. */
static int write_plain(lv_params *params, lv_part part, lv_hf_kind kind, const char *tokenizer_dir,
                       lv_dtype dtype, const char *dir)
{
    hf_export e = {.dtype = dtype};
    int rc = collect_params(&e, params, part, kind, NULL);
    if (rc == LV_OK) rc = lv_weights_write(dir, e.sources, e.n, lv_hf_max_file_bytes);
    if (rc == LV_OK && tokenizer_dir) {
        rc = lv_hf_tokenizer_copy(dir, tokenizer_dir, -1, NULL, NULL);
    }
    hf_export_free(&e);
    return rc;
}

int lv_hf_save_llava(lv_params *params, const lv_llava_config *config, const char *tokenizer_dir,
                     const lv_hf_ids *ids, bool aspect_pad, lv_dtype dtype, const char *dir,
                     bool *original)
{
    lv_hf_staging staging;
    bool hf = lv_connector_has_hf_form(&config->connector);
    int rc = lv_hf_staging_begin(&staging, dir);
    if (rc < 0) {
        return rc;
    }
    if (hf) {
        rc = write_hf(params, *config, tokenizer_dir, ids, aspect_pad, dtype, staging.path);
    } else {
        rc = write_plain(params, LV_N_PARTS, LV_HF_LLAVA_ORIGINAL, tokenizer_dir, dtype,
                         staging.path);
        if (rc == LV_OK) {
            rc = write_llava_json(config, LV_HF_LLAVA_ORIGINAL, tokenizer_dir, ids, aspect_pad,
                                  dtype, staging.path);
        }
    }
    rc = lv_hf_staging_end(rc, &staging);
    if (rc == LV_OK) {
        *original = !hf;
    }
    return rc;
}

int lv_hf_save_vision(lv_params *params, const lv_vision_config *config, const char *dir)
{
    lv_hf_staging staging;
    int rc = lv_hf_staging_begin(&staging, dir);
    if (rc < 0) {
        return rc;
    }
    rc = write_plain(params, LV_PART_VISION, LV_HF_VISION, NULL, LV_F32, staging.path);
    if (rc == LV_OK) rc = write_vision_json(config, staging.path);
    return lv_hf_staging_end(rc, &staging);
}

int lv_hf_save_language(lv_params *params, const lv_llama_config *config, const char *tokenizer_dir,
                        const char *dir)
{
    lv_hf_staging staging;
    int rc = lv_hf_staging_begin(&staging, dir);
    if (rc < 0) {
        return rc;
    }
    rc = write_plain(params, LV_PART_LANGUAGE, LV_HF_LANGUAGE, tokenizer_dir, LV_F32, staging.path);
    if (rc == LV_OK) rc = write_language_json(config, staging.path);
    return lv_hf_staging_end(rc, &staging);
}

/* The digests that are already in dir, without this file's and without their own checksum. */
static int other_digests(cJSON **root, const char *path, const char *name)
{
    int rc = LV_OK;
    if (lv_file_exists(path)) {
        rc = lv_manifest_read(root, path);
    } else if (!(*root = cJSON_CreateObject())) {
        rc = lv_fail(LV_ERR_MEMORY, "%s: out of memory", path);
    }
    cJSON_DeleteItemFromObjectCaseSensitive(*root, "self_crc32");
    cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(*root, "files"), name);
    return rc;
}

/* Puts the file beside in the place of path. At no time are there digests of another file of that
 * name: lv_hf_check_projector would take it for a foreign one. */
static int install_projector(cJSON *root, const char *digests, const char *path, const char *beside,
                             const char *name)
{
    uint32_t crc = 0;
    int64_t n_bytes = 0;
    int rc = lv_file_crc32(&crc, &n_bytes, beside);
    if (rc == LV_OK) rc = lv_manifest_add_entry(root, name, n_bytes, crc);
    if (rc == LV_OK && unlink(path) < 0 && errno != ENOENT) {
        rc = lv_fail_errno(LV_ERR_IO, "%s: removing", path);
    }
    if (rc == LV_OK) rc = lv_manifest_write(digests, root);
    return rc < 0 ? rc : lv_file_rename(beside, path);
}

int lv_hf_save_projector(lv_params *params, const char *dir, const char *name)
{
    hf_export e = {.dtype = LV_F32};
    cJSON *root = NULL;
    char *path = lv_path("%s/%s", dir, name);
    char *digests = lv_path("%s/digests.json", dir), *beside = lv_file_beside(path);
    int rc = lv_dir_create(dir);
    if (rc == LV_OK) rc = lv_hf_check_projector(dir, name);
    if (rc == LV_OK) rc = other_digests(&root, digests, name);
    if (rc == LV_OK) rc = collect_params(&e, params, LV_PART_CONNECTOR, LV_HF_LLAVA, NULL);
    if (rc == LV_OK) rc = lv_weights_write_file(beside, e.sources, e.n);
    if (rc == LV_OK) {
        rc = install_projector(root, digests, path, beside, name);
        if (rc < 0) {
            unlink(beside);
        }
    }
    cJSON_Delete(root);
    hf_export_free(&e);
    free(path);
    free(digests);
    free(beside);
    return rc;
}

int lv_hf_check_projector(const char *dir, const char *name)
{
    cJSON *root = NULL;
    char *path = lv_path("%s/%s", dir, name), *digests = lv_path("%s/digests.json", dir);
    int rc = lv_file_exists(digests) ? lv_manifest_read(&root, digests) : LV_OK;
    if (rc == LV_OK && lv_file_exists(path)) {
        rc = root ? lv_manifest_check_file(root, dir, name)
                  : lv_fail(LV_ERR_FORMAT, "there is no %s", digests);
    }
    if (rc < 0) {
        rc = lv_fail(LV_ERR_CONFIG,
                     "%s would be written, with digests.json beside it, but one of them is not as "
                     "llava wrote it: choose another folder, or move it away (%s)",
                     path, lv_error_message());
    }
    cJSON_Delete(root);
    free(digests);
    free(path);
    return rc;
}
