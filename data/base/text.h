/* SPDX-License-Identifier: Apache-2.0
 *
 * UTF-8 and white space as in Python, with which LLaVA's data was prepared; likeness of words.
 */
#ifndef LV_DATA_BASE_TEXT_H
#define LV_DATA_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* lv_utf8_step: bytes of the character at s, of which n > 0 bytes follow. *valid false: it is the
 * longest beginning of a character that breaks off there, which decoders replace by one U+FFFD
 * (Unicode 15, 3.9 "maximal subpart"; Python's errors="replace"). */
size_t lv_utf8_step(const char *s, size_t n, bool *valid);

/* lv_utf8_code: the code point of a valid character of so many bytes. */
uint32_t lv_utf8_code(const char *s, size_t bytes);

/* lv_utf8_put: writes a code point's 1 to 4 bytes. returns how many */
size_t lv_utf8_put(char out[4], uint32_t code);

/* lv_text_space_bytes: bytes of the white space character (str.isspace()) at s, of which n > 0
 * bytes follow; 0 if it is none. */
size_t lv_text_space_bytes(const char *s, size_t n);

/* lv_text_strip: move *begin and *end past white space, as str.strip(). */
void lv_text_strip(const char **begin, const char **end);

/* lv_text_count_words: len(text.split()). */
size_t lv_text_count_words(const char *text);

/* lv_text_edit_distance: letters to insert, delete, replace or swap with their neighbour to make b
 * of a, case ignored (Damerau-Levenshtein, no letter edited twice); LV_TEXT_MAX_WORD if one of them
 * is longer than that. */
enum { LV_TEXT_MAX_WORD = 64 };
size_t lv_text_edit_distance(const char *a, const char *b);

#endif
