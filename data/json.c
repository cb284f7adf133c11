/* SPDX-License-Identifier: Apache-2.0 */
#include "data/json.h"

#include "autograd/error.h"
#include "data/file.h"
#include "data/text.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHITE_SPACE " \t\r\n"
enum { MAX_DIGITS = 63 }; /* not every cJSON reads further into a number */
static const double MAX_EXACT_INTEGER = 9007199254740992.0; /* 2^53 */

static int fail_at(const char *text, size_t at, const char *what)
{
    int line = 1;
    size_t line_start = 0;
    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    }
    return lv_fail(LV_ERR_FORMAT, "line %d column %zu: %s", line, at - line_start + 1, what);
}

/* Bytes of the escape at a backslash, n bytes left; 0 if it is a \u without four hex digits, which
 * cJSON takes for U+0000. Other unknown escapes are left to cJSON. */
static size_t escape_length(const char *text, size_t n)
{
    if (n < 2 || text[1] != 'u') {
        return 2;
    }
    size_t digits = 0;
    while (digits < 4 && digits + 2 < n && isxdigit((unsigned char)text[digits + 2])) {
        digits++;
    }
    return digits == 4 ? 6 : 0;
}

/* Checks a string from the character after its quote; *end is set to its closing quote. */
static int check_string(const char *text, size_t n, size_t at, size_t *end)
{
    while (at < n && text[at] != '"') {
        unsigned char c = (unsigned char)text[at];
        if (c < 0x20) {
            return fail_at(text, at, "a control character inside a string (write it as \\u00XX)");
        }
        if (c == '\\') {
            if (n - at >= 6 && memcmp(text + at, "\\u0000", 6) == 0) {
                return fail_at(text, at, "\\u0000 inside a string is not supported");
            }
            size_t len = escape_length(text + at, n - at);
            if (len == 0) {
                return fail_at(text, at, "\\u without four hexadecimal digits");
            }
            at += len;
            continue;
        }
        bool valid;
        size_t len = lv_utf8_step(text + at, n - at, &valid);
        if (!valid) {
            return fail_at(text, at, "invalid UTF-8");
        }
        at += len;
    }
    if (at >= n) {
        return fail_at(text, n, "a string is not closed");
    }
    *end = at;
    return LV_OK;
}

static size_t skip_digits(const char *text, size_t n, size_t at)
{
    while (at < n && text[at] >= '0' && text[at] <= '9') {
        at++;
    }
    return at;
}

/* Whether a whole number of n characters comes back from a double as it was written. */
static bool is_exact(const char *text, size_t n)
{
    char digits[MAX_DIGITS + 1], back[MAX_DIGITS + 1];
    if (n < 16) {
        return true;
    }
    if (n > MAX_DIGITS) {
        return false;
    }
    memcpy(digits, text, n);
    digits[n] = '\0';
    int printed = snprintf(back, sizeof back, "%.0f", strtod(digits, NULL));
    return printed == (int)n && memcmp(digits, back, n) == 0;
}

/* Whether a number of n characters, not too many, is within a double's range: beyond it cJSON has
 * infinity. */
static bool is_finite(const char *text, size_t n)
{
    char number[MAX_DIGITS + 1];
    memcpy(number, text, n);
    number[n] = '\0';
    return isfinite(strtod(number, NULL));
}

/* Checks a number by JSON's grammar; *end is set behind it. */
static int check_number(const char *text, size_t n, size_t start, size_t *end)
{
    size_t at = start + (text[start] == '-');
    size_t digits_end = skip_digits(text, n, at);
    bool whole = true;
    if (digits_end == at || (text[at] == '0' && digits_end > at + 1)) {
        return fail_at(text, start, "not a JSON number");
    }
    at = digits_end;
    if (at < n && text[at] == '.') {
        whole = false;
        digits_end = skip_digits(text, n, at + 1);
        if (digits_end == at + 1) {
            return fail_at(text, start, "not a JSON number");
        }
        at = digits_end;
    }
    if (at < n && (text[at] == 'e' || text[at] == 'E')) {
        whole = false;
        at++;
        at += at < n && (text[at] == '+' || text[at] == '-');
        digits_end = skip_digits(text, n, at);
        if (digits_end == at) {
            return fail_at(text, start, "not a JSON number");
        }
        at = digits_end;
    }
    if (whole && !is_exact(text + start, at - start)) {
        return fail_at(text, start, "a whole number so large that it would be rounded");
    }
    if (at - start > MAX_DIGITS) {
        return fail_at(text, start, "a number of too many characters");
    }
    if (!is_finite(text + start, at - start)) {
        return fail_at(text, start, "a number so large that it would become infinite");
    }
    *end = at;
    return LV_OK;
}

/* What cJSON would let pass is found here; everything else is left to cJSON. */
static int check_text(const char *text, size_t n)
{
    size_t at = 0;
    while (at < n) {
        char c = text[at];
        int rc = LV_OK;
        size_t end = at;
        if (c == '"') {
            rc = check_string(text, n, at + 1, &end);
            end++;
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            rc = check_number(text, n, at, &end);
        } else if (c == '\0' || ((unsigned char)c < 0x20 && !strchr(WHITE_SPACE, c))) {
            rc = fail_at(text, at, "a control character");
        } else {
            end++;
        }
        if (rc < 0) {
            return rc;
        }
        at = end;
    }
    return LV_OK;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int check_keys(const cJSON *item)
{
    if (cJSON_IsObject(item)) {
        size_t n = (size_t)cJSON_GetArraySize(item);
        const char **keys = malloc((n + 1) * sizeof *keys);
        if (!keys) {
            return lv_fail(LV_ERR_MEMORY, "out of memory");
        }
        size_t i = 0;
        for (const cJSON *child = item->child; child; child = child->next) {
            keys[i++] = child->string;
        }
        qsort(keys, n, sizeof *keys, compare_keys);
        for (i = 1; i < n; i++) {
            if (strcmp(keys[i - 1], keys[i]) == 0) {
                int rc = lv_fail(LV_ERR_FORMAT, "the key \"%s\" is given twice", keys[i]);
                free(keys);
                return rc;
            }
        }
        free(keys);
    }
    for (const cJSON *child = item->child; child; child = child->next) {
        int rc = check_keys(child);
        if (rc < 0) {
            return rc;
        }
    }
    return LV_OK;
}

int lv_json_parse(cJSON **out, const char *text, size_t n)
{
    const char *end = NULL;
    cJSON *root = NULL;
    int rc = check_text(text, n);
    if (rc < 0) {
        return rc;
    }
    root = cJSON_ParseWithLengthOpts(text, n, &end, false);
    if (!root) {
        return fail_at(text, end ? (size_t)(end - text) : n, "not valid JSON");
    }
    for (size_t at = (size_t)(end - text); at < n; at++) {
        if (!strchr(WHITE_SPACE, text[at])) {
            rc = fail_at(text, at, "text after the end of the JSON value");
            goto fail;
        }
    }
    rc = check_keys(root);
    if (rc < 0) {
        goto fail;
    }
    *out = root;
    return LV_OK;
fail:
    cJSON_Delete(root);
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
