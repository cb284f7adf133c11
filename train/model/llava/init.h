/* SPDX-License-Identifier: Apache-2.0
 *
 * Random models, for tests, benches and training from scratch.
 */
#ifndef LV_TRAIN_MODEL_LLAVA_INIT_H
#define LV_TRAIN_MODEL_LLAVA_INIT_H

#include <stdint.h>

/* lv_model_init: write models with random weights in Hugging Face's layout.
 * The shape file is an object with "vision_tower" and/or "language_model", each the config.json
 * of such a model; they become out_dir/vision_tower and out_dir/language_model. Weights are drawn
 * as transformers draws them: language models' linear layers and embedding normal with 0.02, CLIP's
 * normal with its standard deviations; norms 1, biases 0. A value depends on (seed, name, index)
 * alone.
 * in     tokenizer_dir: whose tokenizer files the language model gets, or NULL
 * fails  LV_ERR_CONFIG (shape, or out_dir already has such a model), LV_ERR_FORMAT,
 *        LV_ERR_UNSUPPORTED, LV_ERR_MEMORY, LV_ERR_IO */
int lv_model_init(const char *shape_path, uint64_t seed, const char *tokenizer_dir,
                  const char *out_dir);

#endif
