/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "tests/support/weights_find.h"
#include "tests/units/train/fixture.h"
#include "train/model/weights/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char DATA[64];

static int open_only(const char *path)
{
    lv_weights *weights = NULL;
    int rc = lv_weights_open(&weights, path);
    assert_true((rc == LV_OK) == (weights != NULL));
    lv_weights_close(&weights);
    return rc;
}

static void reads_names_shapes_and_values_at_odd_offsets(void **state)
{
    lv_weights *weights = NULL;
    const uint8_t data[] = {7, 0, 0, 0x80, 0x3f, 0x80, 0x3f, 0, 0xc0, 0, 0x3c};
    fixture_safetensors(state, "a.safetensors",
                        "{\"__metadata__\":{\"format\":\"pt\"},"
                        "\"z\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[1,5]},"
                        "\"byte\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                        "\"h\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[5,9]},"
                        "\"none\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[9,9]},"
                        "\"a\":{\"dtype\":\"F16\",\"shape\":[1,1,1,1],\"data_offsets\":[9,11]}}   ",
                        data, sizeof data);
    assert_int_equal(lv_weights_open(&weights, fixture_path(state, "a.safetensors")), LV_OK);
    assert_int_equal(lv_weights_count(weights), 4);
    const char *const names[] = {"a", "h", "none", "z"};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(lv_weights_at(weights, i)->name, names[i]);
    }
    const lv_weight *h = weights_find(weights, "h"), *z = weights_find(weights, "z");
    assert_int_equal(h->dtype, LV_BF16);
    assert_int_equal(h->n_dims, 2);
    assert_int_equal(h->shape[1], 2);
    assert_memory_equal(h->data, data + 5, 4);
    assert_int_equal(z->n_dims, 0);
    assert_memory_equal(z->data, &(float){1.0f}, 4);
    assert_int_equal(weights_find(weights, "none")->n_bytes, 0);
    assert_null(weights_find(weights, "byte"));
    lv_weights_close(&weights);
    assert_null(weights);
}

static void an_integer_buffer_is_kept_apart_and_stops_nothing(void **state)
{
    lv_weights *weights = NULL;
    const char *dtype = NULL;
    fixture_safetensors(state, "a.safetensors",
                        "{\"position_ids\":{\"dtype\":\"I64\",\"shape\":[1,2],\"data_offsets\":"
                        "[0,16]},\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]}}",
                        DATA, 24);
    assert_int_equal(lv_weights_open(&weights, fixture_path(state, "a.safetensors")), LV_OK);
    assert_int_equal(lv_weights_count(weights), 1);
    assert_int_equal(lv_weights_other_count(weights), 1);
    assert_string_equal(lv_weights_other_at(weights, 0, &dtype), "position_ids");
    assert_string_equal(dtype, "I64");
    lv_weights_close(&weights);
}

#define ENTRY(dtype, shape, offsets)                                                               \
    "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define TWO(a, b)                                                                                  \
    "{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" a "},"                             \
    "\"u\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" b "}}"

