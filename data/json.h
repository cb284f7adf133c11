/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON as cJSON reads it, less what cJSON would change without a word: a string with U+0000 or a
 * broken \u escape (cut there), a whole number that a double would round (2^53 + 1), a number
 * beyond its range (1e999), a key given twice, numbers such as 01, text after the end, invalid
 * UTF-8. Those are refused with their place. Keys are compared with their case.
 */
#ifndef LV_DATA_JSON_H
#define LV_DATA_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* lv_json_parse: text of n bytes (no terminator needed). out is the caller's: cJSON_Delete.
 * fails  LV_ERR_FORMAT with line and column, LV_ERR_MEMORY */
int lv_json_parse(cJSON **out, const char *text, size_t n);

/* lv_json_read: the same from a file, its name in front of the message. */
int lv_json_read(cJSON **out, const char *path);

/* lv_json_find: the member with that key; NULL if there is none or it is null. Borrowed. */
const cJSON *lv_json_find(const cJSON *object, const char *key);

/* Typed members. An absent (or null) member leaves *value alone and is an error only if required.
 * fails  LV_ERR_FORMAT: "key": expected ..., found ... */
int lv_json_int(const cJSON *object, const char *key, bool required, int64_t *value);
int lv_json_double(const cJSON *object, const char *key, bool required, double *value);
int lv_json_bool(const cJSON *object, const char *key, bool required, bool *value);
int lv_json_string(const cJSON *object, const char *key, bool required, const char **value);

/* lv_json_kind: "an object", "a string", ... for messages. */
const char *lv_json_kind(const cJSON *item);

#endif
