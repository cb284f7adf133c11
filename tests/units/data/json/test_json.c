/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "data/json/json.h"
#include "tests/units/data/text_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void refuses(const char *text, const char *message)
{
    cJSON *root = NULL;
    int rc = lv_json_parse(&root, text, strlen(text));
    if (rc == LV_OK) {
        print_error("accepted: %s\n", text);
        cJSON_Delete(root);
    }
    assert_fails(rc, LV_ERR_FORMAT, message);
    assert_null(root);
}

static cJSON *accepts(const char *text)
{
    cJSON *root = NULL;
    assert_ok(lv_json_parse(&root, text, strlen(text)));
    return root;
}

static void accepts_string(const char *text, const char *expected)
{
    cJSON *root = accepts(text);
    assert_string_equal(root->valuestring, expected);
    cJSON_Delete(root);
}

static void accepts_number(const char *text, double expected)
{
    cJSON *root = accepts(text);
    assert_true(cJSON_IsNumber(root) && root->valuedouble == expected);
    cJSON_Delete(root);
}

static void strings_that_would_be_cut_are_refused(void **state)
{
    (void)state;
    refuses("{\"a\": \"b\\u0000c\"}", "line 1 column 9: \\u0000");
    refuses("\"\\uZZZZ\"", "hexadecimal");
    refuses("\"\\u12G4\"", "hexadecimal");
    refuses("\"\\u12", "hexadecimal");
    accepts_string("\"\\\\u0000\"", "\\u0000");
    accepts_string("\"\\u0001\\u00e9\"", "\x01\xC3\xA9");
}

static void lone_surrogates_are_refused_and_pairs_read(void **state)
{
    (void)state;
    refuses("\"\\ud800\"", "half of a surrogate pair");
    refuses("\"\\ud800\\u0041\"", "half of a surrogate pair");
    refuses("\"\\udc00\"", "half of a surrogate pair");
    accepts_string("\"\\ud83d\\ude00\"", "\xF0\x9F\x98\x80");
}

static void numbers_that_would_change_are_refused(void **state)
{
    (void)state;
    refuses("9007199254740993", "rounded");
    refuses("-9007199254740993", "rounded");
    refuses("[12345678901234567]", "line 1 column 2");
    accepts_number("9007199254740992", 9007199254740992.0);
    accepts_number("-9007199254740991", -9007199254740991.0);
    /* int(1e30), which transformers writes for "no limit" */
    accepts_number("1000000000000000019884624838656", 1e30);
    refuses("1000000000000000019884624838657", "rounded");
    refuses("1e999", "line 1 column 1: a number so large that it would become infinite");
    refuses("[-17.5e308]", "infinite");
    char longest[64], longer[65];
    snprintf(longest, sizeof longest, "0.%061d", 5);
    snprintf(longer, sizeof longer, "1e%062d", 999);
    accepts_number(longest, 5e-61);
    refuses(longer, "more than 63 characters");
}

static void numbers_outside_the_grammar_are_refused(void **state)
{
    (void)state;
    const char *const wrong[] = {"01", "-01", "-", "1.", "1.e3", "1e", "1e+", "00", "-a"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        refuses(wrong[i], "not a JSON number");
    }
    refuses(".5", "not valid JSON");
    refuses("+5", "not valid JSON");
    refuses("NaN", "not valid JSON");
    accepts_number("-0.5e-2", -0.005);
    accepts_number("10", 10);
}

static void a_key_given_twice_is_refused_at_any_depth(void **state)
{
    (void)state;
    char many[2048] = "{\"k0\": 1";
    for (int i = 1; i < 40; i++) {
        snprintf(many + strlen(many), sizeof many - strlen(many), ", \"k%d\": 1", i % 39);
    }
    strcat(many, "}");
    refuses(many, "the key \"k0\" is given twice");
    refuses("{\"a\": 1, \"b\": 2, \"a\": 3}", "the key \"a\" is given twice");
    refuses("[{\"x\": {\"a\": 1, \"\\u0061\": 2}}]", "the key \"a\" is given twice");
    refuses("{\"\\u001b[2J\": 1, \"\\u001b[2J\": 2}", "the key \"?[2J\" is given twice");
    cJSON *root = accepts("{\"a\": 1, \"A\": 2}");
    assert_int_equal(lv_json_find(root, "A")->valuedouble, 2);
    cJSON_Delete(root);
}