/* Headers that lie about 16 bytes of data, and what the message says. */
static const struct {
    const char *header;
    const char *part;
    int code;
} lies[] = {
    {ENTRY("\"F32\"", "[5]", "[0,20]"), "cut short", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[4]", "[4,20]"), "cut short", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[4]", "[0,15]"), "span 15", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[3]", "[0,16]"), "span 16", LV_ERR_FORMAT},
    {ENTRY("\"BF16\"", "[4]", "[0,16]"), "need 8", LV_ERR_FORMAT},
    {ENTRY("\"I64\"", "[4]", "[0,16]"), "need 32", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[4]", "[16,0]"), "data_offsets", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[4]", "[-16,0]"), "data_offsets", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[4]", "[0.5,16.5]"), "data_offsets", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[4]", "[0]"), "data_offsets", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[4]", "[0,16,16]"), "data_offsets", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[4]", "{\"a\":0,\"b\":16}"), "data_offsets", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[4]", "[0,9223372036854775807]"), "rounded", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[4]", "[0,1e300]"), "data_offsets", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[-4]", "[0,16]"), "not a size", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[1.5]", "[0,16]"), "not a size", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[\"4\"]", "[0,16]"), "not a size", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "4", "[0,16]"), "shape", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "null", "[0,16]"), "shape", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[4294967296,4294967296]", "[0,0]"), "more elements", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[4611686018427387908,4]", "[0,16]"), "rounded", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[1,1,1,2,2]", "[0,16]"), "5 dims", LV_ERR_UNSUPPORTED},
    {ENTRY("\"F4\"", "[3]", "[0,2]"), "whole number of bytes", LV_ERR_FORMAT},
    {ENTRY("\"float32\"", "[4]", "[0,16]"), "float32", LV_ERR_FORMAT},
    {ENTRY("32", "[4]", "[0,16]"), "dtype", LV_ERR_FORMAT},
    {"{\"t\":{\"shape\":[4],\"data_offsets\":[0,16]}}", "dtype", LV_ERR_FORMAT},
    {"{\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,16]}}", "shape", LV_ERR_FORMAT},
    {"{\"t\":{\"dtype\":\"F32\",\"shape\":[4]}}", "data_offsets", LV_ERR_FORMAT},
    {"{\"t\":[4]}", "expected an object", LV_ERR_FORMAT},
    {TWO("[0,8]", "[4,12]"), "overlap", LV_ERR_FORMAT},
    {TWO("[0,8]", "[0,8]"), "overlap", LV_ERR_FORMAT},
    {"{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"u\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
     "hole", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[3]", "[0,12]"), "4 bytes at the end", LV_ERR_FORMAT},
    {ENTRY("\"F32\"", "[3]", "[4,16]"), "hole", LV_ERR_FORMAT},
    {"{\"t\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
     "\"t\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}",
     "given twice", LV_ERR_FORMAT},
    {"{\"__metadata__\":[]}", "__metadata__", LV_ERR_FORMAT},
    {"{}", "16 bytes at the end", LV_ERR_FORMAT},
    {"[]", "expected an object", LV_ERR_FORMAT},
    {"{\"t\":{", "header", LV_ERR_FORMAT},
    {"{} x", "text after the end", LV_ERR_FORMAT},
    {"{\"\xff\":{}}", "UTF-8", LV_ERR_FORMAT},
    {"", "header", LV_ERR_FORMAT},
};

static void each_lying_header_is_refused_with_its_file(void **state)
{
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        fixture_safetensors(state, "lie.safetensors", lies[i].header, DATA, 16);
        int rc = open_only(fixture_path(state, "lie.safetensors"));
        if (rc != lies[i].code || !strstr(lv_error_message(), lies[i].part) ||
            !strstr(lv_error_message(), "lie.safetensors")) {
            fail_msg("%s: %d %s", lies[i].header, rc, rc < 0 ? lv_error_message() : "accepted");
        }
    }
}

static void a_header_length_beyond_file_or_limit_is_refused(void **state)
{
    static const uint8_t lengths[][8] = {
        {3},                                              /* one more than there is */
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, /* -1 */
        {0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, /* wraps around with its own 8 bytes */
        {0, 0, 0, 0, 0, 0, 0, 0x80},
    };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t file[10] = {[8] = '{', [9] = '}'};
        memcpy(file, lengths[i], 8);
        fixture_write_bytes(state, "a.safetensors", file, sizeof file);
        assert_fails(open_only(fixture_path(state, "a.safetensors")), LV_ERR_FORMAT, "a header of");
    }
    fixture_write_bytes(state, "a.safetensors", "1234567", 7);
    assert_fails(open_only(fixture_path(state, "a.safetensors")), LV_ERR_FORMAT, "7 bytes");
    fixture_write_bytes(state, "a.safetensors", "", 0);
    assert_int_equal(open_only(fixture_path(state, "a.safetensors")), LV_ERR_IO);
    assert_int_equal(open_only(fixture_path(state, "nothing.safetensors")), LV_ERR_IO);
}

