/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/llava/init.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/tokenizer/tokenizer.h"
#include "train/model/hf/hf.h"
#include "train/model/language/llama.h"
#include "train/model/vision/vision.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char VISION[] = "vision_tower", TEXT[] = "language_model";

static int init_vision(const char *dir, uint64_t seed)
{
    lv_vision_config config;
    lv_params *params = NULL;
    lv_vision *vision = NULL;
    int rc = lv_hf_vision_config(&config, dir);
    if (rc == LV_OK) rc = lv_dir_remove(dir);
    if (rc == LV_OK) rc = lv_params_create(&params);
    if (rc == LV_OK) rc = lv_vision_create(&vision, &config, -1, true, params);
    if (rc == LV_OK) rc = lv_params_allocate(params);
    if (rc == LV_OK) rc = lv_params_init_part(params, LV_PART_VISION, seed);
    if (rc == LV_OK) rc = lv_hf_save_vision(params, &config, dir);
    lv_vision_destroy(&vision);
    lv_params_destroy(&params);
    return rc;
}

static int check_tokenizer(const lv_llama_config *config, const char *tokenizer_dir)
{
    lv_tokenizer *tokenizer = NULL;
    int rc = lv_tokenizer_open(&tokenizer, tokenizer_dir);
    if (rc) {
        return rc;
    }
    const int32_t n_ids = lv_tokenizer_vocab_size(tokenizer);
    lv_tokenizer_close(&tokenizer);
    return n_ids <= config->vocab_size
               ? LV_OK
               : lv_fail(LV_ERR_CONFIG,
                         "the tokenizer %s has %d ids, but \"vocab_size\" of the language model is "
                         "%lld",
                         tokenizer_dir, (int)n_ids, (long long)config->vocab_size);
}

static int init_language(const char *dir, uint64_t seed, const char *tokenizer_dir)
{
    lv_llama_config config;
    lv_params *params = NULL;
    lv_llama *llama = NULL;
    int rc = lv_hf_language_config(&config, dir);
    if (rc == LV_OK) rc = lv_dir_remove(dir);
    if (rc == LV_OK && tokenizer_dir) {
        rc = check_tokenizer(&config, tokenizer_dir);
    }
    if (rc == LV_OK) rc = lv_params_create(&params);
    if (rc == LV_OK) rc = lv_llama_create(&llama, &config, params);
    if (rc == LV_OK) rc = lv_params_allocate(params);
    if (rc == LV_OK) rc = lv_params_init_part(params, LV_PART_LANGUAGE, seed);
    if (rc == LV_OK) rc = lv_hf_save_language(params, &config, tokenizer_dir, dir);
    lv_llama_destroy(&llama);
    lv_params_destroy(&params);
    return rc;
}

/* A model's folder with its config.json as the shape file has it: it is then read, and checked, as
 * that of any other model. */
static int write_config(const cJSON *shape, const char *dir)
{
    int rc = lv_dir_create(dir);
    if (rc) {
        return rc;
    }
    char *text = lv_json_print(shape);
    char *path = lv_path("%s/config.json", dir);
    rc = lv_file_write(path, text, strlen(text));
    free(path);
    free(text);
    return rc;
}

static int init_parts(const cJSON *shapes, uint64_t seed, const char *tokenizer_dir,
                      const char *vision_dir, const char *text_dir)
{
    const cJSON *vision = lv_json_find(shapes, VISION);
    const cJSON *text = lv_json_find(shapes, TEXT);
    int rc = LV_OK;
    if (vision) {
        rc = write_config(vision, vision_dir);
        if (rc == LV_OK) rc = init_vision(vision_dir, seed);
    }
    if (rc == LV_OK && text) {
        rc = write_config(text, text_dir);
        if (rc == LV_OK) rc = init_language(text_dir, seed, tokenizer_dir);
    }
    return rc;
}

static int check_shapes(const cJSON *shapes, const char *path)
{
    int n = 0;
    for (const cJSON *part = shapes->child; part; part = part->next, n++) {
        if (strcmp(part->string, VISION) != 0 && strcmp(part->string, TEXT) != 0) {
            return lv_fail(LV_ERR_CONFIG, "%s: unknown key \"%s\"; there may be %s and %s", path,
                           part->string, VISION, TEXT);
        }
        if (!cJSON_IsObject(part)) {
            return lv_fail(LV_ERR_CONFIG, "%s: %s is %s, it must be an object, a model's config",
                           path, part->string, lv_json_kind(part));
        }
    }
    return n > 0 ? LV_OK : lv_fail(LV_ERR_CONFIG, "%s: neither %s nor %s", path, VISION, TEXT);
}

int lv_model_init(const char *shape_path, uint64_t seed, const char *tokenizer_dir,
                  const char *out_dir)
{
    cJSON *shapes = NULL;
    char *vision_dir = lv_path("%s/%s", out_dir, VISION);
    char *text_dir = lv_path("%s/%s", out_dir, TEXT);
    int rc = lv_json_read(&shapes, shape_path);
    if (rc == LV_OK && !cJSON_IsObject(shapes)) {
        rc = lv_fail(LV_ERR_CONFIG, "%s: %s, it must be an object", shape_path,
                     lv_json_kind(shapes));
    }
    if (rc == LV_OK) rc = check_shapes(shapes, shape_path);
    if (rc == LV_OK && (lv_file_exists(vision_dir) || lv_file_exists(text_dir))) {
        rc = lv_fail(LV_ERR_CONFIG, "%s already has a %s or %s; give another folder", out_dir,
                     VISION, TEXT);
    } else if (rc == LV_OK) {
        rc = init_parts(shapes, seed, tokenizer_dir, vision_dir, text_dir);
        if (rc) {
            lv_dir_remove(vision_dir);
            lv_dir_remove(text_dir);
        }
    }
    cJSON_Delete(shapes);
    free(vision_dir);
    free(text_dir);
    return rc;
}