static void what_follows_the_value_is_refused(void **state)
{
    (void)state;
    refuses("{} x", "line 1 column 4: text after the end");
    refuses("[1]\n[2]", "line 2 column 1: text after the end");
    cJSON_Delete(accepts(" [1 , 2 ]\r\n\t "));
}

static void invalid_utf8_and_control_characters_are_refused(void **state)
{
    (void)state;
    const char *const invalid[] = {
        "\"\x80\"",         "\"\xC0\xAF\"",         "\"\xC3\"",         "\"\xE2\x82\"",
        "\"\xED\xA0\x80\"", "\"\xF4\x90\x80\x80\"", "\"\xE0\x80\x80\"", "\"\xFF\"",
    };
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        refuses(invalid[i], "invalid UTF-8");
    }
    refuses("\"a\nb\"", "control character");
    refuses("[1,\f2]", "control character");
    cJSON *root = NULL;
    assert_fails(lv_json_parse(&root, "[1]\0", 4), LV_ERR_FORMAT, "control character");
    accepts_string("\"\xE2\x96\x81\xF0\x9F\x98\x80\"", "\xE2\x96\x81\xF0\x9F\x98\x80");
}

/* The check reads eight bytes of a string at a time. */
static void a_byte_that_no_string_may_hold_is_found_anywhere(void **state)
{
    (void)state;
    enum { N = 24 };
    for (int byte = 1; byte < 256; byte++) {
        for (int at = 1; at < N - 1; at++) {
            char text[] = "\"plain text of 22 bytes\"";
            cJSON *root = NULL;
            text[at] = (char)byte;
            if (byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\') {
                cJSON_Delete(accepts(text));
            } else if (byte != '\\') {
                assert_int_equal(lv_json_parse(&root, text, N), LV_ERR_FORMAT);
            }
        }
    }
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    const char *whole = "{\"a\": [1, -2.5e3, \"x\\u00e9\\n\", true, null], \"b\": {\"c\": \"\"}}";
    for (size_t n = 0; n < strlen(whole); n++) {
        cJSON *root = NULL;
        char *part = malloc(n + 1); /* its own memory: a sanitizer finds reads past it */
        memcpy(part, whole, n);
        assert_int_equal(lv_json_parse(&root, part, n), LV_ERR_FORMAT);
        free(part);
    }
    cJSON_Delete(accepts(whole));
}

static void nesting_without_end_is_refused(void **state)
{
    (void)state;
    enum { DEPTH = 1000000 };
    char *text = malloc(DEPTH);
    cJSON *root = NULL;
    memset(text, '[', DEPTH);
    assert_fails(lv_json_parse(&root, text, DEPTH), LV_ERR_FORMAT,
                 "line 1 column 1001: nested more than 1000 deep");
    memset(text, '[', 1000);
    memset(text + 1000, ']', 1000);
    assert_ok(lv_json_parse(&root, text, 2000));
    cJSON_Delete(root);
    free(text);
}

static void what_was_expected_and_found_is_said_with_its_place(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "line 1 column 1: not valid JSON: expected a value, found the end"},
        {"{\"run\": ", "line 1 column 9: not valid JSON: expected a value, found the end"},
        {"[1 2]", "line 1 column 4: not valid JSON: expected ',' or ']', found '2'"},
        {"[1, 2", "column 6: not valid JSON: expected ',' or ']', found the end"},
        {"[1,]", "column 4: not valid JSON: expected a value, found ']'"},
        {"[,1]", "column 2: not valid JSON: expected a value or ']', found ','"},
        {"[1,,2]", "column 4: not valid JSON: expected a value, found ','"},
        {"{\"a\" 1}", "column 6: not valid JSON: expected ':', found '1'"},
        {"{\"a\": 1,}", "column 9: not valid JSON: expected a key in quotes, found '}'"},
        {"{a: 1}", "column 2: not valid JSON: expected a key in quotes or '}', found 'a'"},
        {"{\"a\": 1]", "column 8: not valid JSON: expected ',' or '}', found ']'"},
        {"[1}", "column 3: not valid JSON: expected ',' or ']', found '}'"},
        {"]", "column 1: not valid JSON: expected a value, found ']'"},
        {"[nul]", "column 2: not valid JSON: expected a value or ']', found 'nul'"},
        {"[True]", "found 'True'"},
        {"{\"a\": NaN}", "found 'NaN'"},
        {"[-Infinity]", "not a JSON number"},
        {"['a']", "found '''"},
        {"[\xC3\xA9]", "found '\xC3\xA9'"},
        {"[\xFF]", "found byte 0xFF"},
        {"[1,\n\xEF\xBB\xBF 2]", "line 2 column 1: not valid JSON: expected a value, found a byte"},
        {"[\"a\\qb\"]", "column 4: not valid JSON: an escape that there is not"},
        {"\n\n [\"a\",\n  \"\xC3\xA9\xC3\xA9\" x]",
         "line 4 column 8: not valid JSON: expected ','"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        refuses(cases[i][0], cases[i][1]);
    }
}

