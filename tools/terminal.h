/* SPDX-License-Identifier: Apache-2.0
 *
 * Text of unknown origin shown to people: nothing in it reaches a terminal as a command.
 */
#ifndef LV_TOOLS_TERMINAL_H
#define LV_TOOLS_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* What a stretch of text is; or-ed. */
enum {
    LV_STYLE_SUPERVISED = 1, /* green; without colours between LV_MARK_BEGIN and LV_MARK_END */
    LV_STYLE_PIECE = 2,      /* bold: <image>, a special piece */
    LV_STYLE_ESCAPE = 4,     /* reversed: what stands for characters that have no form */
};
#define LV_MARK_BEGIN "\xE2\x9F\xA6" /* U+27E6 */
#define LV_MARK_END "\xE2\x9F\xA7"   /* U+27E7 */

/* lv_painter: colours on a terminal (unless NO_COLOR is set or TERM is dumb), marks elsewhere. */
typedef struct {
    FILE *out;
    bool has_color;
    int columns; /* of the terminal, 80 elsewhere */
    int style;   /* now */
} lv_painter;
void lv_painter_start(lv_painter *painter, FILE *out);

/* lv_painter_style: of what is printed next; end with 0. */
void lv_painter_style(lv_painter *painter, int style);

/* lv_painter_text: n bytes. A newline is shown as U+21B5 and a new line, a tab as U+21E5, other
 * control and format characters (and those four that have a meaning here) as <U+001B>, bytes that
 * are no UTF-8 as <0xFF>. Joiners (U+200C, U+200D) belong to their neighbours and stay. */
void lv_painter_text(lv_painter *painter, const char *text, size_t n, int style);

/* lv_print_shown: the same for a name in a line of its own: plain, a newline shown as <U+000A>. */
void lv_print_shown(FILE *out, const char *text, size_t n);

/* lv_json_print_shown: JSON as text, with \u escapes for what lv_painter_text would escape, U+FFFD
 * for what is no UTF-8, and a newline at the end. */
void lv_json_print_shown(FILE *out, const char *json);

#endif
