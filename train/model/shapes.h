/* SPDX-License-Identifier: Apache-2.0
 *
 * The shapes of the models, as read from a Hugging Face config.json.
 */
#ifndef LV_TRAIN_MODEL_SHAPES_H
#define LV_TRAIN_MODEL_SHAPES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t hidden_size, intermediate_size, n_layers, n_heads;
    int64_t image_size, patch_size, n_channels;
    int64_t projection_dim; /* written back as found, not used */
    double layer_norm_eps;
    bool quick_gelu; /* hidden_act: quick_gelu or gelu */
} lv_clip_config;

typedef struct {
    int64_t hidden_size, intermediate_size, n_layers, n_heads, n_kv_heads, head_dim;
    int64_t vocab_size, max_positions;
    double rms_norm_eps, rope_theta;
    bool tied;           /* tie_word_embeddings */
    bool attention_bias; /* on q, k, v and o */
    bool mlp_bias;
    int64_t bos_token_id, eos_token_id, pad_token_id; /* -1 if not given */
} lv_llama_config;

typedef enum {
    LV_PROJECTOR_LINEAR,
    LV_PROJECTOR_MLP_GELU,
    LV_PROJECTOR_IDENTITY
} lv_projector_kind;

typedef struct {
    lv_projector_kind kind;
    int depth; /* of MLP_GELU: N of mlpNx_gelu */
    int64_t in_size, out_size;
} lv_projector_config;

typedef struct {
    lv_clip_config vision;
    lv_projector_config projector;
    lv_llama_config text;
    int vision_select_layer;  /* index into the hidden states, as Python's: -2 */
    bool vision_select_patch; /* true "patch": class row dropped; false "cls_patch" */
    int64_t image_token_id;   /* -1: the vocabulary has no <image> row */
    float image_mean[3], image_std[3];
    bool aspect_pad; /* images are padded to a square, not cropped */
} lv_llava_config;

#endif
