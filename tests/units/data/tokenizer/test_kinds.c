/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte-level tokenizers and sentencepiece models, as the references in tests/golden/text/tokenizers
 * have them.
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/tokenizer/pipeline.h"
#include "tests/units/data/text_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static lv_tokenizer *open_golden(const char *name)
{
    lv_tokenizer *t = NULL;
    char *relative = lv_path("tests/golden/text/tokenizers/%s", name);
    char *path = source_path(relative);
    assert_ok(lv_tokenizer_open(&t, path));
    free(path);
    free(relative);
    return t;
}

static void ids_are(const lv_tokenizer *t, const char *name, const cJSON *row, const char *key,
                    bool first)
{
    const cJSON *ids = lv_json_find(row, key);
    const char *text = lv_json_find(row, "text")->valuestring;
    lv_tokens tokens = {0};
    if (!ids) {
        return;
    }
    assert_ok(lv_tokenizer_encode(t, text, strlen(text), first, &tokens));
    bool same = (int)tokens.n == cJSON_GetArraySize(ids);
    const cJSON *id = ids->child;
    for (size_t i = 0; same && i < tokens.n; i++, id = id->next) {
        same = tokens.ids[i] == (int32_t)id->valuedouble && tokens.begin[i] < strlen(text) &&
               (i == 0 || tokens.begin[i] >= tokens.begin[i - 1]);
    }
    if (!same) {
        fail_msg("%s: other %s for \"%s\"", name, key, text);
    }
    const cJSON *decoded = lv_json_find(row, "decoded");
    if (first && decoded) {
        char *back = NULL;
        assert_ok(lv_tokenizer_decode(t, tokens.ids, tokens.n, &back));
        assert_string_equal(back, decoded->valuestring);
        free(back);
    }
    lv_tokens_free(&tokens);
}

static void each_kind_gives_the_references_ids_and_texts(void **state)
{
    (void)state;
    cJSON *golden = read_golden("tokenizers/expected.json");
    const cJSON *rows, *row;
    int n = 0;
    cJSON_ArrayForEach (rows, golden) {
        lv_tokenizer *t = open_golden(rows->string);
        cJSON_ArrayForEach (row, rows) {
            ids_are(t, rows->string, row, "ids", true);
            ids_are(t, rows->string, row, "behind", false);
            n++;
        }
        lv_tokenizer_close(&t);
    }
    assert_true(n > 200);
    cJSON_Delete(golden);
}

static void a_copied_tokenizer_is_the_same(void **state)
{
    (void)state;
    cJSON *golden = read_golden("tokenizers/expected.json");
    const cJSON *rows;
    cJSON_ArrayForEach (rows, golden) {
        lv_tokenizer *t = open_golden(rows->string), *copy = NULL;
        char *parent = make_folder();
        char *folder = lv_path("%s/tokenizer", parent);
        assert_ok(lv_tokenizer_copy_files(t, folder));
        assert_ok(lv_tokenizer_open(&copy, folder));
        assert_string_equal(lv_tokenizer_fingerprint(t), lv_tokenizer_fingerprint(copy));
        assert_int_equal(lv_tokenizer_bos(t), lv_tokenizer_bos(copy));
        assert_int_equal(lv_tokenizer_eos(t), lv_tokenizer_eos(copy));
        assert_int_equal(lv_tokenizer_vocab_size(t), lv_tokenizer_vocab_size(copy));
        lv_tokenizer_close(&t);
        lv_tokenizer_close(&copy);
        free(folder);
        remove_folder(parent);
    }
    cJSON_Delete(golden);
}

static void bos_is_put_in_front_only_where_the_files_say_so(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bos, *eos;
        bool adds;
    } cases[] = {
        {"json_llama3", "<|begin_of_text|>", "<|eot_id|>", true},
        {"json_qwen2", NULL, "<|endoftext|>", false},
        {"spm_llama", "<s>", "</s>", true},
        {"spm_llama_new", "<s>", "</s>", false}, /* add_bos_token false */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_tokenizer *t = open_golden(cases[i].name);
        int32_t bos = cases[i].bos ? lv_tokenizer_id(t, cases[i].bos) : -1;
        assert_int_equal(lv_tokenizer_bos(t), bos);
        assert_int_equal(lv_tokenizer_eos(t), lv_tokenizer_id(t, cases[i].eos));
        assert_true(lv_tokenizer_eos(t) >= 0);
        assert_int_equal(lv_tokenizer_adds_bos(t), cases[i].adds);
        lv_tokenizer_close(&t);
    }
}

