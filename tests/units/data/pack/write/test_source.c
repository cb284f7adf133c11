/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pack/write/source.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/chat/record.h"
#include "tests/units/data/text_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static lv_pack_source *open_text(const char *text)
{
    lv_pack_source *source = NULL;
    char *folder = make_folder();
    char *path = lv_path("%s/data.json", folder);
    write_text(folder, "data.json", text);
    assert_ok(lv_pack_source_open(&source, path));
    free(path);
    remove_folder(folder); /* it stays open */
    return source;
}

static void assert_same_records(lv_pack_source *a, lv_pack_source *b)
{
    int64_t i = 0, j = 0, n = lv_pack_source_n_records(a);
    const cJSON *left = NULL, *right = NULL;
    assert_int_equal(n, lv_pack_source_n_records(b));
    for (int64_t k = 0; k < n; k++) {
        assert_int_equal(lv_pack_source_next(a, &i, &left), 1);
        assert_int_equal(lv_pack_source_next(b, &j, &right), 1);
        assert_int_equal(i, k);
        assert_int_equal(j, k);
        assert_true(cJSON_Compare(left, right, true));
    }
    assert_int_equal(lv_pack_source_next(a, &i, &left), 0);
    assert_int_equal(lv_pack_source_next(b, &j, &right), 0);
}

static void lines_give_the_records_of_the_array(void **state)
{
    (void)state;
    char *path = data_path("coco/stage2_instruct.json");
    if (!path) {
        skip();
    }
    char *text = NULL;
    size_t n = 0;
    lv_pack_source *array = NULL;
    assert_ok(lv_pack_source_open(&array, path));
    assert_ok(lv_file_read(&text, &n, path));
    assert_int_equal(lv_pack_source_n_bytes(array), n);
    cJSON *whole = cJSON_Parse(text);
    char *lines = calloc(1, n * 2 + 16);
    char *end = lines;
    const cJSON *child;
    cJSON_ArrayForEach (child, whole) {
        char *line = cJSON_PrintUnformatted(child);
        end += sprintf(end, "%s\n", line);
        cJSON_free(line);
    }
    lv_pack_source *source = open_text(lines);
    assert_int_equal(lv_pack_source_n_records(source), cJSON_GetArraySize(whole));
    assert_same_records(array, source);
    lv_pack_source_close(&source);
    lv_pack_source_close(&array);
    cJSON_Delete(whole);
    free(lines);
    free(text);
    free(path);
}

/* Each a record, and why it is refused or NULL. */
static const char *const records[][2] = {
    {"{\"id\": 1}", NULL},
    {"{\"id\": 01}", "column 10: not a JSON number"},
    {"{\"id\": 9007199254740993}", "column 10: a whole number so large"},
    {"{\"a\": 1, \"a\": 2}", "column 3: the key \"a\" is given twice"},
    {"{\"a\": \"x\\u0000\"}", "column 11: \\u0000"},
    {"{\"a\": \"\xFF\"}", "column 10: invalid UTF-8"},
    {"{\"a\": \"\\ud800\"}", "column 10: not valid JSON: half of a surrogate pair"},
    {"{\"a\": \"\\x\"}", "column 10: not valid JSON: an escape"},
    {"{\"a\": NaN}", "column 9: not valid JSON: expected a value, found 'NaN'"},
    {"{\"a\": \"tab\there\"}", "column 13: a control character"},
    {"{\"a\": [1,]}", "column 12: not valid JSON: expected a value, found ']'"},
    {"{\"a\" 1}", "column 8: not valid JSON: expected ':', found '1'"},
    {"[7]", NULL},
    {"Infinity", "column 3: not valid JSON: expected a value, found 'Infinity'"},
    {"null", NULL},
};
enum { N_RECORDS = sizeof records / sizeof *records };

static void a_bad_record_fails_alone_with_its_place(void **state)
{
    (void)state;
    for (int lines = 0; lines < 2; lines++) {
        char text[4096] = "", expected[256];
        strcat(text, lines ? "{}\n" : "[{},\n");
        for (int i = 0; i < N_RECORDS; i++) {
            strcat(text, "  ");
            strcat(text, records[i][0]);
            strcat(text, lines ? "\n" : i + 1 < N_RECORDS ? ",\n" : "]");
        }
        lv_pack_source *source = open_text(text);
        assert_int_equal(lv_pack_source_n_records(source), N_RECORDS + 1);
        for (int i = N_RECORDS - 1; i >= 0; i--) { /* backwards: each is found by itself */
            int64_t index = 0;
            const cJSON *record = NULL;
            lv_pack_source_seek(source, i + 1);
            assert_int_equal(lv_pack_source_next(source, &index, &record), 1);
            assert_int_equal(index, i + 1);
            assert_int_equal(record == NULL, records[i][1] != NULL);
            if (!record) {
                snprintf(expected, sizeof expected, "line %d %s", i + 2, records[i][1]);
                assert_fails(LV_ERR_FORMAT, LV_ERR_FORMAT, expected);
            }
        }
        lv_pack_source_close(&source);
    }
}

