/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/manifest.h"
#include "tests/support/weights_find.h"
#include "tests/units/train/fixture.h"
#include "train/model/hf/internal.h"
#include "train/model/weights/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_F32 = 4096, N_F16 = 1 << 16 };
#define CONFIG                                                                                     \
    "{\"model_type\": \"clip_vision_model\", \"hidden_size\": 8, \"intermediate_size\": 12,"       \
    " \"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"image_size\": 8,"                    \
    " \"patch_size\": 4, \"layer_norm_eps\": 1e-05, \"torch_dtype\": \"float16\"}"

/* What torch's .to(torch.bfloat16) gives: of the two neighbours the nearer, on a tie the even one;
 * some NaN for a NaN. */
static bool is_bf16_of(uint16_t found, uint32_t bits)
{
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
        return (found & 0x7fff) > 0x7f80;
    }
    uint32_t below = magnitude >> 16, rest = magnitude & 0xffff;
    uint32_t rounded = rest > 0x8000 || (rest == 0x8000 && below % 2 == 1) ? below + 1 : below;
    return found == (rounded | (bits >> 31) << 15);
}

/* The float with the value of an IEEE half, by its definition. */
static uint32_t bits_of_f16(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    float f = exponent == 31  ? (fraction ? NAN : INFINITY)
              : exponent == 0 ? ldexpf((float)fraction, -24)
                              : ldexpf((float)(1024 + fraction), exponent - 25);
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits | (uint32_t)(h >> 15) << 31;
}

static uint32_t f32_bits(int i)
{
    static const uint32_t special[] = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7fc00000,
                                       0x7f800001, 0xffffffff, 0x7f7fffff, 0x3f808000, 0x3f818000,
                                       0x3f808001, 0x3f807fff, 1,          0x00008000, 0x807fffff};
    enum { N_SPECIAL = sizeof special / sizeof *special };
    return i < N_SPECIAL ? special[i] : (uint32_t)i * 2654435761u;
}

typedef struct {
    uint8_t byte, h[2], scalar[4], ids[16];
    uint8_t f32[4 * N_F32], f16[2 * N_F16]; /* all at odd addresses */
} contents;

/* A directory with every kind of tensor, and files beside. */
static void make_model(void **state)
{
    static contents c = {.byte = 7, .h = {0x34, 0x12}, .ids = {1, 2, 3}};
    memcpy(c.scalar, &(float){1.00390625f}, 4); /* 1 + 2^-8: a tie, to 1 */
    for (int i = 0; i < N_F32; i++) {
        memcpy(c.f32 + 4 * i, &(uint32_t){f32_bits(i)}, 4);
    }
    for (int i = 0; i < N_F16; i++) {
        memcpy(c.f16 + 2 * i, &(uint16_t){(uint16_t)i}, 2);
    }
    char header[1024];
    snprintf(header, sizeof header,
             "{\"byte\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
             "\"h\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[1,3]},"
             "\"logit_scale\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[3,7]},"
             "\"none\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[7,7]},"
             "\"vision_model.embeddings.position_ids\":{\"dtype\":\"I64\",\"shape\":[1,2],"
             "\"data_offsets\":[7,23]},"
             "\"x\":{\"dtype\":\"F32\",\"shape\":[%d,64],\"data_offsets\":[23,%d]},"
             "\"y\":{\"dtype\":\"F16\",\"shape\":[%d],\"data_offsets\":[%d,%d]}}",
             N_F32 / 64, 23 + 4 * N_F32, N_F16, 23 + 4 * N_F32, 23 + 4 * N_F32 + 2 * N_F16);
    fixture_write(state, "model/config.json", CONFIG);
    fixture_write(state, "model/tokenizer.json", "any bytes");
    fixture_write(state, "model/.hidden", "");
    fixture_write(state, "model/pytorch_model.bin", "the same in another format");
    fixture_write(state, "model/folder/file", "");
    fixture_safetensors(state, "model/model.safetensors", header, &c, sizeof c);
}

static int convert(void **state, const char *to, const char *from, lv_dtype dtype)
{
    char *source = lv_path("%s", fixture_path(state, from));
    lv_hf_conversion sum;
    int rc = lv_hf_convert(&sum, fixture_path(state, to), source, dtype, (lv_hf_progress){0});
    free(source);
    return rc;
}