static void every_prefix_of_a_file_is_refused(void **state)
{
    const char *header = TWO("[0,8]", "[8,16]");
    uint8_t file[256] = {(uint8_t)strlen(header)};
    size_t n = 8 + strlen(header) + 16;
    memcpy(file + 8, header, strlen(header));
    for (size_t cut = 1; cut < n; cut++) {
        fixture_write_bytes(state, "cut.safetensors", file, cut);
        assert_int_equal(open_only(fixture_path(state, "cut.safetensors")), LV_ERR_FORMAT);
    }
    fixture_write_bytes(state, "cut.safetensors", file, n);
    assert_int_equal(open_only(fixture_path(state, "cut.safetensors")), LV_OK);
}

#define INDEX "model.safetensors.index.json"

static void an_index_is_checked_against_its_files(void **state)
{
    const char *one = ENTRY("\"F32\"", "[4]", "[0,16]");
    const struct {
        const char *index, *part;
        int code;
    } cases[] = {
        {"{\"weight_map\":{\"t\":\"a.safetensors\"}}", "", LV_OK},
        {"{\"weight_map\":{\"t\":\"gone.safetensors\"}}", "gone.safetensors", LV_ERR_IO},
        {"{\"weight_map\":{\"t\":\"a.safetensors\",\"v\":\"a.safetensors\"}}", "\"v\"",
         LV_ERR_FORMAT},
        {"{\"weight_map\":{\"t\":\"a.safetensors\",\"v\":\"b.safetensors\"}}", "in both",
         LV_ERR_FORMAT},
        {"{\"weight_map\":{\"t\":\"../a.safetensors\"}}", "beside the index", LV_ERR_FORMAT},
        {"{\"weight_map\":{\"t\":\"/etc/passwd\"}}", "beside the index", LV_ERR_FORMAT},
        {"{\"weight_map\":{\"t\":7}}", "beside the index", LV_ERR_FORMAT},
        {"{\"weight_map\":[]}", "weight_map", LV_ERR_FORMAT},
        {"{}", "weight_map", LV_ERR_FORMAT},
        {"{\"weight_map\":{\"t\":\"x.bin\"}}", "save_file", LV_ERR_UNSUPPORTED},
    };
    fixture_safetensors(state, "a.safetensors", one, DATA, 16);
    fixture_safetensors(state, "b.safetensors", one, DATA, 16);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_write(state, INDEX, cases[i].index);
        int rc = open_only(fixture_path(state, ""));
        if (rc != cases[i].code || (rc < 0 && !strstr(lv_error_message(), cases[i].part))) {
            fail_msg("%s: %d %s", cases[i].index, rc, lv_error_message());
        }
    }
}

static void pickled_weights_are_refused_with_the_way_to_convert_them(void **state)
{
    assert_fails(open_only(fixture_path(state, "")), LV_ERR_IO, "there is neither");
    fixture_write(state, "pytorch_model.bin", "PK");
    assert_fails(open_only(fixture_path(state, "")), LV_ERR_UNSUPPORTED, "pytorch_model*.bin");
    fixture_write(state, "mm_projector.bin", "PK");
    assert_fails(open_only(fixture_path(state, "mm_projector.bin")), LV_ERR_UNSUPPORTED,
                 "mm_projector.safetensors");
    fixture_write(state, "projector/mm_projector.bin", "PK");
    assert_fails(open_only(fixture_path(state, "projector")), LV_ERR_UNSUPPORTED,
                 "'projector.safetensors'");
    assert_true(lv_weights_exist(fixture_path(state, "projector")));
    fixture_write(state, "index/pytorch_model.bin.index.json", "{}");
    assert_fails(open_only(fixture_path(state, "index")), LV_ERR_UNSUPPORTED, "pytorch_model*.bin");
    fixture_write(state, "consolidated.00", "PK\3\4 a zip file under another name");
    assert_fails(open_only(fixture_path(state, "consolidated.00")), LV_ERR_UNSUPPORTED,
                 "consolidated.safetensors");
    fixture_safetensors(state, "model.safetensors", ENTRY("\"F32\"", "[4]", "[0,16]"), DATA, 16);
    assert_int_equal(open_only(fixture_path(state, "")), LV_OK);
}

