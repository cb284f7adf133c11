/* SPDX-License-Identifier: Apache-2.0
 *
 * Text of unknown origin shown to people: nothing in it reaches a terminal as a command.
 */
#ifndef LV_TOOLS_TERMINAL_H
#define LV_TOOLS_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Styles of a part of a text; or-ed. */
enum {
    LV_STYLE_SUPERVISED = 1, /* green; without colours between LV_MARK_BEGIN and LV_MARK_END */
    LV_STYLE_PIECE = 2,      /* bold: <image>, a special piece */
    LV_STYLE_ESCAPE = 4,     /* reversed: in place of characters without a glyph */
};
#define LV_MARK_BEGIN "\xE2\x9F\xA6" /* U+27E6 */
#define LV_MARK_END "\xE2\x9F\xA7"   /* U+27E7 */

/* lv_painter: colours on a terminal (unless NO_COLOR is set or TERM is dumb), marks elsewhere. */
typedef struct {
    FILE *out;
    bool has_color;
    int columns; /* of the terminal, 80 elsewhere */
    int style;   /* in force */
} lv_painter;
void lv_painter_start(lv_painter *painter, FILE *out);

/* lv_painter_style: for the text that follows; end with 0. */
void lv_painter_style(lv_painter *painter, int style);

/* lv_painter_text: n bytes. A newline is shown as U+21B5 and a new line, a tab as U+21E5, other
 * control and format characters (and the four signs used here) as <U+001B>, bytes that are not UTF-8
 * as <0xFF>. Joiners (U+200C, U+200D), which shape their neighbours, stay. */
void lv_painter_text(lv_painter *painter, const char *text, size_t n, int style);

/* lv_print_shown: the same without style, for a text within a line: a newline is <U+000A>. */
void lv_print_shown(FILE *out, const char *text, size_t n);

/* lv_json_print_shown: JSON as text, with \u escapes where lv_painter_text would escape, U+FFFD for
 * bytes that are not UTF-8, and a newline at the end. */
void lv_json_print_shown(FILE *out, const char *json);

#endif
