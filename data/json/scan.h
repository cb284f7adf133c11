/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of JSON, before a tree is made of it. lv_json_check reads it by the whole grammar;
 * lv_json_scan finds where values end, at about the speed of memory: it follows brackets and
 * strings and checks nothing else.
 */
#ifndef LV_DATA_JSON_SCAN_H
#define LV_DATA_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LV_JSON_MAX_DEPTH = 1000, /* of brackets in brackets; cJSON's own limit */
    LV_JSON_FOUND_BYTES = 64,
};

/* lv_json_check: one JSON value of n bytes with white space around it, no byte order mark, that
 * cJSON keeps as it is written (see json.h).
 * out    *at: the place of the error, if there is one
 * fails  LV_ERR_FORMAT: what was expected and found, without the place */
int lv_json_check(const char *text, size_t n, size_t *at);

/* lv_json_found: the beginning of text, for messages: 'x', 'NaN', byte 0xFF, the end. */
void lv_json_found(char found[LV_JSON_FOUND_BYTES], const char *text, size_t n);

/* lv_json_string_stop: the first quote or backslash from at on; strict: or control character, or
 * byte that is not ASCII; end if there is none. */
const char *lv_json_string_stop(const char *at, const char *end, bool strict);

/* lv_json_is_space: JSON's white space. */
bool lv_json_is_space(char c);

/* lv_json_scan: a value that is followed through pieces of text; {0} before its first character. */
typedef struct {
    int64_t depth; /* brackets that are open */
    bool in_string, escaped, in_word;
    char open[LV_JSON_MAX_DEPTH]; /* which; those further in are counted, not compared */
} lv_json_scan;

/* lv_json_scan_restart: as {0} does, for the next value. */
void lv_json_scan_restart(lv_json_scan *scan);

/* lv_json_scan_value: continue to the value's end.
 * in     *at, of the text that ends at end: the value's first character, or where the last call
 *        stopped; a value begins with a bracket, a quote, or a character of a number or word
 * out    *at: after the value, or the bracket that closes another than is open
 * returns 1 at the value's end; 0 if it continues after this text (a number or word may, in_word);
 * LV_ERR_FORMAT, without a message, at a wrong bracket */
int lv_json_scan_value(lv_json_scan *scan, const char **at, const char *end);

/* lv_json_scan_member: the value of an object's member, found without reading what is after it.
 * key    as it is written if nothing in it is escaped
 * out    *value, *value_bytes: borrowed from text, and no more checked than all else
 * returns 1; 0 if there is none, or what is before it is not JSON; -1 if a key is written with
 * escapes, which only a parser can compare */
int lv_json_scan_member(const char **value, size_t *value_bytes, const char *text, size_t n,
                        const char *key);

#endif
