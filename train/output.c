/* SPDX-License-Identifier: Apache-2.0 */
#include "train/output.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/tokenizer/tokenizer.h"
#include "train/checkpoint/checkpoint.h"
#include "train/model/hf/hf.h"
#include "train/setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int lv_output_load(lv_llava **model, const lv_config *config, const char *checkpoint)
{
    const lv_comm single = lv_comm_single();
    lv_config exact = *config;
    lv_train_state state;
    exact.train.precision = LV_PRECISION_F32; /* nothing is computed: no rounding */
    int rc = lv_setup_model(model, &exact);
    if (rc < 0) {
        return lv_fail_within("the model that %s was trained from", checkpoint);
    }
    const lv_run_identity identity = {.frozen_fingerprint = lv_llava_fingerprint(*model)};
    return lv_checkpoint_load(&single, checkpoint, &identity, &state, lv_llava_params(*model),
                              NULL);
}

/* The last label of a pack's first sample, if that is a special piece: what the pack teaches to end
 * an answer with. */
static int add_taught(lv_hf_ids *ids, const lv_tokenizer *tokenizer, const char *path)
{
    lv_pack *pack = NULL;
    int rc = lv_pack_open(&pack, path);
    if (rc < 0) {
        return rc;
    }
    const lv_sample_counts *counts = lv_pack_counts(pack);
    int32_t *tokens = calloc((size_t)counts->n_tokens + 1, sizeof *tokens);
    uint8_t *supervised = calloc((size_t)counts->n_tokens + 1, sizeof *supervised);
    int64_t *images = calloc((size_t)counts->n_images + 1, sizeof *images);
    rc = tokens && supervised && images
             ? lv_pack_read_sample(pack, 0, tokens, supervised, images, NULL)
             : lv_fail(LV_ERR_MEMORY, "no memory to read a sample");
    int32_t last = -1;
    for (int32_t i = 0; rc == LV_OK && i < counts->n_tokens; i++) {
        last = supervised[i] ? tokens[i] : last;
    }
    bool known = !lv_tokenizer_is_special(tokenizer, last);
    for (int i = 0; i < ids->n_stops; i++) {
        known = known || ids->stops[i] == last;
    }
    if (rc == LV_OK && !known && ids->n_stops < LV_HF_MAX_STOPS) {
        ids->stops[ids->n_stops++] = last;
    }
    free(images);
    free(supervised);
    free(tokens);
    lv_pack_close(&pack);
    return rc;
}

/* Of the model's tokenizer, with what the run's packs teach; *found false: there is no tokenizer. */
static int find_ids(lv_hf_ids *ids, bool *found, const lv_llava *model, const lv_config *config)
{
    lv_tokenizer *tokenizer = NULL;
    lv_hf_tokenizer files;
    const char *dir = lv_llava_tokenizer_dir(model);
    *found = false;
    int rc = lv_hf_tokenizer_read(&files, dir);
    if (rc < 0 || !files.found || (rc = lv_tokenizer_open(&tokenizer, dir)) < 0) {
        return rc;
    }
    const int32_t *stops = lv_tokenizer_stops(tokenizer, &ids->n_stops);
    memcpy(ids->stops, stops, (size_t)ids->n_stops * sizeof *stops);
    ids->bos = lv_tokenizer_bos(tokenizer);
    ids->eos = lv_tokenizer_eos(tokenizer);
    for (size_t i = 0; rc == LV_OK && i < config->data.packs.n; i++) {
        const char *path = config->data.packs.paths[i];
        if (lv_file_exists(path)) {
            rc = add_taught(ids, tokenizer, path);
        } else {
            lv_warn(
                "%s is not there: \"eos_token_id\" is written without what it teaches to end an "
                "answer with",
                path);
        }
    }
    lv_tokenizer_close(&tokenizer);
    *found = true;
    return rc;
}

int lv_output_dtype_of(lv_dtype *out, const lv_config *config, lv_output_dtype choice)
{
    lv_dtype own = choice == LV_OUTPUT_BF16 ? LV_BF16 : LV_F32;
    int rc = LV_OK;
    if (choice == LV_OUTPUT_AUTO) {
        rc = lv_hf_language_dtype(&own, config->model.llava ? config->model.llava
                                                            : config->model.language_model);
    }
    *out = own == LV_BF16 ? LV_BF16 : LV_F32;
    return rc;
}

int lv_output_save(lv_llava *model, const lv_config *config, lv_dtype dtype, const char *out)
{
    bool original = false, found = false;
    lv_hf_ids ids = {.n_stops = 0};
    int rc = find_ids(&ids, &found, model, config);
    if (rc < 0) {
        return rc;
    }
    rc = lv_hf_save_llava(lv_llava_params(model), lv_llava_config_of(model),
                          lv_llava_tokenizer_dir(model), found ? &ids : NULL,
                          config->data.image_aspect == LV_ASPECT_PAD, dtype, out, &original);
    if (rc == LV_OK) {
        printf("wrote %s%s\n", out,
               original ? " in LLaVA's own naming: this connector has no Hugging Face form" : "");
    }
    return rc;
}

static int save_projector(lv_llava *model, const char *run_dir)
{
    static const char name[] = "projector.safetensors";
    int rc = lv_hf_save_projector(lv_llava_params(model), run_dir, name);
    if (rc == LV_OK) {
        printf("wrote %s/%s\n", run_dir, name);
    }
    return rc;
}

int lv_output_write(const lv_config *config, const char *checkpoint)
{
    lv_llava *model = NULL;
    char *out = lv_path("%s/model", config->run.dir);
    int rc = lv_output_load(&model, config, checkpoint);
    lv_dtype dtype = LV_F32;
    if (rc == LV_OK) rc = lv_output_dtype_of(&dtype, config, config->train.output_dtype);
    if (rc == LV_OK) {
        rc = config->train.output_full ? lv_output_save(model, config, dtype, out)
                                       : save_projector(model, config->run.dir);
    }
    if (rc < 0) {
        rc = lv_fail(rc, "%s (the run is finished: its last checkpoint, %s, is whole)",
                     lv_error_message(), checkpoint);
    }
    lv_llava_close(&model);
    free(out);
    return rc;
}