static void a_byte_order_mark_is_read_past_at_the_front_alone(void **state)
{
    (void)state;
    accepts_number("\xEF\xBB\xBF 7", 7);
    refuses("\xEF\xBB\xBF[x]", "line 1 column 2: ");
    refuses("\xEF\xBB\xBF\xEF\xBB\xBF 7", "found a byte order mark");
    refuses("\xEF\xBB\xBF", "found the end");
}

/* What the check lets pass cJSON must read: text made by changing a byte or two of good JSON. */
static void what_passes_the_check_cjson_reads(void **state)
{
    (void)state;
    static const char whole[] = "{\"a\": [1, -2.5e3, \"x\\u00e9\\n\\ud83d\\ude00\", true, null], "
                                "\"b\": {\"c\": \"\", \"d\": {}}}";
    static const char bytes[] = "{}[]\",:\\ua0dD1.-+eE tfn\n";
    uint64_t random = 88172645463325252u;
    size_t n_passed = 0;
    for (int i = 0; i < 200000; i++) {
        char text[sizeof whole];
        size_t n = sizeof whole - 1;
        memcpy(text, whole, n);
        for (int change = 0; change < 1 + i % 2; change++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            text[random % n] = bytes[(random >> 32) % (sizeof bytes - 1)];
        }
        cJSON *root = NULL;
        int rc = lv_json_parse(&root, text, n);
        n_passed += rc == LV_OK;
        assert_true(rc == LV_OK || rc == LV_ERR_FORMAT); /* what cJSON refuses is LV_ERR_MEMORY */
        cJSON_Delete(root);
    }
    assert_true(n_passed > 5000);
}

static void typed_members_say_what_was_found(void **state)
{
    (void)state;
    cJSON *root = accepts("{\"i\": 1.5, \"s\": 7, \"b\": \"yes\", \"n\": null, \"big\": 1e300}");
    int64_t i = 11;
    double d = 11;
    bool b = true;
    const char *s = "kept";
    assert_fails(lv_json_int(root, "i", true, &i), LV_ERR_FORMAT,
                 "\"i\": expected a whole number, found a number");
    assert_fails(lv_json_int(root, "big", true, &i), LV_ERR_FORMAT, "a whole number");
    assert_fails(lv_json_string(root, "s", true, &s), LV_ERR_FORMAT, "expected a string");
    assert_fails(lv_json_bool(root, "b", true, &b), LV_ERR_FORMAT, "expected true or false");
    assert_fails(lv_json_double(root, "none", true, &d), LV_ERR_FORMAT, "\"none\" is missing");
    assert_fails(lv_json_int(root, "n", true, &i), LV_ERR_FORMAT, "\"n\" is missing");
    assert_ok(lv_json_int(root, "n", false, &i));
    assert_int_equal(i, 11);
    assert_string_equal(s, "kept");
    cJSON_Delete(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_that_would_be_cut_are_refused),
        cmocka_unit_test(lone_surrogates_are_refused_and_pairs_read),
        cmocka_unit_test(numbers_that_would_change_are_refused),
        cmocka_unit_test(numbers_outside_the_grammar_are_refused),
        cmocka_unit_test(a_key_given_twice_is_refused_at_any_depth),
        cmocka_unit_test(what_follows_the_value_is_refused),
        cmocka_unit_test(invalid_utf8_and_control_characters_are_refused),
        cmocka_unit_test(a_byte_that_no_string_may_hold_is_found_anywhere),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(nesting_without_end_is_refused),
        cmocka_unit_test(what_was_expected_and_found_is_said_with_its_place),
        cmocka_unit_test(a_byte_order_mark_is_read_past_at_the_front_alone),
        cmocka_unit_test(what_passes_the_check_cjson_reads),
        cmocka_unit_test(typed_members_say_what_was_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
