/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON by its grammar (RFC 8259), less what cJSON would change silently: a string with U+0000
 * or half a surrogate pair, a whole number that a double would round (2^53 + 1), a number beyond
 * its range (1e999), a key given twice. Those and invalid UTF-8 are refused with their place, as is
 * all that is not JSON: 01, NaN, a comma before a bracket. Keys are compared with their case.
 * Nested at most 1000 deep.
 */
#ifndef LV_DATA_JSON_JSON_H
#define LV_DATA_JSON_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LV_JSON_MARK "\xEF\xBB\xBF" /* UTF-8's byte order mark, which some editors write first */

/* lv_json_parse: text of n bytes (no terminator needed), after a byte order mark or not. out is the
 * caller's: cJSON_Delete.
 * fails  LV_ERR_FORMAT with line and column, what was expected and found; LV_ERR_MEMORY */
int lv_json_parse(cJSON **out, const char *text, size_t n);

/* lv_json_parse_part: the same for a part of a text, without the place in the message: *at is the
 * place of the error in the part. */
int lv_json_parse_part(cJSON **out, const char *text, size_t n, size_t *at);

/* lv_json_place: in a text, both from 1; the column counts characters. */
typedef struct {
    int64_t line, column;
} lv_json_place;
void lv_json_place_advance(lv_json_place *place, const char *text, size_t n);

/* lv_json_fail_at: put "line L column C: " before the last message. returns its code. */
int lv_json_fail_at(lv_json_place place);

/* lv_json_read: the same from a file, with its name before the message. */
int lv_json_read(cJSON **out, const char *path);

/* lv_json_print: the text, laid out in lines as cJSON_Print does; lv_json_print_line: on one line,
 * without spaces. free() it. Ends the job if there is no memory.
 * lv_json_number_text: a number in it. A whole number below 1e22 has all its digits, another the
 * fewest of 15 to 17 that read back equal; NaN and infinity are null. */
char *lv_json_print(const cJSON *item);
char *lv_json_print_line(const cJSON *item);
enum { LV_JSON_NUMBER_BYTES = 32 };
void lv_json_number_text(char text[LV_JSON_NUMBER_BYTES], double value);

/* lv_json_equal: the same values: numbers to the bit, members in any order, keys with their case.
 * False if either is NULL. */
bool lv_json_equal(const cJSON *a, const cJSON *b);

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
