/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/terminal.h"

#include "data/base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What lv_painter_text prints; free() it. */
static char *painted(const char *text, size_t n, int style, bool has_color)
{
    char *out = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&out, &size);
    assert_non_null(file);
    lv_painter p = {.out = file, .has_color = has_color, .columns = 80};
    lv_painter_text(&p, text, n, style);
    lv_painter_style(&p, 0);
    fclose(file);
    return out;
}

static void assert_painted(const char *text, int style, const char *want)
{
    char *got = painted(text, strlen(text), style, false);
    assert_string_equal(got, want);
    free(got);
}

static void controls_are_named(void **state)
{
    (void)state;
    assert_painted("a\x1b[2Jb", 0, "a<U+001B>[2Jb");
    assert_painted("\xC2\x9B"
                   "31m",
                   0, "<U+009B>31m");
    assert_painted("\a\b\r\x7f", 0, "<U+0007><U+0008><U+000D><U+007F>");
    assert_painted("\xE2\x80\xAE", 0, "<U+202E>");      /* text from right to left */
    assert_painted("\xE2\x80\xA8", 0, "<U+2028>");      /* line separator */
    assert_painted("\xF3\xA0\x81\x81", 0, "<U+E0041>"); /* a tag: invisible */
    assert_painted("a\xE2\x82", 0, "a<0xE2><0x82>");    /* breaks off */
    assert_painted("one\ntwo\tthree", 0,
                   "one\xE2\x86\xB5\n"
                   "two\xE2\x87\xA5"
                   "three");
}

static void ordinary_text_stays(void **state)
{
    (void)state;
    static const char text[] = "caf\xC3\xA9 \xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x90\x88 "
                               "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA9 \\x1b <U+001B> </s>";
    assert_painted(text, 0, text);
}

static void marks_are_the_masks_alone(void **state)
{
    (void)state;
    assert_painted("yes", LV_STYLE_SUPERVISED, LV_MARK_BEGIN "yes" LV_MARK_END);
    assert_painted("a" LV_MARK_END "b" LV_MARK_BEGIN, LV_STYLE_SUPERVISED,
                   LV_MARK_BEGIN "a<U+27E7>b<U+27E6>" LV_MARK_END);
    assert_painted("\xE2\x86\xB5\xE2\x87\xA5", 0, "<U+21B5><U+21E5>");
}

static void colours_replace_the_marks(void **state)
{
    (void)state;
    char *got = painted("yes", 3, LV_STYLE_SUPERVISED, true);
    assert_string_equal(got, "\033[0;32myes\033[0m");
    free(got);
    got = painted("</s>", 4, LV_STYLE_SUPERVISED | LV_STYLE_PIECE, true);
    assert_string_equal(got, "\033[0;32;1m</s>\033[0m");
    free(got);
}

/* Nothing that a terminal could take for a command, whatever the bytes. */
static void no_bytes_get_through_raw(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 200; round++) {
        char bytes[257];
        for (size_t i = 0; i < sizeof bytes; i++) {
            seed = seed * 1664525 + 1013904223;
            bytes[i] = (char)(seed >> 24);
            bytes[i] = round % 2 && i % 2 == 0 ? (char)0xC2 : bytes[i]; /* C1 controls */
        }
        char *plain = painted(bytes, sizeof bytes, 0, false);
        for (char *c = plain; *c; c++) {
            bool valid = true;
            assert_true((unsigned char)*c >= 0x20 || *c == '\n');
            assert_true(*c != 0x7F);
            if ((unsigned char)*c >= 0x80) {
                size_t n = lv_utf8_step(c, strlen(c), &valid);
                assert_true(valid);
                assert_false((unsigned char)c[0] == 0xC2 && (unsigned char)c[1] < 0xA0);
                c += n - 1;
            }
        }
        free(plain);
    }
}

static void json_keeps_its_meaning(void **state)
{
    (void)state;
    char *out = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&out, &size);
    assert_non_null(file);
    lv_json_print_shown(file, "{\"a\":\"\xC2\x9B\xE2\x80\xAE\xF3\xA0\x81\x81\xC3\xA9\xFF\"}");
    fclose(file);
    assert_string_equal(out, "{\"a\":\"\\u009b\\u202e\\udb40\\udc41\xC3\xA9\\ufffd\"}\n");
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controls_are_named),        cmocka_unit_test(ordinary_text_stays),
        cmocka_unit_test(marks_are_the_masks_alone), cmocka_unit_test(colours_replace_the_marks),
        cmocka_unit_test(no_bytes_get_through_raw),  cmocka_unit_test(json_keeps_its_meaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