static void every_value_is_rounded_as_torch_does_it(void **state)
{
    lv_weights *weights = NULL;
    make_model(state);
    assert_int_equal(convert(state, "out", "model", LV_BF16), LV_OK);
    assert_int_equal(lv_weights_open(&weights, fixture_path(state, "out")), LV_OK);
    const lv_weight *x = weights_find(weights, "x"), *y = weights_find(weights, "y");
    assert_true(x->dtype == LV_BF16 && y->dtype == LV_BF16);
    assert_true(x->n_dims == 2 && x->shape[0] == N_F32 / 64 && x->shape[1] == 64);
    for (int i = 0; i < N_F32; i++) {
        uint16_t found;
        memcpy(&found, (const char *)x->data + 2 * i, 2);
        assert_true(is_bf16_of(found, f32_bits(i)));
    }
    for (int i = 0; i < N_F16; i++) {
        uint16_t found;
        memcpy(&found, (const char *)y->data + 2 * i, 2);
        assert_true(is_bf16_of(found, bits_of_f16((uint16_t)i)));
    }
    assert_memory_equal(weights_find(weights, "h")->data, "\x34\x12", 2);
    const lv_weight *scalar = weights_find(weights, "logit_scale");
    assert_int_equal(scalar->n_dims, 0);
    assert_memory_equal(scalar->data, "\x80\x3f", 2);
    assert_int_equal(weights_find(weights, "none")->n_bytes, 0);
    lv_weights_close(&weights);
}

static void widening_is_exact_and_there_and_back_changes_nothing(void **state)
{
    lv_weights *weights = NULL;
    char *first = NULL, *again = NULL;
    size_t n_first, n_again;
    make_model(state);
    assert_int_equal(convert(state, "half", "model", LV_BF16), LV_OK);
    assert_int_equal(convert(state, "wide", "model", LV_F32), LV_OK);
    assert_int_equal(lv_weights_open(&weights, fixture_path(state, "wide")), LV_OK);
    const lv_weight *x = weights_find(weights, "x"), *y = weights_find(weights, "y");
    for (int i = 0; i < N_F32; i++) {
        assert_memory_equal((const char *)x->data + 4 * i, &(uint32_t){f32_bits(i)}, 4);
    }
    for (int i = 0; i < N_F16; i++) {
        uint32_t found, want = bits_of_f16((uint16_t)i);
        memcpy(&found, (const char *)y->data + 4 * i, 4);
        assert_true(found == want ||
                    ((found & 0x7fffffff) > 0x7f800000 && (want & 0x7fffffff) > 0x7f800000));
    }
    lv_weights_close(&weights);
    assert_int_equal(convert(state, "wide2", "half", LV_F32), LV_OK);
    assert_int_equal(convert(state, "half2", "wide2", LV_BF16), LV_OK);
    assert_int_equal(lv_file_read(&first, &n_first, fixture_path(state, "half/model.safetensors")),
                     LV_OK);
    assert_int_equal(lv_file_read(&again, &n_again, fixture_path(state, "half2/model.safetensors")),
                     LV_OK);
    assert_int_equal(n_first, n_again);
    assert_memory_equal(first, again, n_first);
    free(first);
    free(again);
}

static void buffers_of_other_dtypes_are_kept_byte_for_byte(void **state)
{
    lv_weights *weights = NULL;
    const char *dtype;
    make_model(state);
    assert_int_equal(convert(state, "out", "model", LV_BF16), LV_OK);
    assert_int_equal(lv_weights_open(&weights, fixture_path(state, "out")), LV_OK);
    assert_int_equal(lv_weights_other_count(weights), 2);
    assert_string_equal(lv_weights_other_at(weights, 0, &dtype), "byte");
    assert_string_equal(dtype, "U8");
    assert_memory_equal(lv_weights_other_weight(weights, 0)->data, "\x07", 1);
    lv_weights_other_at(weights, 1, &dtype);
    assert_string_equal(dtype, "I64");
    assert_int_equal(lv_weights_other_weight(weights, 1)->shape[1], 2);
    assert_memory_equal(lv_weights_other_weight(weights, 1)->data, "\1\2\3\0\0", 5);
    lv_weights_close(&weights);
}

static void other_files_are_copied_and_digests_cover_all(void **state)
{
    cJSON *digests = NULL;
    char *text = NULL;
    size_t n;
    make_model(state);
    assert_int_equal(convert(state, "out", "model", LV_BF16), LV_OK);
    assert_int_equal(lv_file_read(&text, &n, fixture_path(state, "out/tokenizer.json")), LV_OK);
    assert_string_equal(text, "any bytes");
    free(text);
    static const char *const absent[] = {"out/.hidden", "out/pytorch_model.bin", "out/folder",
                                         "out.partial"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        assert_false(lv_file_exists(fixture_path(state, absent[i])));
    }
    assert_int_equal(lv_manifest_read(&digests, fixture_path(state, "out/digests.json")), LV_OK);
    assert_int_equal(lv_manifest_check_files(digests, fixture_path(state, "out"), NULL), LV_OK);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(digests, "files")), 3);
    cJSON_Delete(digests);
}

