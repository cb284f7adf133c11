/* SPDX-License-Identifier: Apache-2.0
 *
 * What an lv_llava is made of, for the files that open it, run it and generate with it.
 */
#ifndef LV_TRAIN_MODEL_LLAVA_INTERNAL_H
#define LV_TRAIN_MODEL_LLAVA_INTERNAL_H

#include "train/model/connector/connector.h"
#include "train/model/language/llama.h"
#include "train/model/llava/llava.h"
#include "train/model/vision/vision.h"

struct lv_llava {
    lv_llava_config config;
    lv_params *params;
    lv_vision *vision;
    lv_connector *connector;
    lv_llama *llama;
    lv_dtype dtype; /* of activations */
    bool recompute, dry;
    char *tokenizer_dir;
    uint64_t fingerprint;
    char *notes[LV_LLAVA_N_NOTES];
};

/* lv_llava_declare: create the three parts of model->config, in model->params.
 * fails  LV_ERR_CONFIG, LV_ERR_MEMORY */
int lv_llava_declare(lv_llava *model);

/* lv_llava_embed: what enters the language model: embedded text and the images' features.
 * out    (T, hidden_size), in the step arena */
lv_tensor *lv_llava_embed(lv_llava *model, lv_tape *tape, const lv_batch *batch);

#endif
