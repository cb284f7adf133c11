/* SPDX-License-Identifier: Apache-2.0
 *
 * Where JSON values end, at about the speed of memory: brackets and strings are followed, and
 * nothing else is looked at. What is found so is not yet known to be JSON.
 */
#ifndef LV_DATA_JSON_SCAN_H
#define LV_DATA_JSON_SCAN_H

#include "data/json/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* lv_json_scan: a value that is followed through pieces of text; {0} before its first character. */
typedef struct {
    int64_t depth; /* brackets that are open */
    bool in_string, escaped, in_word;
    char open[LV_JSON_MAX_DEPTH]; /* which; those further in are counted, not compared */
} lv_json_scan;

/* lv_json_scan_restart: as {0} does, for the next value. */
void lv_json_scan_restart(lv_json_scan *scan);

/* lv_json_scan_value: go on to the value's end.
 * in     *at, of the text that ends at end: the value's first character, or where the last call
 *        stopped; a value begins with a bracket, a quote, or a character of a number or word
 * out    *at: behind the value, or the bracket that closes another than is open
 * returns 1 at the value's end; 0 if it goes on behind this text (a number or word may, in_word);
 * LV_ERR_FORMAT, without a message, at a wrong bracket */
int lv_json_scan_value(lv_json_scan *scan, const char **at, const char *end);

/* lv_json_scan_member: the value of an object's member, found without looking at what is behind it.
 * key    as it is written if nothing in it is escaped
 * out    *value, *value_bytes: borrowed from text, and no more checked than all else
 * returns 1; 0 if there is none, or what is before it is not JSON; -1 if a key is written with
 * escapes, so that only a parser can tell */
int lv_json_scan_member(const char **value, size_t *value_bytes, const char *text, size_t n,
                        const char *key);

#endif
