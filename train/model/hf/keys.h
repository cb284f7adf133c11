/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading the keys of a config.json with their limits. Every failure names the key; those of
 * lv_hf_refuse and lv_hf_check_neutral are LV_ERR_UNSUPPORTED, the others LV_ERR_FORMAT.
 */
#ifndef LV_TRAIN_MODEL_HF_KEYS_H
#define LV_TRAIN_MODEL_HF_KEYS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bounds that no model reaches and whose products stay far from 2^63. */
enum {
    LV_HF_MAX_SIZE = 1 << 20,
    LV_HF_MAX_LAYERS = 1024,
    LV_HF_MAX_VOCAB = 1 << 26,
    LV_HF_MAX_IMAGE = 1 << 14,
    LV_HF_MAX_POSITIONS = 1 << 30
};

/* lv_hf_refuse: this member's value is not implemented. */
int lv_hf_refuse(const cJSON *item);

/* A key that may only have the value at which it does nothing; NAN: only null. */
typedef struct {
    const char *key;
    double neutral;
} lv_hf_neutral_key;

int lv_hf_check_neutral(const cJSON *object, const lv_hf_neutral_key *keys, size_t n);
#define LV_HF_CHECK_NEUTRAL(object, keys)                                                          \
    lv_hf_check_neutral(object, keys, sizeof(keys) / sizeof *(keys))

/* lv_hf_read_sizes: whole numbers from 1 to max; absent ones are left as they are.
 * in     whole: the object is a model's own config, which always has its essential keys */
typedef struct {
    const char *key;
    int64_t *value;
    int64_t max;
    bool essential;
} lv_hf_size_key;
int lv_hf_read_sizes(const cJSON *object, const lv_hf_size_key *keys, size_t n, bool whole);

/* lv_hf_read_positive: above 0 and up to max; absent: left as it is. */
int lv_hf_read_positive(const cJSON *object, const char *key, double max, double *value);

/* lv_hf_read_token: a token's id, of a list the first; null: -1; absent: left as it is. */
int lv_hf_read_token(const cJSON *object, const char *key, int64_t *value);

/* lv_hf_find_object: an object member; *out is NULL if there is none. */
int lv_hf_find_object(const cJSON **out, const cJSON *root, const char *key);

/* lv_hf_check_model_type: "model_type" is what is expected, or absent. */
int lv_hf_check_model_type(const cJSON *object, const char *expected);

#endif
