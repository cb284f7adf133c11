/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_clip: the vision tower of a CLIP, any shape that Hugging Face's CLIPVisionModel has. I
 * images, N = (image_size/patch_size)^2 patches, H hidden size.
 *
 *   x  = pre_layrnorm(patch_embed(pixels))
 *   x += out_proj(attention(q_proj(n), k_proj(n), v_proj(n))),  n = layer_norm1(x)
 *   x += fc2(gelu(fc1(n))),                                     n = layer_norm2(x)
 *
 * source Radford et al. 2021, arXiv:2103.00020
 */
#ifndef LV_TRAIN_MODEL_VISION_CLIP_H
#define LV_TRAIN_MODEL_VISION_CLIP_H

#include "autograd/tape.h"
#include "train/model/params/params.h"
#include "train/model/shapes.h"

#include <cjson/cJSON.h>

typedef struct lv_clip lv_clip;

/* lv_clip_config_parse: *config, which has the defaults, changed by the members of a config.json
 * (or of a "vision_config", whole false), and checked.
 * fails  LV_ERR_FORMAT, LV_ERR_UNSUPPORTED, each naming the key; *config is unchanged then */
extern const lv_clip_config lv_clip_defaults;       /* transformers' CLIPVisionConfig */
extern const lv_clip_config lv_clip_llava_defaults; /* its LlavaConfig's: ViT-L/14 at 336 */
int lv_clip_config_parse(lv_clip_config *config, const cJSON *object, bool whole);

/* lv_clip_config_write: all keys of the shape. */
void lv_clip_config_write(cJSON *object, const lv_clip_config *config);

/* lv_clip_create: declare the parameters, "vision_tower.<HF CLIP vision names>". Layers above the
 * selected hidden state, and post_layernorm, are declared as unused and never run.
 * in     select_layer: index into the n_layers + 1 hidden states, as Python's; select_patch: drop
 *        the class row; params outlives the tower; config: sizes as lv_clip_config_parse leaves them
 * fails  LV_ERR_CONFIG for a select_layer that does not exist, LV_ERR_MEMORY */
int lv_clip_create(lv_clip **out, const lv_clip_config *config, int select_layer, bool select_patch,
                   lv_params *params);
void lv_clip_destroy(lv_clip **clip);

/* lv_clip_rows_per_image: N, and one more with the class row. */
int64_t lv_clip_rows_per_image(const lv_clip_config *config, bool select_patch);

/* lv_clip_features: the selected hidden state. Layers without a gradient release their
 * activations.
 * in     pixels (I,C,S,S); recompute: keep only the layers' inputs where a gradient is needed
 * out    (I * rows per image, H), in the step arena */
lv_tensor *lv_clip_features(const lv_clip *clip, lv_tape *tape, lv_tensor *pixels, bool recompute);

#endif
