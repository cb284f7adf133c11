/* SPDX-License-Identifier: Apache-2.0
 *
 * The shapes of the models, as read from a Hugging Face config.json. A vision tower, a connector
 * and a language family are each a row of a table: vision/vision.h, connector/connector.h,
 * language/families.h.
 */
#ifndef LV_TRAIN_MODEL_SHAPES_H
#define LV_TRAIN_MODEL_SHAPES_H

#include <stdbool.h>
#include <stdint.h>

/* Settings that only one row of a table has: its file says which is which. */
enum { LV_N_OWN_SETTINGS = 8 };

typedef struct {
    const struct lv_tower *tower;
    int64_t hidden_size, intermediate_size, n_layers, n_heads;
    int64_t image_size, patch_size, n_channels;
    int64_t projection_dim; /* written back as found, not used */
    double layer_norm_eps;
    bool quick_gelu; /* hidden_act: quick_gelu or gelu */
    int64_t own[LV_N_OWN_SETTINGS];
} lv_vision_config;

typedef struct {
    const struct lv_family *family;
    int64_t hidden_size, intermediate_size, n_layers, n_heads, n_kv_heads, head_dim;
    int64_t vocab_size, max_positions;
    double rms_norm_eps, rope_theta;
    bool tied; /* tie_word_embeddings */
    bool qkv_bias, o_bias, mlp_bias;
    int64_t bos_token_id, eos_token_id, pad_token_id; /* -1 if not given */
} lv_llama_config;

typedef struct {
    const struct lv_connector_kind *kind;
    int64_t in_size, out_size;
    int64_t own[LV_N_OWN_SETTINGS];
} lv_connector_config;

typedef struct {
    lv_vision_config vision;
    lv_connector_config connector;
    lv_llama_config text;
    int vision_select_layer;  /* index into the hidden states, as Python's: -2 */
    bool vision_select_patch; /* true "patch": class row dropped; false "cls_patch" */
    int64_t image_token_id;   /* -1: the vocabulary has no <image> row */
    float image_mean[3], image_std[3];
    bool aspect_pad; /* images are padded to a square, not cropped */
} lv_llava_config;

/* lv_name_rule: a tensor whose name in a file has this beginning is the parameter whose name has
 * the other, each after the prefix of its part. Lists of rules end with {NULL, NULL}; the first
 * that fits is taken. */
typedef struct {
    const char *file, *canonical;
} lv_name_rule;

#endif
