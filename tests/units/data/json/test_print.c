/* SPDX-License-Identifier: Apache-2.0
 *
 * Printing JSON: every double reads back to the bit, the layout is cJSON's, and neighbours differ.
 */
#include "autograd/error.h"
#include "data/json/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void assert_reads_back(double value)
{
    char text[LV_JSON_NUMBER_BYTES];
    lv_json_number_text(text, value);
    if (bits_of(strtod(text, NULL)) != bits_of(value)) {
        fail_msg("%.17g is printed as %s", value, text);
    }
    if (value == floor(value) && fabs(value) <= 0x1p63) {
        assert_null(strpbrk(text, ".e"));
    }
}

static uint64_t next_random(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static void a_million_doubles_read_back_to_the_bit(void **state)
{
    uint64_t seed = 1;
    (void)state;
    for (int i = 0; i < 1000000;) {
        uint64_t bits = next_random(&seed);
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value)) {
            assert_reads_back(i % 2 ? value
                                    : (double)(bits >> 11) * 0x1p-53); /* and within [0,1) */
            i++;
        }
    }
}

static void whole_numbers_have_all_their_digits(void **state)
{
    static const double around[] = {0, 0x1p31, 0x1p53, 0x1p63, 1e15, 1e16};
    (void)state;
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        double below = around[i], above = around[i];
        for (int k = 0; k < 1000; k++) {
            assert_reads_back(below);
            assert_reads_back(-above);
            below = fabs(below) > 0x1p53 ? nextafter(below, 0) : below - 1;
            above = fabs(above) >= 0x1p53 ? nextafter(above, INFINITY) : above + 1;
        }
    }
}

/* As cJSON's own reader and our check take it, within a tree. */
static void assert_prints(const char *json, const char *expected)
{
    cJSON *root = NULL, *again = NULL;
    assert_int_equal(lv_json_parse(&root, json, strlen(json)), LV_OK);
    char *text = lv_json_print_line(root);
    assert_string_equal(text, expected);
    assert_int_equal(lv_json_parse(&again, text, strlen(text)), LV_OK);
    assert_true(lv_json_equal(root, again));
    cJSON_Delete(root);
    cJSON_Delete(again);
    free(text);
}

static void numbers_are_as_short_as_they_can_be(void **state)
{
    (void)state;
    assert_prints("[0.1, 0.30000000000000004, 2e-5, 1e300, -0, 5e-324]",
                  "[0.1,0.30000000000000004,2e-05,1e+300,-0,5e-324]");
    assert_prints("[9007199254740991, 1e15, -9223372036854775808]",
                  "[9007199254740991,1000000000000000,-9223372036854775808]");
    cJSON *nan = cJSON_CreateNumber(NAN);
    char *text = lv_json_print(nan);
    assert_string_equal(text, "null");
    free(text);
    cJSON_Delete(nan);
}

static void the_layout_is_cjsons(void **state)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"a\":{},\"b\":[],\"c\":[[],{}]}",
        "\"\"",
        "null",
        "{\"k\\n\":[1,true,false,null,{\"x\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f"
        "\xC3\xA9\\uD83D\\uDE00\"}],\"l\":{\"m\":{\"n\":[{\"o\":1,\"p\":2}]}}}"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        cJSON *root = NULL;
        assert_int_equal(lv_json_parse(&root, texts[i], strlen(texts[i])), LV_OK);
        char *lines = lv_json_print(root), *line = lv_json_print_line(root);
        char *their_lines = cJSON_Print(root), *their_line = cJSON_PrintUnformatted(root);
        assert_string_equal(lines, their_lines);
        assert_string_equal(line, their_line);
        free(lines);
        free(line);
        cJSON_free(their_lines);
        cJSON_free(their_line);
        cJSON_Delete(root);
    }
}

static bool are_equal(const char *a, const char *b)
{
    cJSON *left = NULL, *right = NULL;
    assert_int_equal(lv_json_parse(&left, a, strlen(a)), LV_OK);
    assert_int_equal(lv_json_parse(&right, b, strlen(b)), LV_OK);
    bool equal = lv_json_equal(left, right);
    assert_int_equal(lv_json_equal(right, left), equal);
    cJSON_Delete(left);
    cJSON_Delete(right);
    return equal;
}

static void values_are_equal_to_the_bit_and_in_any_order(void **state)
{
    (void)state;
    assert_false(are_equal("0.3", "0.30000000000000004"));
    assert_false(are_equal("9007199254740991", "9007199254740990"));
    assert_false(are_equal("[1, [2]]", "[1, [2, 3]]"));
    assert_false(are_equal("[1, 2]", "[2, 1]"));
    assert_false(are_equal("{\"a\": 1}", "{\"A\": 1}"));
    assert_false(are_equal("{\"a\": 1}", "{\"a\": 1, \"b\": null}"));
    assert_false(are_equal("1", "\"1\""));
    assert_false(are_equal("true", "false"));
    assert_true(are_equal("{\"a\": 1e2, \"b\": [\"x\", null, true]}",
                          "{\"b\": [\"x\", null, true], \"a\": 100}"));
    assert_false(lv_json_equal(NULL, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_doubles_read_back_to_the_bit),
        cmocka_unit_test(whole_numbers_have_all_their_digits),
        cmocka_unit_test(numbers_are_as_short_as_they_can_be),
        cmocka_unit_test(the_layout_is_cjsons),
        cmocka_unit_test(values_are_equal_to_the_bit_and_in_any_order),
    };
    return cmocka_run_group_tests_name("data/json/print", tests, NULL, NULL);
}
