/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/terminal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

enum { DEFAULT_COLUMNS = 80, NEWLINE_SIGN = 0x21B5, TAB_SIGN = 0x21E5 };

void lv_painter_start(lv_painter *p, FILE *out)
{
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    struct winsize size;
    bool terminal = isatty(fileno(out));
    *p = (lv_painter){.out = out, .columns = DEFAULT_COLUMNS};
    p->has_color = terminal && !(no_color && *no_color) && !(term && strcmp(term, "dumb") == 0);
    if (terminal && ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        p->columns = size.ws_col;
    }
}

void lv_painter_style(lv_painter *p, int style)
{
    const int changed = p->style ^ style;
    if (p->has_color && changed) {
        fprintf(p->out, "\033[0%s%s%sm", style & LV_STYLE_SUPERVISED ? ";32" : "",
                style & LV_STYLE_PIECE ? ";1" : "", style & LV_STYLE_ESCAPE ? ";7" : "");
    } else if (changed & LV_STYLE_SUPERVISED) {
        fputs(style & LV_STYLE_SUPERVISED ? LV_MARK_BEGIN : LV_MARK_END, p->out);
    }
    p->style = style;
}

/* ---- characters ---- */

/* The character at text, of which n > 0 bytes follow; -1 if there is none, and 1 byte long. */
static int32_t character_at(const char *text, size_t n, size_t *n_bytes)
{
    utf8proc_int32_t c = -1;
    utf8proc_ssize_t length =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &c);
    *n_bytes = length > 0 ? (size_t)length : 1;
    return length > 0 ? c : -1;
}

static bool has_no_form(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return true;
    case UTF8PROC_CATEGORY_CF:
        return c != 0x200C && c != 0x200D;
    default:
        return false;
    }
}

static bool is_sign(int32_t c)
{
    return c == 0x27E6 || c == 0x27E7 || c == NEWLINE_SIGN || c == TAB_SIGN;
}

static void print_escape(FILE *out, int32_t c, char byte)
{
    if (c >= 0) {
        fprintf(out, "<U+%04" PRIX32 ">", (uint32_t)c);
    } else {
        fprintf(out, "<0x%02X>", (unsigned)(unsigned char)byte);
    }
}

void lv_painter_text(lv_painter *p, const char *text, size_t n, int style)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i += length) {
        int32_t c = character_at(text + i, n - i, &length);
        bool escaped = c < 0 || is_sign(c) || (has_no_form(c) && c != '\n' && c != '\t');
        lv_painter_style(p, escaped ? style | LV_STYLE_ESCAPE : style);
        if (escaped) {
            print_escape(p->out, c, text[i]);
        } else if (c == '\n') {
            fputs("\xE2\x86\xB5\n", p->out);
        } else if (c == '\t') {
            fputs("\xE2\x87\xA5", p->out);
        } else {
            fwrite(text + i, 1, length, p->out);
        }
    }
}

void lv_print_shown(FILE *out, const char *text, size_t n)
{
    size_t length = 0, plain = 0; /* bytes just before i that are still to be printed */
    for (size_t i = 0; i < n; i += length) {
        int32_t c = character_at(text + i, n - i, &length);
        if (c >= 0 && !has_no_form(c)) {
            plain += length;
            continue;
        }
        fwrite(text + i - plain, 1, plain, out);
        print_escape(out, c, text[i]);
        plain = 0;
    }
    fwrite(text + n - plain, 1, plain, out);
}

void lv_json_print_shown(FILE *out, const char *json)
{
    const size_t n = strlen(json);
    size_t length = 0;
    for (size_t i = 0; i < n; i += length) {
        int32_t c = character_at(json + i, n - i, &length);
        if (c < 0) {
            fputs("\\ufffd", out);
        } else if (c >= 0x10000 && has_no_form(c)) {
            uint32_t rest = (uint32_t)c - 0x10000;
            fprintf(out, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xD800 + (rest >> 10),
                    0xDC00 + (rest & 0x3FF));
        } else if (c != '\n' && c != '\t' && has_no_form(c)) {
            fprintf(out, "\\u%04" PRIx32, (uint32_t)c);
        } else {
            fwrite(json + i, 1, length, out);
        }
    }
    fputc('\n', out);
}
