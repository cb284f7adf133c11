/* SPDX-License-Identifier: Apache-2.0 */
#include "train/answer/text.h"

#include "tests/units/data/text_fixture.h"

#include "autograd/rng.h"
#include "data/base/file.h"
#include "data/base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_IDS = 64 };
#define FFFD "\xEF\xBF\xBD"

static int32_t id_of(const char *piece)
{
    int32_t id = lv_tokenizer_id(tokenizer, piece);
    assert_true(id >= 0);
    return id;
}

static bool is_utf8(const char *text, size_t n)
{
    bool valid = true;
    for (size_t at = 0; valid && at < n;) {
        at += lv_utf8_step(text + at, n - at, &valid);
    }
    return valid;
}

/* The pieces one by one: after each what is certain is steps[i], and in the end it is whole. */
typedef struct {
    const char *piece, *certain;
} step;

static void streams(const char *const *stops, size_t n_stops, const step *steps, size_t n,
                    const char *whole)
{
    lv_answer_text *text = NULL;
    bool stopped = false;
    size_t bytes = 0;
    assert_ok(lv_answer_text_create(&text, tokenizer, stops, n_stops));
    assert_string_equal(lv_answer_text_certain(text, &bytes), "");
    for (size_t i = 0; i < n; i++) {
        assert_false(stopped);
        assert_ok(lv_answer_text_add(text, id_of(steps[i].piece), &stopped));
        assert_string_equal(lv_answer_text_certain(text, &bytes), steps[i].certain);
        assert_int_equal(bytes, strlen(steps[i].certain));
    }
    assert_ok(lv_answer_text_finish(text));
    assert_string_equal(lv_answer_text_certain(text, &bytes), whole);
    lv_answer_text_destroy(&text);
}
#define STREAMS(stop, whole, ...)                                                                  \
    streams(&(const char *){stop}, (stop) != NULL, (const step[]){__VA_ARGS__},                    \
            sizeof((const step[]){__VA_ARGS__}) / sizeof(step), whole)

static void text_comes_with_its_token(void **state)
{
    (void)state;
    STREAMS(NULL, "a b",
            {"\xE2\x96\x81"
             "a",
             "a"},
            {"\xE2\x96\x81", "a "}, {"b", "a b"});
}

/* A run of byte pieces is text if all of it is: it is certain when it has ended. */
static void byte_pieces_wait_for_the_end_of_their_run(void **state)
{
    (void)state;
    STREAMS(NULL,
            "a\xE2\x82\xAC"
            "b",
            {"a", "a"}, {"<0xE2>", "a"}, {"<0x82>", "a"}, {"<0xAC>", "a"},
            {"b", "a\xE2\x82\xAC"
                  "b"});
    STREAMS(NULL, "a\n", {"a", "a"}, {"<0x0A>", "a"});
}

/* What an earlier byte would have been as a character by itself is no part of the text. */
static void bytes_that_form_no_character_are_replaced_one_by_one(void **state)
{
    (void)state;
    STREAMS(NULL, "a" FFFD FFFD FFFD "b", {"a", "a"}, {"<0xC3>", "a"}, {"<0xA9>", "a"},
            {"<0xFF>", "a"}, {"b", "a" FFFD FFFD FFFD "b"});
    STREAMS(NULL, "a" FFFD FFFD, {"a", "a"}, {"<0xE2>", "a"}, {"<0x82>", "a"});
}

static void what_may_begin_a_stop_waits(void **state)
{
    (void)state;
    STREAMS("###", "a##b", {"a", "a"}, {"#", "a"}, {"#", "a"}, {"b", "a##b"});
    STREAMS("###", "a##", {"a", "a"}, {"#", "a"}, {"#", "a"});
    STREAMS("###", "a", {"a", "a"}, {"#", "a"}, {"#", "a"}, {"#", "a"});
    STREAMS("\n", "a", {"a", "a"}, {"<0x0A>", "a"});
}

static void the_first_of_several_stops_ends_the_text(void **state)
{
    (void)state;
    static const char *const stops[] = {"ba", "xyz", "ab"};
    streams(stops, 3, (const step[]){{"x", ""}, {"y", ""}, {"a", "xy"}}, 3, "xya");
    streams(stops, 3, (const step[]){{"x", ""}, {"a", "x"}, {"b", "x"}}, 3, "x");
    streams(stops, 3, (const step[]){{"c", "c"}, {"b", "c"}, {"a", "c"}}, 3, "c");
}

static void a_piece_of_the_stops_name_ends_the_text(void **state)
{
    (void)state;
    STREAMS("</s>", "a", {"a", "a"}, {"</s>", "a"});
}

