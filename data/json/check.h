/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of JSON, before a tree is made of it: is it JSON, and would cJSON keep it as it is?
 */
#ifndef LV_DATA_JSON_CHECK_H
#define LV_DATA_JSON_CHECK_H

#include <stddef.h>

enum {
    LV_JSON_MAX_DEPTH = 1000, /* of brackets in brackets; cJSON's own limit */
    LV_JSON_FOUND_BYTES = 64,
};

/* lv_json_check: one JSON value of n bytes with white space around it, no byte order mark.
 * out    *at: where it goes wrong, if it does
 * fails  LV_ERR_FORMAT: what was expected and found, without the place */
int lv_json_check(const char *text, size_t n, size_t *at);

/* lv_json_found: what stands at text, for messages: 'x', 'NaN', byte 0xFF, the end. */
void lv_json_found(char found[LV_JSON_FOUND_BYTES], const char *text, size_t n);

#endif
