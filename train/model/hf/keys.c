/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/hf/keys.h"

#include "autograd/error.h"
#include "data/json/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int lv_hf_refuse(const cJSON *item)
{
    char *value = lv_json_print_line(item);
    int rc = lv_fail(LV_ERR_UNSUPPORTED, "\"%s\": %.80s is not supported", item->string, value);
    free(value);
    return rc;
}

int lv_hf_check_neutral(const cJSON *object, const lv_hf_neutral_key *keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const cJSON *item = lv_json_find(object, keys[i].key);
        double value = cJSON_IsNumber(item) ? item->valuedouble
                       : cJSON_IsBool(item) ? cJSON_IsTrue(item)
                                            : NAN;
        if (item && value != keys[i].neutral) {
            return lv_hf_refuse(item);
        }
    }
    return LV_OK;
}

int lv_hf_read_sizes(const cJSON *object, const lv_hf_size_key *keys, size_t n, bool whole)
{
    for (size_t i = 0; i < n; i++) {
        int rc = lv_json_int(object, keys[i].key, whole && keys[i].essential, keys[i].value);
        if (rc < 0) {
            return rc;
        }
        if (*keys[i].value < 1 || *keys[i].value > keys[i].max) {
            return lv_fail(LV_ERR_FORMAT,
                           "\"%s\": expected a size from 1 to %" PRId64 ", found %" PRId64,
                           keys[i].key, keys[i].max, *keys[i].value);
        }
    }
    return LV_OK;
}

int lv_hf_read_positive(const cJSON *object, const char *key, double max, double *value)
{
    int rc = lv_json_double(object, key, false, value);
    if (rc == LV_OK && !(*value > 0 && *value <= max)) {
        rc = lv_fail(LV_ERR_FORMAT, "\"%s\": expected a number above 0 and up to %g, found %g", key,
                     max, *value);
    }
    return rc;
}

int lv_hf_read_token(const cJSON *object, const char *key, int64_t *value)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!item) {
        return LV_OK;
    }
    if (cJSON_IsArray(item)) {
        item = cJSON_GetArrayItem(item, 0);
    }
    double number = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!(number >= -1 && number < LV_HF_MAX_VOCAB) || number != floor(number) ||
        (item && !cJSON_IsNumber(item) && !cJSON_IsNull(item))) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\": expected a token's id", key);
    }
    *value = (int64_t)number;
    return LV_OK;
}

int lv_hf_find_object(const cJSON **out, const cJSON *root, const char *key)
{
    *out = lv_json_find(root, key);
    return !*out || cJSON_IsObject(*out)
               ? LV_OK
               : lv_fail(LV_ERR_FORMAT, "\"%s\": expected an object, found %s", key,
                         lv_json_kind(*out));
}

int lv_hf_check_model_type(const cJSON *object, const char *expected)
{
    const char *type = expected;
    int rc = lv_json_string(object, "model_type", false, &type);
    return rc < 0 || strcmp(type, expected) == 0
               ? rc
               : lv_fail(LV_ERR_UNSUPPORTED,
                         "\"model_type\": \"%s\" is not supported here (only "
                         "%s)",
                         type, expected);
}