static void begins_are(const char *name, const char *text, const size_t *begin, size_t n)
{
    lv_tokenizer *t = open_golden(name);
    lv_tokens tokens = {0};
    assert_ok(lv_tokenizer_encode(t, text, strlen(text), true, &tokens));
    assert_int_equal(tokens.n, n);
    assert_memory_equal(tokens.begin, begin, n * sizeof *begin);
    lv_tokens_free(&tokens);
    lv_tokenizer_close(&t);
}

#define BEGINS_ARE(name, text, ...)                                                                \
    begins_are(name, text, (const size_t[]){__VA_ARGS__},                                          \
               sizeof((const size_t[]){__VA_ARGS__}) / sizeof(size_t))

static void begin_is_of_the_text_before_it_was_normalised(void **state)
{
    (void)state;
    /* e and an accent become one character of two bytes; a dog stands behind them */
    BEGINS_ARE("json_qwen2", "e\xCC\x81 dog", 0, 0, 3, 6);
    /* an accent that stays behind a dot below, which it stood in front of */
    BEGINS_ARE("json_qwen2", "q\xCC\x87\xCC\xA3", 0, 1, 1, 1, 1);
    BEGINS_ARE("json_llama3", "a <tool> dog", 0, 1, 2, 8, 11);
    BEGINS_ARE("json_llama3", "a <aside>  dog", 0, 1, 11, 12, 13);
    /* a broken byte is three */
    BEGINS_ARE("json_llama3", "a\xFF", 0, 1, 1, 1);
    /* spaces at both ends go, one of two stays, and U+00A0 is one */
    BEGINS_ARE("spm_rules", "  a  \xC2\xA0 dog  ", 2, 3, 10);
    BEGINS_ARE("spm_suffix", " a  dog ", 1, 4, 5, 6);
}

static void raw_decoding_shows_special_pieces_and_keeps_spaces(void **state)
{
    (void)state;
    static const struct {
        const char *name, *special, *shown;
    } cases[] = {
        {"json_llama3", "<|eot_id|>", "a dog<|eot_id|>a dog"},
        {"spm_llama", "</s>", " a dog</s> a dog"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_tokenizer *t = open_golden(cases[i].name);
        lv_tokens tokens = {0};
        char *whole = NULL;
        assert_ok(lv_tokenizer_encode(t, "a dog", 5, true, &tokens));
        size_t n = tokens.n;
        int32_t ids[32];
        assert_true(2 * n + 1 <= 32);
        memcpy(ids, tokens.ids, n * sizeof *ids);
        ids[n] = lv_tokenizer_id(t, cases[i].special);
        memcpy(ids + n + 1, tokens.ids, n * sizeof *ids);
        assert_ok(lv_tokenizer_decode_raw(t, ids, 2 * n + 1, &whole));
        assert_string_equal(whole, cases[i].shown);
        free(whole);
        lv_tokens_free(&tokens);
        lv_tokenizer_close(&t);
    }
}

/* ---- byte-level files ---- */

static int open_with_pre_tokenizer(lv_tokenizer **t, const char *json)
{
    cJSON *root = read_golden("tokenizers/json_gpt2/tokenizer.json");
    set_member(root, "pre_tokenizer", json);
    int rc = open_tokenizer_json(t, root);
    cJSON_Delete(root);
    return rc;
}

#define BYTES "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}"
#define STEPS(first, last) "{\"type\": \"Sequence\", \"pretokenizers\": [" first ", " last "]}"
#define SPLIT(regex, behavior)                                                                     \
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" regex "\"}, \"behavior\": \"" behavior     \
    "\", \"invert\": false}"

static void pre_tokenizers_that_are_not_implemented_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *json, *message;
    } cases[] = {
        {STEPS("{\"type\": \"Punctuation\"}", BYTES), "Punctuation"},
        {STEPS(SPLIT("a", "Isolated"), SPLIT("b", "Isolated")), "ends with \"Split\""},
        {STEPS(SPLIT("a", "MergedWithNext"), BYTES), "MergedWithNext"},
        {STEPS(SPLIT("(a", "Isolated"), BYTES), "the pattern \"(a\""},
        {STEPS(SPLIT("a", "Isolated"), "{\"type\": \"ByteLevel\"}"), "add_prefix_space"},
        {"{\"type\": \"Sequence\", \"pretokenizers\": []}", "without steps"},
    };
    lv_tokenizer *t = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_fails(open_with_pre_tokenizer(&t, cases[i].json), LV_ERR_UNSUPPORTED,
                     cases[i].message);
        assert_null(t);
    }
    cJSON *root = read_golden("tokenizers/json_gpt2/tokenizer.json");
    set_member(root, "normalizer", "{\"type\": \"Lowercase\"}");
    assert_fails(open_tokenizer_json(&t, root), LV_ERR_UNSUPPORTED, "Lowercase");
    cJSON_Delete(root);
}