static uint64_t fingerprint(const char *path)
{
    lv_weights *weights = NULL;
    assert_int_equal(lv_weights_open(&weights, path), LV_OK);
    const uint64_t hash = lv_weights_fingerprint(weights);
    lv_weights_close(&weights);
    return hash;
}

static void the_fingerprint_follows_header_and_sampled_values(void **state)
{
    char data[4096] = {0};
    const char *header = ENTRY("\"F32\"", "[1024]", "[0,4096]");
    fixture_safetensors(state, "a.safetensors", header, data, sizeof data);
    uint64_t first = fingerprint(fixture_path(state, "a.safetensors"));
    fixture_safetensors(state, "b.safetensors", header, data, sizeof data);
    assert_true(fingerprint(fixture_path(state, "b.safetensors")) == first);
    const size_t places[] = {0, 2048, 4095};
    for (size_t i = 0; i < 3; i++) {
        data[places[i]] = 1;
        fixture_safetensors(state, "b.safetensors", header, data, sizeof data);
        assert_true(fingerprint(fixture_path(state, "b.safetensors")) != first);
        data[places[i]] = 0;
    }
    fixture_safetensors(state, "b.safetensors", ENTRY("\"F32\"", "[512,2]", "[0,4096]"), data,
                        sizeof data);
    assert_true(fingerprint(fixture_path(state, "b.safetensors")) != first);
}

static lv_tensor matrix(lv_real *data, int64_t rows, int64_t columns)
{
    return (lv_tensor){.dtype = LV_F32, .n_dims = 2, .shape = {rows, columns, 1, 1}, .data = data};
}

static void a_written_file_has_the_published_layout(void **state)
{
    lv_real values[] = {1, -2, 0.5f, 3};
    lv_tensor x = matrix(values, 2, 2);
    const lv_weight_source sources[] = {{.name = "b", .tensor = &x, .dtype = LV_BF16},
                                        {.name = "a", .tensor = &x, .dtype = LV_F32}};
    char *text = NULL;
    size_t n = 0;
    assert_int_equal(lv_weights_write_file(fixture_path(state, "w.safetensors"), sources, 2),
                     LV_OK);
    assert_int_equal(lv_file_read(&text, &n, fixture_path(state, "w.safetensors")), LV_OK);
    const char *header = "{\"__metadata__\":{\"format\":\"pt\"},"
                         "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[0,8]},"
                         "\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[8,24]}}";
    size_t padded = (strlen(header) + 7) / 8 * 8;
    assert_int_equal((uint8_t)text[0], padded);
    assert_int_equal(n, 8 + padded + 24);
    assert_memory_equal(text + 8, header, strlen(header));
    for (size_t i = strlen(header); i < padded; i++) {
        assert_int_equal(text[8 + i], ' ');
    }
    const uint8_t bf16[] = {0x80, 0x3f, 0x00, 0xc0, 0x00, 0x3f, 0x40, 0x40};
    assert_memory_equal(text + 8 + padded, bf16, sizeof bf16);
    assert_memory_equal(text + 16 + padded, values, sizeof values);
    free(text);
}

