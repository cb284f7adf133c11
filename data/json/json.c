/* SPDX-License-Identifier: Apache-2.0 */
#include "data/json/json.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/scan.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    FEW_KEYS = 16, /* up to these an object's keys are compared without sorting */
    SHOWN_BYTES = 96,
};
static const double MAX_EXACT_INTEGER = 9007199254740992.0; /* 2^53 */

void lv_json_place_advance(lv_json_place *place, const char *text, size_t n)
{
    const char *line = memrchr(text, '\n', n);
    size_t n_lines = 0, n_characters = 0;
    if (line) {
        size_t after = (size_t)(line - text) + 1;
        for (size_t i = 0; i < after; i++) {
            n_lines += text[i] == '\n';
        }
        place->line += (int64_t)n_lines;
        place->column = 1;
        text += after;
        n -= after;
    }
    for (size_t i = 0; i < n; i++) {
        n_characters += ((unsigned char)text[i] & 0xC0) != 0x80; /* not inside a UTF-8 character */
    }
    place->column += (int64_t)n_characters;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The key as printable ASCII: the message may go to a terminal. */
static int fail_twice(const char *key)
{
    char shown[SHOWN_BYTES];
    size_t n = 0;
    for (; key[n] && n + 1 < sizeof shown; n++) {
        shown[n] = key[n] >= ' ' && key[n] <= '~' ? key[n] : '?';
    }
    shown[n] = '\0';
    return lv_fail(LV_ERR_FORMAT, "the key \"%s\" is given twice in one object", shown);
}

static int check_few_keys(const cJSON *object)
{
    for (const cJSON *child = object->child; child; child = child->next) {
        for (const cJSON *other = object->child; other != child; other = other->next) {
            if (strcmp(child->string, other->string) == 0) {
                return fail_twice(child->string);
            }
        }
    }
    return LV_OK;
}

static int check_many_keys(const cJSON *object, size_t n)
{
    int rc = LV_OK;
    const char **keys = malloc(n * sizeof *keys);
    if (!keys) {
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    size_t i = 0;
    for (const cJSON *child = object->child; child; child = child->next) {
        keys[i++] = child->string;
    }
    qsort(keys, n, sizeof *keys, compare_keys);
    for (i = 1; rc == LV_OK && i < n; i++) {
        rc = strcmp(keys[i - 1], keys[i]) == 0 ? fail_twice(keys[i]) : LV_OK;
    }
    free(keys);
    return rc;
}

static int check_duplicates(const cJSON *item)
{
    int rc = LV_OK;
    if (cJSON_IsObject(item)) {
        size_t n = (size_t)cJSON_GetArraySize(item);
        rc = n <= FEW_KEYS ? check_few_keys(item) : check_many_keys(item, n);
    }
    for (const cJSON *child = item->child; rc == LV_OK && child; child = child->next) {
        rc = check_duplicates(child);
    }
    return rc;
}

int lv_json_parse_part(cJSON **out, const char *text, size_t n, size_t *at)
{
    int rc = lv_json_check(text, n, at);
    if (rc < 0) {
        return rc;
    }
    cJSON *root = cJSON_ParseWithLength(text, n);
    if (!root) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for %zu bytes of JSON", n);
    }
    *at = 0;
    rc = check_duplicates(root);
    if (rc < 0) {
        cJSON_Delete(root);
        return rc;
    }
    *out = root;
    return LV_OK;
}

int lv_json_fail_at(lv_json_place place)
{
    return lv_fail_within("line %" PRId64 " column %" PRId64, place.line, place.column);
}

int lv_json_parse(cJSON **out, const char *text, size_t n)
{
    lv_json_place place = {1, 1};
    size_t at = 0, mark = n >= 3 && memcmp(text, LV_JSON_MARK, 3) == 0 ? 3 : 0;
    int rc = lv_json_parse_part(out, text + mark, n - mark, &at);
    if (rc == LV_ERR_FORMAT) {
        lv_json_place_advance(&place, text + mark, at);
        lv_json_fail_at(place);
    }
    return rc;
}

int lv_json_read(cJSON **out, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    int rc = lv_file_read(&text, &n, path);
    if (rc < 0) {
        return rc;
    }
    rc = lv_json_parse(out, text, n);
    free(text);
    return rc < 0 ? lv_fail_within("%s", path) : rc;
}

const cJSON *lv_json_find(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNull(item) ? NULL : item;
}

const char *lv_json_kind(const cJSON *item)
{
    return !item                  ? "nothing"
           : cJSON_IsObject(item) ? "an object"
           : cJSON_IsArray(item)  ? "an array"
           : cJSON_IsString(item) ? "a string"
           : cJSON_IsNumber(item) ? "a number"
           : cJSON_IsBool(item)   ? "a boolean"
                                  : "null";
}

/* The member, or NULL with *rc saying whether that is an error. */
static const cJSON *member(const cJSON *object, const char *key, bool required,
                           const char *expected, int *rc)
{
    const cJSON *item = lv_json_find(object, key);
    *rc = item || !required
              ? LV_OK
              : lv_fail(LV_ERR_FORMAT, "\"%s\" is missing (expected %s)", key, expected);
    return item;
}

static int wrong_kind(const cJSON *item, const char *key, const char *expected)
{
    return lv_fail(LV_ERR_FORMAT, "\"%s\": expected %s, found %s", key, expected,
                   lv_json_kind(item));
}

int lv_json_int(const cJSON *object, const char *key, bool required, int64_t *value)
{
    int rc;
    const cJSON *item = member(object, key, required, "a whole number", &rc);
    if (!item) {
        return rc;
    }
    double number = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    if (!(fabs(number) <= MAX_EXACT_INTEGER) || number != floor(number)) {
        return wrong_kind(item, key, "a whole number");
    }
    *value = (int64_t)number;
    return LV_OK;
}

int lv_json_double(const cJSON *object, const char *key, bool required, double *value)
{
    int rc;
    const cJSON *item = member(object, key, required, "a number", &rc);
    if (!item) {
        return rc;
    }
    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble)) {
        return wrong_kind(item, key, "a number");
    }
    *value = item->valuedouble;
    return LV_OK;
}

int lv_json_bool(const cJSON *object, const char *key, bool required, bool *value)
{
    int rc;
    const cJSON *item = member(object, key, required, "true or false", &rc);
    if (!item) {
        return rc;
    }
    if (!cJSON_IsBool(item)) {
        return wrong_kind(item, key, "true or false");
    }
    *value = cJSON_IsTrue(item);
    return LV_OK;
}

int lv_json_string(const cJSON *object, const char *key, bool required, const char **value)
{
    int rc;
    const cJSON *item = member(object, key, required, "a string", &rc);
    if (!item) {
        return rc;
    }
    if (!cJSON_IsString(item)) {
        return wrong_kind(item, key, "a string");
    }
    *value = item->valuestring;
    return LV_OK;
}
