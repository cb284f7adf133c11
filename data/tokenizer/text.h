/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts with the offset of each byte in the original, Unicode forms, and many strings searched for
 * at once.
 */
#ifndef LV_DATA_TOKENIZER_TEXT_H
#define LV_DATA_TOKENIZER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LV_SPACE_MARKER "\xE2\x96\x81" /* U+2581, stands for a space */
enum { LV_SPACE_MARKER_BYTES = 3 };
#define LV_REPLACEMENT_CHARACTER "\xEF\xBF\xBD" /* U+FFFD */

/* A text of its own; begin[i] is the offset in the original text that byte i stands for. */
typedef struct {
    char *bytes;
    size_t *begin;
    size_t n, capacity;
} lv_mapped;

/* A borrowed part of a text; begin NULL: byte i stands for base + i. */
typedef struct {
    const char *bytes;
    size_t n;
    const size_t *begin;
    size_t base;
} lv_span;

/* lv_mapped_add: n bytes that all stand for the offset begin; fails LV_ERR_MEMORY.
 * lv_mapped_add_marker: a space marker. lv_mapped_add_span: bytes and their offsets. */
int lv_mapped_add(lv_mapped *m, const char *bytes, size_t n, size_t begin);
int lv_mapped_add_marker(lv_mapped *m, size_t begin);
int lv_mapped_add_span(lv_mapped *m, const lv_span *s);
void lv_mapped_free(lv_mapped *m);

/* lv_mapped_or: the mapped text, or the other one if nothing was ever added to it. */
lv_span lv_mapped_or(const lv_mapped *m, const lv_span *other);
lv_span lv_span_part(const lv_span *s, size_t from, size_t to);
size_t lv_span_begin(const lv_span *s, size_t at);
/* lv_marker_at: whether a space marker begins at byte `at` <= n. */
bool lv_marker_at(const lv_span *s, size_t at);

/* lv_character_bytes: bytes of a UTF-8 character by its first byte, at most n. */
size_t lv_character_bytes(const char *s, size_t n);

typedef enum { LV_FORM_NONE, LV_FORM_NFC, LV_FORM_NFD, LV_FORM_NFKC, LV_FORM_NFKD } lv_unicode_form;

/* lv_unicode_normalize: the text, which is valid UTF-8, in a form, appended to out. */
int lv_unicode_normalize(lv_mapped *out, const lv_span *text, lv_unicode_form form);

typedef struct {
    char *text;
    size_t n;
    int32_t value;
} lv_matcher_entry;

/* Strings that are searched for; start with {0}. */
typedef struct {
    lv_matcher_entry *entries; /* sorted by lv_matcher_finish */
    size_t n, capacity;
    bool begins[256]; /* bytes that an entry begins with */
} lv_matcher;

enum { LV_MATCHER_MAX_BYTES = 512 }; /* of one entry */

/* lv_matcher_add: text of 1 to LV_MATCHER_MAX_BYTES bytes, copied.
 * fails  LV_ERR_MEMORY, LV_ERR_UNSUPPORTED */
int lv_matcher_add(lv_matcher *m, const char *text, size_t n, int32_t value);
void lv_matcher_finish(lv_matcher *m);
/* lv_matcher_longest: bytes of the longest entry that the text begins with, 0 if there is none. */
size_t lv_matcher_longest(const lv_matcher *m, const char *text, size_t n, int32_t *value);
void lv_matcher_free(lv_matcher *m);

#endif
