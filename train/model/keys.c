/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/keys.h"

#include "autograd/error.h"
#include "data/json/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int lv_key_refuse(const cJSON *item)
{
    char *value = lv_json_print_line(item);
    int rc = lv_fail(LV_ERR_UNSUPPORTED, "\"%s\": %.80s is not supported", item->string, value);
    free(value);
    return rc;
}

int lv_keys_check_neutral(const cJSON *object, const lv_neutral_key *keys)
{
    for (; keys->key; keys++) {
        const cJSON *item = lv_json_find(object, keys->key);
        double value = cJSON_IsNumber(item) ? item->valuedouble
                       : cJSON_IsBool(item) ? cJSON_IsTrue(item)
                                            : NAN;
        if (item && value != keys->neutral) {
            return lv_key_refuse(item);
        }
    }
    return LV_OK;
}

int lv_keys_read_sizes(const cJSON *object, const lv_size_key *keys, bool whole)
{
    for (; keys->key; keys++) {
        int rc = lv_json_int(object, keys->key, whole && keys->essential, keys->value);
        if (rc < 0) {
            return rc;
        }
        if (*keys->value < 1 || *keys->value > keys->max) {
            return lv_fail(LV_ERR_FORMAT,
                           "\"%s\": expected a size from 1 to %" PRId64 ", found %" PRId64,
                           keys->key, keys->max, *keys->value);
        }
    }
    return LV_OK;
}

int lv_key_positive(const cJSON *object, const char *key, double max, double *value)
{
    int rc = lv_json_double(object, key, false, value);
    if (rc == LV_OK && !(*value > 0 && *value <= max)) {
        rc = lv_fail(LV_ERR_FORMAT, "\"%s\": expected a number above 0 and up to %g, found %g", key,
                     max, *value);
    }
    return rc;
}

int lv_key_token(const cJSON *object, const char *key, int64_t *value)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!item) {
        return LV_OK;
    }
    if (cJSON_IsArray(item)) {
        item = cJSON_GetArrayItem(item, 0);
    }
    double number = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!(number >= -1 && number < LV_KEY_MAX_VOCAB) || number != floor(number) ||
        (item && !cJSON_IsNumber(item) && !cJSON_IsNull(item))) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\": expected a token's id", key);
    }
    *value = (int64_t)number;
    return LV_OK;
}

int lv_key_object(const cJSON **out, const cJSON *root, const char *key)
{
    *out = lv_json_find(root, key);
    return !*out || cJSON_IsObject(*out)
               ? LV_OK
               : lv_fail(LV_ERR_FORMAT, "\"%s\": expected an object, found %s", key,
                         lv_json_kind(*out));
}

static void check_added(const cJSON *item)
{
    LV_CHECK(item, "out of memory for a JSON value");
}

void lv_key_set_number(cJSON *object, const char *key, double value)
{
    check_added(cJSON_AddNumberToObject(object, key, value));
}

void lv_key_set_bool(cJSON *object, const char *key, bool value)
{
    check_added(cJSON_AddBoolToObject(object, key, value));
}

void lv_key_set_string(cJSON *object, const char *key, const char *value)
{
    check_added(cJSON_AddStringToObject(object, key, value));
}

void lv_key_set_null(cJSON *object, const char *key)
{
    check_added(cJSON_AddNullToObject(object, key));
}

void lv_key_set_token(cJSON *object, const char *key, int64_t id)
{
    check_added(id < 0 ? cJSON_AddNullToObject(object, key)
                       : cJSON_AddNumberToObject(object, key, (double)id));
}

cJSON *lv_key_set_object(cJSON *object, const char *key)
{
    cJSON *child = cJSON_AddObjectToObject(object, key);
    check_added(child);
    return child;
}