static void shards_hold_at_most_the_limit_and_an_index_names_them(void **state)
{
    lv_real values[12] = {0};
    lv_weights *weights = NULL;
    cJSON *index = NULL;
    for (int i = 0; i < 12; i++) {
        values[i] = (lv_real)i;
    }
    lv_tensor x = matrix(values, 3, 2), y = matrix(values + 6, 3, 2);
    const lv_weight_source sources[] = {{.name = "p", .tensor = &x, .dtype = LV_F32},
                                        {.name = "q", .tensor = &y, .dtype = LV_F16},
                                        {.name = "r", .tensor = &y, .dtype = LV_F32}};
    fixture_safetensors(state, "model.safetensors", ENTRY("\"F32\"", "[4]", "[0,16]"), DATA, 16);
    assert_int_equal(lv_weights_write(*state, sources, 3, 36), LV_OK);
    assert_false(lv_file_exists(fixture_path(state, "model.safetensors")));
    assert_true(lv_file_exists(fixture_path(state, "model-00002-of-00002.safetensors")));
    assert_int_equal(lv_json_read(&index, fixture_path(state, INDEX)), LV_OK);
    assert_int_equal(lv_json_find(lv_json_find(index, "metadata"), "total_size")->valueint, 60);
    const cJSON *map = lv_json_find(index, "weight_map");
    assert_string_equal(lv_json_find(map, "q")->valuestring, "model-00001-of-00002.safetensors");
    assert_string_equal(lv_json_find(map, "r")->valuestring, "model-00002-of-00002.safetensors");
    cJSON_Delete(index);
    assert_int_equal(lv_weights_open(&weights, *state), LV_OK);
    assert_int_equal(lv_weights_count(weights), 3);
    assert_memory_equal(weights_find(weights, "p")->data, values, 24);
    assert_memory_equal(weights_find(weights, "r")->data, values + 6, 24);
    lv_weights_close(&weights);
    assert_int_equal(lv_weights_write(*state, sources, 3, 60), LV_OK);
    assert_false(lv_file_exists(fixture_path(state, INDEX)));
    assert_true(lv_file_exists(fixture_path(state, "model.safetensors")));
}

static void extra_rows_follow_the_tensor_in_pieces_of_any_size(void **state)
{
    enum { ROWS = 700, COLUMNS = 100, EXTRA = 3 }; /* more than one piece of conversion */
    lv_weights *weights = NULL;
    lv_real *values = malloc(ROWS * COLUMNS * sizeof *values);
    lv_real extra[COLUMNS];
    assert_non_null(values);
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        values[i] = (lv_real)(i * 0.25);
    }
    for (int i = 0; i < COLUMNS; i++) {
        extra[i] = (lv_real)-i;
    }
    lv_tensor x = matrix(values, ROWS, COLUMNS);
    const lv_weight_source source = {
        .name = "e", .tensor = &x, .dtype = LV_F32, .extra_rows = EXTRA, .extra_row = extra};
    assert_int_equal(lv_weights_write(*state, &source, 1, 1 << 30), LV_OK);
    assert_int_equal(lv_weights_open(&weights, *state), LV_OK);
    const lv_weight *w = weights_find(weights, "e");
    assert_int_equal(w->shape[0], ROWS + EXTRA);
    const float *data = w->data;
    assert_memory_equal(data, values, ROWS * COLUMNS * sizeof *values);
    for (int r = 0; r < EXTRA; r++) {
        assert_memory_equal(data + (ROWS + r) * COLUMNS, extra, sizeof extra);
    }
    lv_weights_close(&weights);
    free(values);
}

static void a_file_that_can_not_be_written_leaves_nothing(void **state)
{
    lv_real value = 1;
    lv_tensor x = matrix(&value, 1, 1);
    const lv_weight_source source = {.name = "e", .tensor = &x, .dtype = LV_F32};
    assert_int_equal(lv_weights_write_file(fixture_path(state, "no/where.safetensors"), &source, 1),
                     LV_ERR_IO);
    fixture_write(state, "taken/file", "");
    assert_int_equal(lv_weights_write_file(fixture_path(state, "taken"), &source, 1), LV_ERR_IO);
    assert_int_equal(lv_file_sync(fixture_path(state, "taken/file")), LV_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_names_shapes_and_values_at_odd_offsets),
        TEST(an_integer_buffer_is_kept_apart_and_stops_nothing),
        TEST(each_lying_header_is_refused_with_its_file),
        TEST(a_header_length_beyond_file_or_limit_is_refused),
        TEST(every_prefix_of_a_file_is_refused),
        TEST(an_index_is_checked_against_its_files),
        TEST(pickled_weights_are_refused_with_the_way_to_convert_them),
        TEST(the_fingerprint_follows_header_and_sampled_values),
        TEST(a_written_file_has_the_published_layout),
        TEST(shards_hold_at_most_the_limit_and_an_index_names_them),
        TEST(extra_rows_follow_the_tensor_in_pieces_of_any_size),
        TEST(a_file_that_can_not_be_written_leaves_nothing),
    };
    return cmocka_run_group_tests_name("weights", tests, NULL, NULL);
}