static void a_model_that_is_not_whole_or_not_readable_is_refused(void **state)
{
    make_model(state);
    assert_int_equal(convert(state, "out", "model", LV_BF16), LV_OK);
    fixture_write(state, "out/tokenizer.json", "any bites");
    assert_fails(convert(state, "again", "out", LV_F32), LV_ERR_FORMAT, "tokenizer.json");
    fixture_write(state, "model/config.json", "{\"model_type\":\"gpt2\"}");
    assert_fails(convert(state, "again", "model", LV_F32), LV_ERR_UNSUPPORTED, "gpt2");
    fixture_write(state, "model/config.json", CONFIG);
    fixture_safetensors(state, "model/model.safetensors",
                        "{\"vision_model.post_layernorm.bias\":{\"dtype\":\"F64\",\"shape\":[1],"
                        "\"data_offsets\":[0,8]}}",
                        "12345678", 8);
    assert_fails(convert(state, "again", "model", LV_F32), LV_ERR_UNSUPPORTED, "dtype F64");
    fixture_safetensors(state, "model/model.safetensors",
                        "{\"a\\\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                        "1234", 4);
    assert_fails(convert(state, "again", "model", LV_F32), LV_ERR_FORMAT, "quotes");
    fixture_safetensors(state, "model/model.safetensors", "{}", "", 0);
    assert_fails(convert(state, "again", "model", LV_F32), LV_ERR_FORMAT, "no tensor");
    assert_false(lv_file_exists(fixture_path(state, "again")));
    assert_false(lv_file_exists(fixture_path(state, "again.partial")));
}

static void a_target_that_is_there_or_inside_the_model_is_refused(void **state)
{
    make_model(state);
    fixture_write(state, "there/file", "");
    assert_fails(convert(state, "there", "model", LV_BF16), LV_ERR_CONFIG, "already there");
    assert_fails(convert(state, "model/", "model", LV_BF16), LV_ERR_CONFIG, "already there");
    assert_fails(convert(state, "model/a/b", "model", LV_BF16), LV_ERR_CONFIG, "own directory");
    assert_fails(convert(state, "there/../model/a", "model", LV_BF16), LV_ERR_CONFIG,
                 "own directory");
    assert_int_equal(convert(state, "model2/new/", "model", LV_BF16), LV_OK);
}

static void the_dtype_is_all_that_changes_in_a_config(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after;
    } cases[] = {
        {"{\"a\": 10000.0, \"torch_dtype\": \"float16\", \"b\": 1e-05}\n",
         "{\"a\": 10000.0, \"torch_dtype\": \"bfloat16\", \"b\": 1e-05}\n"},
        {"{ \"dtype\" :\n null}", "{ \"dtype\" :\n \"bfloat16\"}"},
        {"{\"text_config\":{\"torch_dtype\":\"float32\"},\"dtype\":\"float32\"}",
         "{\"text_config\":{\"torch_dtype\":\"bfloat16\"},\"dtype\":\"bfloat16\"}"},
        {"{\"t\":{\"dtype\":\"float32\"}}",
         "{\n  \"torch_dtype\": \"bfloat16\",\"t\":{\"dtype\":\"bfloat16\"}}"},
        {"{}", "{\n  \"torch_dtype\": \"bfloat16\"}"},
        /* values and parts of keys are none */
        {"{\"x\":\"dtype\",\"y\":\"\\\\\",\"my_dtype\":\"a\",\"dtype\":\"\\\"a\",\"z\":[\"dtype\"]"
         "}",
         "{\"x\":\"dtype\",\"y\":\"\\\\\",\"my_dtype\":\"a\",\"dtype\":\"bfloat16\",\"z\":["
         "\"dtype\"]}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *after = lv_hf_config_with_dtype(cases[i].before, LV_BF16);
        assert_string_equal(after, cases[i].after);
        free(after);
    }
    char *wide = lv_hf_config_with_dtype(cases[0].before, LV_F32);
    assert_non_null(strstr(wide, "\"torch_dtype\": \"float32\", \"b\""));
    free(wide);
}

static void a_note_names_the_directory_the_cost_and_the_command(void **state)
{
    (void)state;
    assert_null(lv_hf_convert_note("models/m", 255999999));
    char *note = lv_hf_convert_note("models/m//", 13500000000);
    assert_non_null(note);
    assert_non_null(strstr(note, "models/m is not in bf16"));
    assert_non_null(strstr(note, "13.5 GB"));
    assert_non_null(
        strstr(note, "llava convert --model models/m --dtype bf16 --out models/m-bf16 "));
    free(note);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)
    const struct CMUnitTest tests[] = {
        TEST(every_value_is_rounded_as_torch_does_it),
        TEST(widening_is_exact_and_there_and_back_changes_nothing),
        TEST(buffers_of_other_dtypes_are_kept_byte_for_byte),
        TEST(other_files_are_copied_and_digests_cover_all),
        TEST(a_model_that_is_not_whole_or_not_readable_is_refused),
        TEST(a_target_that_is_there_or_inside_the_model_is_refused),
        TEST(the_dtype_is_all_that_changes_in_a_config),
        TEST(a_note_names_the_directory_the_cost_and_the_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