static void nothing_is_added_after_a_stop(void **state)
{
    (void)state;
    lv_answer_text *text = NULL;
    bool stopped = false;
    size_t n = 0;
    assert_ok(lv_answer_text_create(&text, tokenizer, (const char *const[]){"b"}, 1));
    assert_ok(lv_answer_text_add(text, id_of("a"), &stopped));
    assert_ok(lv_answer_text_add(text, id_of("b"), &stopped));
    assert_true(stopped);
    assert_ok(lv_answer_text_finish(text));
    assert_string_equal(lv_answer_text_certain(text, &n), "a");
    lv_answer_text_destroy(&text);
}

/* A vocabulary that is padded has ids that no tokenizer knows. */
static void text_goes_on_after_an_id_without_a_piece(void **state)
{
    (void)state;
    lv_answer_text *text = NULL;
    bool stopped = false;
    size_t n = 0;
    assert_ok(lv_answer_text_create(&text, tokenizer, NULL, 0));
    assert_ok(lv_answer_text_add(text, id_of("a"), &stopped));
    assert_ok(lv_answer_text_add(text, lv_tokenizer_vocab_size(tokenizer) + 5, &stopped));
    assert_ok(lv_answer_text_add(text, -1, &stopped));
    assert_ok(lv_answer_text_add(text, id_of("b"), &stopped));
    assert_string_equal(lv_answer_text_certain(text, &n), "ab");
    lv_answer_text_destroy(&text);
}

/* Of any ids: each certain text begins with the one before it, all are UTF-8, and the last one is
 * that of all ids. Bytes are frequent among them. */
static void any_ids_stream(const lv_tokenizer *t, uint64_t seed)
{
    const uint64_t V = (uint64_t)lv_tokenizer_vocab_size(t);
    int32_t ids[MAX_IDS], bytes[256];
    int n_bytes = 0;
    lv_answer_text *text = NULL;
    char *before = calloc(1, 1), *whole = NULL;
    size_t n_before = 0, n_whole = 0, settled = 0;
    for (int b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        bytes[n_bytes] = lv_tokenizer_id(t, name);
        n_bytes += bytes[n_bytes] >= 0;
    }
    size_t n = 0, n_ids = 0;
    bool stopped = false;
    assert_ok(lv_answer_text_create(&text, t, NULL, 0));
    for (uint64_t i = 0; i < MAX_IDS; i++) {
        bool byte = n_bytes > 0 && lv_random_uniform(seed, 1, i) < 0.7;
        double u = lv_random_uniform(seed, 0, i);
        int32_t id = byte ? bytes[(int)(u * n_bytes)] : (int32_t)(u * (double)V);
        if (!lv_tokenizer_has(t, id)) {
            continue;
        }
        ids[n_ids++] = id;
        assert_ok(lv_answer_text_add(text, id, &stopped));
        const char *certain = lv_answer_text_certain(text, &n);
        assert_true(is_utf8(certain, n));
        assert_true(n >= n_before);
        assert_memory_equal(certain, before, n_before);
        free(before);
        before = malloc(n + 1);
        memcpy(before, certain, n_before = n);
    }
    assert_ok(lv_answer_text_finish(text));
    assert_ok(lv_tokenizer_decode_begun(t, ids, n_ids, &whole, &n_whole, &settled));
    const char *certain = lv_answer_text_certain(text, &n);
    assert_int_equal(n, n_whole);
    assert_memory_equal(certain, whole, n);
    assert_memory_equal(certain, before, n_before);
    free(before);
    free(whole);
    lv_answer_text_destroy(&text);
}

static void any_ids_of_any_tokenizer_stream_whole_characters(void **state)
{
    (void)state;
    static const char *const kinds[] = {"json_gpt2", "json_llama3", "json_qwen2", "spm_llama",
                                        "spm_rules"};
    enum { DRAWS = 300 };
    for (size_t k = 0; k <= sizeof kinds / sizeof *kinds; k++) {
        lv_tokenizer *t = tokenizer;
        if (k > 0) {
            char *name = lv_path("tests/golden/text/tokenizers/%s", kinds[k - 1]);
            char *path = source_path(name);
            assert_ok(lv_tokenizer_open(&t, path));
            free(path);
            free(name);
        }
        for (uint64_t seed = 0; seed < DRAWS; seed++) {
            any_ids_stream(t, seed);
        }
        if (k > 0) {
            lv_tokenizer_close(&t);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_comes_with_its_token),
        cmocka_unit_test(byte_pieces_wait_for_the_end_of_their_run),
        cmocka_unit_test(bytes_that_form_no_character_are_replaced_one_by_one),
        cmocka_unit_test(what_may_begin_a_stop_waits),
        cmocka_unit_test(the_first_of_several_stops_ends_the_text),
        cmocka_unit_test(a_piece_of_the_stops_name_ends_the_text),
        cmocka_unit_test(nothing_is_added_after_a_stop),
        cmocka_unit_test(text_goes_on_after_an_id_without_a_piece),
        cmocka_unit_test(any_ids_of_any_tokenizer_stream_whole_characters),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
