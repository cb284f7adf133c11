/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys of a Hugging Face config.json: reading them within their limits, and writing them.
 * Every failure names the key; those of lv_key_refuse and
 * lv_keys_check_neutral are LV_ERR_UNSUPPORTED, the others LV_ERR_FORMAT.
 */
#ifndef LV_TRAIN_MODEL_KEYS_H
#define LV_TRAIN_MODEL_KEYS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

/* Bounds that no model reaches and whose products stay far from 2^63. */
enum {
    LV_KEY_MAX_SIZE = 1 << 20,
    LV_KEY_MAX_LAYERS = 1024,
    LV_KEY_MAX_VOCAB = 1 << 26,
    LV_KEY_MAX_IMAGE = 1 << 14,
    LV_KEY_MAX_POSITIONS = 1 << 30
};

/* lv_key_refuse: this member's value is not implemented. */
int lv_key_refuse(const cJSON *item);

/* A key that is read only at the value at which it has no effect; NAN: only at null. */
typedef struct {
    const char *key;
    double neutral;
} lv_neutral_key;

/* lv_keys_check_neutral: in  keys: up to one whose key is NULL */
int lv_keys_check_neutral(const cJSON *object, const lv_neutral_key *keys);

/* lv_keys_read_sizes: whole numbers from 1 to max; absent ones are left as they are.
 * in     keys: up to one whose key is NULL; whole: the object is a model's own config, in which
 *        the essential keys are required */
typedef struct {
    const char *key;
    int64_t *value;
    int64_t max;
    bool essential;
} lv_size_key;
int lv_keys_read_sizes(const cJSON *object, const lv_size_key *keys, bool whole);

/* lv_key_positive: above 0 and up to max; absent: left as it is. */
int lv_key_positive(const cJSON *object, const char *key, double max, double *value);

/* lv_key_token: a token's id, of a list the first; null: -1; absent: left as it is. */
int lv_key_token(const cJSON *object, const char *key, int64_t *value);

/* lv_key_object: an object member; *out is NULL if there is none. */
int lv_key_object(const cJSON **out, const cJSON *root, const char *key);

/* Members of an object that is written; all end the job if memory is out. */
void lv_key_set_number(cJSON *object, const char *key, double value);
void lv_key_set_bool(cJSON *object, const char *key, bool value);
void lv_key_set_string(cJSON *object, const char *key, const char *value);
void lv_key_set_null(cJSON *object, const char *key);
void lv_key_set_token(cJSON *object, const char *key, int64_t id); /* -1: null */
cJSON *lv_key_set_object(cJSON *object, const char *key);          /* returns the new member */

#endif
