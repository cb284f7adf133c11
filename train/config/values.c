/* SPDX-License-Identifier: Apache-2.0
 *
 * One value of the configuration: checked, and stored where its field says.
 */
#include "train/config/fields.h"

#include "autograd/error.h"
#include "data/json/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int wrong_value(const char *key, const cJSON *item, const char *expected)
{
    char *given = lv_json_print_line(item);
    int rc = lv_fail(LV_ERR_CONFIG, "%s: expected %s, found %.200s", key, expected, given);
    free(given);
    return rc;
}

static int too_many_entries(const lv_config_field *f)
{
    return lv_fail(LV_ERR_CONFIG, "%s: more than %d entries", f->key, LV_MAX_LIST);
}

static void name_bounds(char *text, size_t n, const lv_config_field *f, bool whole)
{
    if (f->max == LV_CONFIG_NO_MAX) {
        snprintf(text, n, "a whole number, at least %.0f", f->min);
    } else if (whole) {
        snprintf(text, n, "a whole number between %.0f and %.0f", f->min, f->max);
    } else {
        snprintf(text, n, "a number between %g and %g", f->min, f->max);
    }
}

static int store_number(const lv_config_field *f, const cJSON *item, bool whole, void *to)
{
    char expected[160];
    double number = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    bool fits = number >= f->min && number <= f->max && (!whole || number == floor(number));
    if (cJSON_IsNull(item) && f->preset && strcmp(f->preset, "null") == 0) {
        number = f->kind == KIND_LAYER ? LV_LAYER_NOT_GIVEN : -1;
    } else if (!fits) {
        name_bounds(expected, sizeof expected, f, whole);
        return wrong_value(f->key, item, expected);
    }
    if (whole) {
        *(int64_t *)to = (int64_t)number;
    } else {
        *(double *)to = number;
    }
    return LV_OK;
}

static int store_choice(const lv_config_field *f, const cJSON *item, void *to)
{
    char expected[128] = "";
    const char *given = cJSON_IsString(item)  ? item->valuestring
                        : cJSON_IsFalse(item) ? "false"
                        : cJSON_IsTrue(item)  ? "true"
                        : cJSON_IsNull(item)  ? "null"
                                              : "";
    for (int i = 0; i < 4 && f->choices[i]; i++) {
        size_t used = strlen(expected);
        if (strcmp(given, f->choices[i]) == 0) {
            if (f->size == sizeof(bool)) {
                *(bool *)to = i == 1;
            } else {
                memcpy(to, &i, sizeof i);
            }
            return LV_OK;
        }
        snprintf(expected + used, sizeof expected - used, "%s%s", used ? " or " : "",
                 f->choices[i]);
    }
    return wrong_value(f->key, item, expected);
}

static int store_texts(const lv_config_field *f, const cJSON *item, lv_text_list *to)
{
    static const char expected[] = "a list of texts";
    const cJSON *element;
    if (!cJSON_IsArray(item) || !item->child) {
        return wrong_value(f->key, item, expected);
    }
    cJSON_ArrayForEach (element, item) {
        if (!cJSON_IsString(element) || !*element->valuestring) {
            return wrong_value(f->key, item, expected);
        }
        if (to->n == LV_MAX_LIST) {
            return too_many_entries(f);
        }
        to->items[to->n++] = element->valuestring;
    }
    return LV_OK;
}

/* A pack of a list: its folder, or an object of that and a weight. key is that of the element. */
static int read_pack(const lv_config_field *f, const char *key, const cJSON *element,
                     const char **path, double *weight)
{
    const bool weighted = f->max > 0;
    const cJSON *text = element, *member;
    char name[160], expected[96];
    *weight = 1;
    if (cJSON_IsObject(element)) {
        text = lv_json_find(element, "path");
        cJSON_ArrayForEach (member, element) {
            bool is_weight = strcmp(member->string, "weight") == 0;
            snprintf(name, sizeof name, "%s.%.64s", key, member->string);
            if (is_weight && !weighted) {
                return lv_fail(LV_ERR_CONFIG,
                               "%s: held-out packs have no weights: all of their "
                               "samples count, once",
                               name);
            }
            if (is_weight && !(cJSON_IsNumber(member) && member->valuedouble >= f->min &&
                               member->valuedouble <= f->max)) {
                snprintf(expected, sizeof expected, "a number between %g and %g", f->min, f->max);
                return wrong_value(name, member, expected);
            }
            if (!is_weight && member != text) {
                return lv_fail(LV_ERR_CONFIG, "%s: unknown key; there are: path%s", name,
                               weighted ? ", weight" : "");
            }
            *weight = is_weight ? member->valuedouble : *weight;
        }
    }
    if (!cJSON_IsString(text) || !*text->valuestring) {
        return wrong_value(key, element,
                           weighted ? "a pack's folder, or {\"path\": ..., \"weight\": ...}"
                                    : "a pack's folder, or {\"path\": ...}");
    }
    *path = text->valuestring;
    return LV_OK;
}

static int store_packs(const lv_config_field *f, const cJSON *item, lv_config_packs *to)
{
    const cJSON *element;
    if (!cJSON_IsArray(item)) {
        return wrong_value(f->key, item, "a list of pack folders");
    }
    if (f->preset == NULL && !item->child) {
        return lv_fail(LV_ERR_CONFIG, "%s: the list is empty; name one pack at least", f->key);
    }
    cJSON_ArrayForEach (element, item) {
        char key[80];
        if (to->n == LV_MAX_LIST) {
            return too_many_entries(f);
        }
        snprintf(key, sizeof key, "%s[%zu]", f->key, to->n);
        int rc = read_pack(f, key, element, &to->paths[to->n], &to->weights[to->n]);
        if (rc < 0) {
            return rc;
        }
        to->n++;
    }
    return LV_OK;
}

int lv_config_store(lv_config *config, const lv_config_field *f, const cJSON *item)
{
    void *to = (char *)config + f->offset;
    switch (f->kind) {
    case KIND_PATH:
    case KIND_TEXT:
        if (cJSON_IsNull(item) && f->preset) {
            *(const char **)to = NULL;
            return LV_OK;
        }
        if (!cJSON_IsString(item) || !*item->valuestring) {
            return wrong_value(f->key, item, f->kind == KIND_PATH ? "a path" : "a text");
        }
        *(const char **)to = item->valuestring;
        return LV_OK;
    case KIND_PACKS:
        return store_packs(f, item, to);
    case KIND_TEXTS:
        return store_texts(f, item, to);
    case KIND_INT:
    case KIND_LAYER:
        return store_number(f, item, true, to);
    case KIND_REAL:
        return store_number(f, item, false, to);
    case KIND_BETAS:
        if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != 2) {
            return wrong_value(f->key, item, "two numbers");
        }
        for (int i = 0; i < 2; i++) {
            int rc = store_number(f, cJSON_GetArrayItem(item, i), false, (double *)to + i);
            if (rc < 0) {
                return rc;
            }
        }
        return LV_OK;
    case KIND_BOOL:
        if (!cJSON_IsBool(item)) {
            return wrong_value(f->key, item, "true or false");
        }
        *(bool *)to = cJSON_IsTrue(item);
        return LV_OK;
    case KIND_CHOICE:
        break;
    }
    return store_choice(f, item, to);
}