/* GPT-2's own pattern, with less than it takes. */
static void fails_beyond_its_limits(lv_split_limits limits, int rc, const char *message)
{
    static const char text[] = "the dog and the cat, ";
    enum { N = 200 * (sizeof text - 1) };
    lv_tokenizer *t = open_golden("json_gpt2");
    lv_tokens tokens = {0};
    char *many = malloc(N);
    for (size_t at = 0; at < N; at += sizeof text - 1) {
        memcpy(many + at, text, sizeof text - 1);
    }
    assert_ok(lv_tokenizer_encode(t, many, N, true, &tokens));
    size_t n = tokens.n;
    t->pipeline->limits = limits;
    assert_fails(lv_tokenizer_encode(t, many, N, true, &tokens), rc, message);
    assert_int_equal(tokens.n, n); /* as it was */
    lv_tokens_free(&tokens);
    free(many);
    lv_tokenizer_close(&t);
}

static void a_pattern_that_takes_more_steps_than_its_budget_ends_in_an_error(void **state)
{
    (void)state;
    lv_split_limits limits = lv_split_default_limits;
    limits.free_steps = 1; /* no search is free */
    limits.steps = 1000;
    limits.steps_per_byte = 0;
    fails_beyond_its_limits(limits, LV_ERR_FORMAT,
                            "tokenizer.json: its pattern takes too many steps at byte");
}

static void a_pattern_that_takes_more_time_than_its_budget_ends_in_an_error(void **state)
{
    (void)state;
    lv_split_limits limits = lv_split_default_limits;
    limits.s = limits.s_per_byte = 0;
    fails_beyond_its_limits(limits, LV_ERR_UNSUPPORTED,
                            "tokenizer.json: cutting a text of 4200 bytes by its pattern takes");
}

static void a_megabyte_of_one_word_or_of_marks_is_encoded(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    static const char *const units[] = {"a", " ", "7", "\xCC\x81\xCC\xA3", "\xE7\x8C\xAB"};
    lv_tokenizer *t = open_golden("json_qwen2");
    char *text = malloc(N + 8);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        lv_tokens tokens = {0};
        size_t step = strlen(units[i]), n = N / step * step;
        for (size_t at = 0; at < n; at += step) {
            memcpy(text + at, units[i], step);
        }
        assert_ok(lv_tokenizer_encode(t, text, n, true, &tokens));
        assert_true(tokens.n > 0 && tokens.begin[tokens.n - 1] < n);
        lv_tokens_free(&tokens);
    }
    free(text);
    lv_tokenizer_close(&t);
}

/* Each space is a token that takes in all spaces behind it: minutes if those are gone through anew
 * for each of them. */
static void a_megabyte_of_tokens_that_take_in_each_other_is_encoded(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    lv_tokenizer *t = NULL;
    cJSON *root = read_golden("tokenizers/json_gpt2/tokenizer.json"), *token = NULL;
    const char *json = "{\"id\": 990, \"content\": \" \", \"special\": false, \"rstrip\": true}";
    assert_ok(lv_json_parse(&token, json, strlen(json)));
    cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(root, "added_tokens"), token);
    assert_ok(open_tokenizer_json(&t, root));
    char *text = malloc(N);
    memset(text, ' ', N);
    lv_tokens tokens = {0};
    assert_ok(lv_tokenizer_encode(t, text, N, false, &tokens));
    assert_int_equal(tokens.n, N); /* as the tokenizers library has it: one for each */
    assert_int_equal(tokens.ids[0], 990);
    for (size_t i = 0; i < tokens.n; i++) {
        assert_int_equal(tokens.begin[i], i);
    }
    lv_tokens_free(&tokens);
    free(text);
    lv_tokenizer_close(&t);
    cJSON_Delete(root);
}

static void add_token(cJSON *root, int id, const char *content)
{
    cJSON *token = cJSON_CreateObject();
    cJSON_AddNumberToObject(token, "id", id);
    cJSON_AddStringToObject(token, "content", content);
    cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(root, "added_tokens"), token);
}