static void a_broken_file_is_refused(void **state)
{
    (void)state;
    lv_pack_source *source = NULL;
    char *folder = make_folder();
    char *path = lv_path("%s/data.json", folder);
    write_text(folder, "data.json", "[{\"id\": 1},\n{\"id\": 2}\n");
    assert_fails(lv_pack_source_open(&source, path), LV_ERR_FORMAT,
                 "data.json: line 3 column 1: expected ',' or ']' after a record, found the end");
    assert_null(source);
    free(path);
    remove_folder(folder);
}

#define TURNS "\"conversations\": [{\"from\": \"human\", \"value\": \"image\"}]"

static void the_names_found_are_those_of_the_parsed_record(void **state)
{
    (void)state;
    static const char *const samples[] = {
        "{\"image\": \"a.jpg\", " TURNS "}",
        "{\"id\": \"image\", " TURNS ", \"image\": \"b.jpg\"}",
        "{\"image\": [\"c.jpg\", \"d.jpg\"], " TURNS "}",
        "{\"image\": [\"e.jpg\" , \"e.jpg\"], " TURNS "}",
        "{\"image\": [], " TURNS "}",
        "{\"image\": null, " TURNS "}",
        "{" TURNS "}",
        "{\"Image\": \"x.jpg\", \"image\": \"y.jpg\", " TURNS "}",
        "{\"meta\": {\"image\": \"x.jpg\"}, " TURNS "}",
        "{\"meta\": [{\"image\": \"x.jpg\"}], " TURNS ", \"image\": \"f.jpg\"}",
        "{\"\\u0069mage\": \"g.jpg\", " TURNS "}",
        "{\"a\\\"\": {\"image\": \"x\"}, \"image\": \"h.jpg\", " TURNS "}",
        "{\"image\": \"\\u00e9\\/\xC3\xA9.jpg\", " TURNS "}",
        "{ \"image\"\t:\r \"i.jpg\" , " TURNS "}",
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        char text[512];
        int64_t index = 0;
        size_t n = 0;
        const cJSON *json = NULL;
        const char *const *names = NULL;
        lv_record record;
        snprintf(text, sizeof text, "[%s]", samples[i]);
        lv_pack_source *source = open_text(text), *again = open_text(text);
        assert_int_equal(lv_pack_source_next(source, &index, &json), 1);
        assert_non_null(json);
        assert_ok(lv_record_parse(&record, json));
        assert_int_equal(lv_pack_source_next_images(again, &index, &n, &names), 1);
        assert_int_equal(n, record.n_images);
        for (size_t k = 0; k < n; k++) {
            assert_string_equal(names[k], record.images[k]);
        }
        assert_int_equal(lv_pack_source_next_images(again, &index, &n, &names), 0);
        lv_record_free(&record);
        lv_pack_source_close(&source);
        lv_pack_source_close(&again);
    }
}

static void a_record_that_is_refused_does_not_stop_the_names(void **state)
{
    (void)state;
    static const size_t expected[] = {0, 0, 0, 0, 1, 0, 1};
    lv_pack_source *source = open_text(
        "[7, {\"image\": 7}, {\"image\": \"\"}, {\"image\" \"x\"}, {\"image\": [1, \"a\"]}, "
        "{\"image\": \"\xFF\"}, {\"image\": \"b\"}]");
    const char *const *names = NULL;
    int64_t index = 0;
    size_t n = 0;
    for (int i = 0; i < 7; i++) {
        assert_int_equal(lv_pack_source_next_images(source, &index, &n, &names), 1);
        assert_int_equal(index, i);
        assert_int_equal(n, expected[i]);
    }
    assert_string_equal(names[0], "b");
    assert_int_equal(lv_pack_source_next_images(source, &index, &n, &names), 0);
    lv_pack_source_close(&source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_give_the_records_of_the_array),
        cmocka_unit_test(a_bad_record_fails_alone_with_its_place),
        cmocka_unit_test(a_broken_file_is_refused),
        cmocka_unit_test(the_names_found_are_those_of_the_parsed_record),
        cmocka_unit_test(a_record_that_is_refused_does_not_stop_the_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