/* Of 300 random tokens, in a random text in which each place begins one: against a plain loop. */
static void the_longest_added_token_is_found_at_each_place(void **state)
{
    (void)state;
    enum { N_TOKENS = 300, N = 20000, FIRST_ID = 100000, MAX = 12 };
    cJSON *root = read_golden("tokenizers/json_gpt2/tokenizer.json");
    char token[N_TOKENS][MAX + 1] = {"\x01", "\x02", "\x03"}, text[N + 1] = {0};
    int n_tokens = 0;
    unsigned random = 1;
    lv_tokenizer *t = NULL;
    lv_tokens tokens = {0};
    while (n_tokens < N_TOKENS) {
        char *made = token[n_tokens];
        bool new = true;
        for (int k = 0; n_tokens >= 3 && k < 5 + n_tokens % 8; k++) {
            random = random * 1103515245 + 12345;
            made[k] = (char)(1 + (random >> 16) % (n_tokens % 2 ? 2 : 3));
        }
        for (int k = 0; k < n_tokens; k++) {
            new = new &&strcmp(token[k], made) != 0;
        }
        if (new) {
            add_token(root, FIRST_ID + n_tokens++, made);
        }
    }
    for (int i = 0; i < N; i++) {
        random = random * 1103515245 + 12345;
        text[i] = (char)(1 + (random >> 16) % 3);
    }
    assert_ok(open_tokenizer_json(&t, root));
    assert_ok(lv_tokenizer_encode(t, text, N, false, &tokens));
    size_t at = 0;
    for (size_t i = 0; i < tokens.n; i++) {
        int best = 0;
        for (int k = 0; k < n_tokens; k++) {
            bool fits = strncmp(text + at, token[k], strlen(token[k])) == 0;
            best = fits && (!best || strlen(token[k]) > strlen(token[best - 1])) ? k + 1 : best;
        }
        assert_int_equal(tokens.ids[i], FIRST_ID + best - 1);
        assert_int_equal(tokens.begin[i], at);
        at += strlen(token[best - 1]);
    }
    assert_int_equal(at, N);
    lv_tokens_free(&tokens);
    lv_tokenizer_close(&t);
    cJSON_Delete(root);
}

static void an_added_token_of_more_than_512_bytes_is_refused(void **state)
{
    (void)state;
    for (size_t n = 512; n <= 513; n++) {
        cJSON *root = read_golden("tokenizers/json_gpt2/tokenizer.json");
        char text[514] = {0};
        lv_tokenizer *t = NULL;
        memset(text, '#', n);
        add_token(root, 100000, text);
        int rc = open_tokenizer_json(&t, root);
        if (n == 512) {
            assert_ok(rc);
        } else {
            assert_fails(rc, LV_ERR_UNSUPPORTED, "tokenizer.json: an added token of 513 bytes");
        }
        lv_tokenizer_close(&t);
        cJSON_Delete(root);
    }
}

static void the_fingerprint_tells_patterns_and_added_tokens_apart(void **state)
{
    (void)state;
    lv_tokenizer *own = open_golden("json_gpt2"), *t = NULL;
    assert_ok(open_with_pre_tokenizer(&t, BYTES));
    assert_string_not_equal(lv_tokenizer_fingerprint(t), lv_tokenizer_fingerprint(own));
    lv_tokenizer_close(&t);
    cJSON *root = read_golden("tokenizers/json_gpt2/tokenizer.json"), *token = NULL;
    cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "added_tokens");
    const char *text = "{\"id\": 990, \"content\": \"<x>\", \"special\": true}";
    assert_ok(lv_json_parse(&token, text, strlen(text)));
    cJSON_AddItemToArray(list, token);
    assert_ok(open_tokenizer_json(&t, root)); /* special: no text becomes it */
    lv_tokenizer *plain = NULL;
    cJSON_ReplaceItemInObjectCaseSensitive(token, "special", cJSON_CreateFalse());
    assert_ok(open_tokenizer_json(&plain, root));
    assert_string_not_equal(lv_tokenizer_fingerprint(t), lv_tokenizer_fingerprint(plain));
    lv_tokenizer_close(&plain);
    lv_tokenizer_close(&t);
    lv_tokenizer_close(&own);
    cJSON_Delete(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_gives_the_references_ids_and_texts),
        cmocka_unit_test(a_copied_tokenizer_is_the_same),
        cmocka_unit_test(bos_is_put_in_front_only_where_the_files_say_so),
        cmocka_unit_test(begin_is_of_the_text_before_it_was_normalised),
        cmocka_unit_test(raw_decoding_shows_special_pieces_and_keeps_spaces),
        cmocka_unit_test(pre_tokenizers_that_are_not_implemented_are_refused_by_name),
        cmocka_unit_test(a_pattern_that_takes_more_steps_than_its_budget_ends_in_an_error),
        cmocka_unit_test(a_pattern_that_takes_more_time_than_its_budget_ends_in_an_error),
        cmocka_unit_test(a_megabyte_of_one_word_or_of_marks_is_encoded),
        cmocka_unit_test(a_megabyte_of_tokens_that_take_in_each_other_is_encoded),
        cmocka_unit_test(the_longest_added_token_is_found_at_each_place),
        cmocka_unit_test(an_added_token_of_more_than_512_bytes_is_refused),
        cmocka_unit_test(the_fingerprint_tells_patterns_and_added_tokens_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
