/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "tests/units/data/text_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MARKER "\xE2\x96\x81"

static lv_tokens encode(const lv_tokenizer *with, const char *text, size_t n, bool first)
{
    lv_tokens tokens = {0};
    assert_ok(lv_tokenizer_encode(with, text, n, first, &tokens));
    return tokens;
}

static bool has_ids(const lv_tokens *tokens, const cJSON *ids)
{
    const cJSON *id = ids->child;
    bool same = (int)tokens->n == cJSON_GetArraySize(ids);
    for (size_t i = 0; same && i < tokens->n; i++, id = id->next) {
        same = tokens->ids[i] == (int32_t)id->valuedouble;
    }
    return same;
}

/* Merges in the form of newer files. */
static void set_merges_as_pairs(cJSON *root)
{
    cJSON *model = cJSON_GetObjectItemCaseSensitive(root, "model");
    cJSON *pairs = cJSON_CreateArray();
    const cJSON *merge;
    cJSON_ArrayForEach (merge, lv_json_find(model, "merges")) {
        char *left = strdup(merge->valuestring);
        char *space = strchr(left, ' ');
        *space = '\0';
        cJSON_AddItemToArray(pairs, cJSON_CreateStringArray((const char *[]){left, space + 1}, 2));
        free(left);
    }
    cJSON_ReplaceItemInObjectCaseSensitive(model, "merges", pairs);
}

/* ---- encoding ---- */

static void each_marker_rule_gives_the_reference_ids(void **state)
{
    (void)state;
    cJSON *golden = read_golden("encode.json");
    const cJSON *rule;
    cJSON_ArrayForEach (rule, lv_json_find(golden, "ids")) {
        lv_tokenizer *variant = NULL;
        cJSON *root = committed_tokenizer_file();
        if (strcmp(rule->string, "legacy") != 0) {
            set_metaspace(root, rule->string);
            set_merges_as_pairs(root);
        }
        assert_ok(open_tokenizer_json(&variant, root));
        assert_non_null(strstr(lv_tokenizer_fingerprint(variant), rule->string));
        const cJSON *ids = rule->child;
        const cJSON *text;
        cJSON_ArrayForEach (text, lv_json_find(golden, "texts")) {
            lv_tokens tokens = encode(variant, text->valuestring, strlen(text->valuestring), true);
            if (!has_ids(&tokens, ids)) {
                fail_msg("rule %s: other ids for \"%s\"", rule->string, text->valuestring);
            }
            lv_tokens_free(&tokens);
            ids = ids->next;
        }
        lv_tokenizer_close(&variant);
        cJSON_Delete(root);
    }
    cJSON_Delete(golden);
}

static void only_the_rule_first_asks_where_a_chunk_stands(void **state)
{
    (void)state;
    static const char *const rules[] = {"first", "always", "never"};
    for (int i = 0; i < 3; i++) {
        lv_tokenizer *variant = NULL;
        cJSON *root = committed_tokenizer_file();
        set_metaspace(root, rules[i]);
        assert_ok(open_tokenizer_json(&variant, root));
        lv_tokens head = encode(variant, "dog", 3, true), later = encode(variant, "dog", 3, false);
        assert_int_equal(head.ids[0] == lv_tokenizer_id(variant, MARKER "dog"), i != 2);
        assert_int_equal(later.ids[0] == lv_tokenizer_id(variant, MARKER "dog"), i == 1);
        lv_tokens_free(&head);
        lv_tokens_free(&later);
        lv_tokenizer_close(&variant);
        cJSON_Delete(root);
    }
    lv_tokens later = encode(tokenizer, "dog", 3, false); /* legacy */
    assert_int_equal(later.ids[0], lv_tokenizer_id(tokenizer, MARKER "dog"));
    lv_tokens_free(&later);
}

/* Texts between separator lines, and a line of ids for each. */
static void llamas_own_vectors_match(const char *file)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char *texts = NULL, *lines = NULL;
    size_t n = 0, n_cases = 0;
    lv_tokenizer *llama = NULL;
    char *folder = data_path("llama");
    if (!folder) {
        skip();
    }
    char *in = lv_path("%s/llama-spm.inp", folder), *out = lv_path("%s/llama-spm.out", folder);
    assert_ok(lv_file_read(&texts, &n, in));
    assert_ok(lv_file_read(&lines, &n, out));
    char *path = lv_path("%s/%s", folder, file);
    assert_ok(lv_tokenizer_open(&llama, path));
    free(path);
    char *line = lines;
    for (char *text = texts, *end; (end = strstr(text, separator)); n_cases++) {
        lv_tokens tokens = encode(llama, text, (size_t)(end - text), true);
        for (size_t i = 0; i < tokens.n; i++) {
            char *behind = line;
            assert_int_equal(strtol(line, &behind, 10), tokens.ids[i]);
            assert_true(behind > line && !memchr(line, '\n', (size_t)(behind - line)));
            line = behind;
        }
        line += strspn(line, " ");
        assert_int_equal(*line, '\n');
        line++;
        lv_tokens_free(&tokens);
        text = end + strlen(separator);
    }
    assert_true(n_cases > 40);
    lv_tokenizer_close(&llama);
    free(texts);
    free(lines);
    free(in);
    free(out);
    free(folder);
}

static void llamas_own_vectors_match_with_the_tokenizer_json(void **state)
{
    (void)state;
    llamas_own_vectors_match("tokenizer.json");
}

static void llamas_own_vectors_match_with_the_tokenizer_model(void **state)
{
    (void)state;
    llamas_own_vectors_match("tokenizer.model");
}

static void begin_is_where_a_token_starts_in_the_text(void **state)
{
    (void)state;
    /* the marker, two words, a character of three bytes that has no piece, a broken byte */
    const char text[] = "two tree\xE7\x8C\xAB\xFFx";
    lv_tokens tokens = encode(tokenizer, text, sizeof text - 1, true);
    static const size_t begin[] = {0, 3, 8, 9, 10, 11, 11, 11, 12};
    assert_int_equal(tokens.n, sizeof begin / sizeof *begin);
    assert_memory_equal(tokens.begin, begin, sizeof begin);
    /* appended to, not replaced */
    assert_ok(lv_tokenizer_encode(tokenizer, "two", 3, true, &tokens));
    assert_int_equal(tokens.n, sizeof begin / sizeof *begin + 1);
    assert_int_equal(tokens.begin[tokens.n - 1], 0);
    lv_tokens_free(&tokens);
}

/* The expectations are what Python's bytes.decode("utf-8", "replace") gives. */
static void invalid_utf8_is_replaced_as_python_does(void **state)
{
    (void)state;
#define R "\xEF\xBF\xBD"
    static const struct {
        const char *text, *same_as;
    } cases[] = {
        {"\x80", R},
        {"a\xFF\xFE", "a" R R},
        {"\xE2\x96", R},
        {"\xE2\x96"
         "a",
         R "a"},
        {"\xC0\xAF", R R},
        {"\xED\xA0\x80", R R R},
        {"\xF0\x9F\x98", R},
        {"\xF0\x9F\xE2\x96\x81", R MARKER},
        {"\xF5\x80\x80\x80", R R R R},
        {"\xF4\x90\x80\x80", R R R R},
        {"\xE0\x80\x80", R R R},
        {"\xC3(", R "("},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_tokens broken = encode(tokenizer, cases[i].text, strlen(cases[i].text), true);
        lv_tokens mended = encode(tokenizer, cases[i].same_as, strlen(cases[i].same_as), true);
        assert_int_equal(broken.n, mended.n);
        assert_memory_equal(broken.ids, mended.ids, broken.n * sizeof *broken.ids);
        lv_tokens_free(&broken);
        lv_tokens_free(&mended);
    }
}

static void special_pieces_in_a_text_are_characters(void **state)
{
    (void)state;
    const char text[] = "<s></s><unk><image>\0<0x41>";
    char *back = NULL;
    lv_tokens tokens = encode(tokenizer, text, strlen(text), true);
    for (size_t i = 0; i < tokens.n; i++) {
        assert_true(tokens.ids[i] > 2);
    }
    assert_ok(lv_tokenizer_decode(tokenizer, tokens.ids, tokens.n, &back));
    assert_string_equal(back, text);
    lv_tokens_free(&tokens);
    free(back);
    tokens = encode(tokenizer, "a\0b", 3, true); /* a zero byte is a byte */
    assert_int_equal(tokens.n, 3);
    assert_int_equal(tokens.ids[1], lv_tokenizer_id(tokenizer, "<0x00>"));
    lv_tokens_free(&tokens);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void a_megabyte_without_a_space_takes_no_time(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    char *text = malloc(N), *back = NULL;
    memset(text, 'a', N);
    double start_s = now_s();
    lv_tokens tokens = encode(tokenizer, text, N, true);
    assert_ok(lv_tokenizer_decode(tokenizer, tokens.ids, tokens.n, &back));
    double took_s = now_s() - start_s;
    assert_int_equal(strlen(back), N);
    assert_true(took_s < 10); /* quadratic: minutes; here: well under one */
    lv_tokens_free(&tokens);
    free(back);
    free(text);
}

static void a_merge_of_lower_rank_wins_and_the_leftmost_of_equals(void **state)
{
    (void)state;
    lv_tokenizer *small = NULL;
    cJSON *root = committed_tokenizer_file();
    char *back = NULL;
    set_member(root, "normalizer", "null");
    set_member(root, "post_processor", "null");
    set_member(root, "added_tokens", "[]");
    set_member(
        root, "model",
        "{\"type\": \"BPE\", \"unk_token\": \"?\", \"fuse_unk\": true, \"vocab\": {\"?\": 0, "
        "\"a\": 1, \"b\": 2, \"c\": 3, \"bc\": 4, \"ab\": 5, \"aa\": 6, \"abc\": 7}, "
        "\"merges\": [\"b c\", \"a b\", \"a a\", \"ab c\"]}");
    assert_ok(open_tokenizer_json(&small, root));
    lv_tokens tokens = encode(small, "abc aaa xyab", 12, true);
    static const int32_t expected[] = {1, 4, 0, 6, 1, 0, 5}; /* a bc ? aa a ?(" xy") ab */
    static const size_t begin[] = {0, 1, 3, 4, 6, 7, 10};
    assert_int_equal(tokens.n, 7);
    assert_memory_equal(tokens.ids, expected, sizeof expected);
    assert_memory_equal(tokens.begin, begin, sizeof begin);
    assert_ok(lv_tokenizer_decode(small, tokens.ids, tokens.n, &back));
    assert_string_equal(back, "abc?aaa?ab");
    lv_tokens_free(&tokens);
    lv_tokenizer_close(&small);
    free(back);

    cJSON *model = cJSON_GetObjectItemCaseSensitive(root, "model");
    set_member(model, "fuse_unk", "false");
    set_member(model, "ignore_merges", "true");
    assert_ok(open_tokenizer_json(&small, root));
    tokens = encode(small, "abc", 3, true); /* whole, though no merge leads there */
    assert_int_equal(tokens.n, 1);
    assert_int_equal(tokens.ids[0], 7);
    assert_ok(lv_tokenizer_encode(small, "xyx", 3, true, &tokens));
    assert_int_equal(tokens.n, 4);
    lv_tokens_free(&tokens);
    lv_tokenizer_close(&small);
    cJSON_Delete(root);
}

/* ---- decoding ---- */

static void decodes_to(const lv_tokenizer *with, const int32_t *ids, size_t n, const char *text)
{
    char *back = NULL;
    assert_ok(lv_tokenizer_decode(with, ids, n, &back));
    assert_string_equal(back, text);
    free(back);
}

static void decoding_joins_bytes_drops_special_pieces_and_one_space(void **state)
{
    (void)state;
    int32_t two = lv_tokenizer_id(tokenizer, MARKER "two");
    int32_t space = lv_tokenizer_id(tokenizer, MARKER);
    int32_t e7 = lv_tokenizer_id(tokenizer, "<0xE7>"), c8 = lv_tokenizer_id(tokenizer, "<0x8C>");
    int32_t ab = lv_tokenizer_id(tokenizer, "<0xAB>");
    decodes_to(tokenizer, NULL, 0, "");
    decodes_to(tokenizer, (int32_t[]){1, two, 2, two}, 4, "two two");
    decodes_to(tokenizer, (int32_t[]){space, two}, 2, " two");
    decodes_to(tokenizer, (int32_t[]){e7, c8, ab}, 3, "\xE7\x8C\xAB");
    decodes_to(tokenizer, (int32_t[]){e7, c8, two}, 3, "\xEF\xBF\xBD\xEF\xBF\xBD two");
    decodes_to(tokenizer, (int32_t[]){e7, c8, 2, ab}, 4, "\xE7\x8C\xAB");
    char *back = NULL;
    assert_fails(lv_tokenizer_decode(tokenizer, (int32_t[]){2048}, 1, &back), LV_ERR_FORMAT,
                 "no piece with the id 2048");
    assert_fails(lv_tokenizer_decode(tokenizer, (int32_t[]){-200}, 1, &back), LV_ERR_FORMAT,
                 "no piece with the id -200");
    assert_null(back);
}

/* ---- files ---- */

static void stops_are(const char *folder, const int32_t *expected, int n_expected)
{
    lv_tokenizer *t = NULL;
    int n = 0;
    assert_ok(lv_tokenizer_open(&t, folder));
    const int32_t *stops = lv_tokenizer_stops(t, &n);
    assert_int_equal(n, n_expected);
    assert_memory_equal(stops, expected, (size_t)n * sizeof *stops);
    assert_int_equal(lv_tokenizer_bos(t), 1); /* whatever the model's files say */
    assert_int_equal(lv_tokenizer_eos(t), 2);
    lv_tokenizer_close(&t);
}

/* The first conversions of LLaMA say 0 and 1 in config.json, where the tokenizer has 1 and 2. */
static void ids_of_the_model_stop_an_answer_and_are_never_encoded(void **state)
{
    (void)state;
    lv_tokenizer *t = NULL;
    cJSON *root = committed_tokenizer_file();
    char *folder = make_folder(), *text = cJSON_PrintUnformatted(root);
    write_text(folder, "tokenizer.json", text);
    stops_are(folder, (int32_t[]){2}, 1);
    write_text(folder, "config.json", "{\"bos_token_id\": 0, \"eos_token_id\": 1}");
    stops_are(folder, (int32_t[]){1, 2}, 2);
    write_text(folder, "config.json", "{\"text_config\": {\"eos_token_id\": [7, 2]}}");
    stops_are(folder, (int32_t[]){7, 2}, 2);
    write_text(folder, "generation_config.json", "{\"eos_token_id\": [77, 99999, 78]}");
    stops_are(folder, (int32_t[]){77, 99999, 78, 2}, 4);
    write_text(folder, "generation_config.json", "{}");
    stops_are(folder, (int32_t[]){2}, 1);
    write_text(folder, "generation_config.json", "{\"eos_token_id\": [1.5]}");
    assert_fails(lv_tokenizer_open(&t, folder), LV_ERR_FORMAT,
                 "generation_config.json: \"eos_token_id\"");
    cJSON_free(text);
    cJSON_Delete(root);
    remove_folder(folder);
}

/* Beside a tokenizer.json; what transformers 4.57 and 5 do is in the message. */
static void flags_agree_with_the_post_processor_or_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        bool adds; /* of the post_processor */
        const char *refused;
    } cases[] = {
        {"{}", true, NULL},
        {"{}", false, NULL},
        {"{\"add_bos_token\": true, \"add_eos_token\": false}", true, NULL},
        {"{\"add_bos_token\": false}", false, NULL},
        {"{\"tokenizer_class\": \"LlamaTokenizerFast\"}", true, NULL},
        {"{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}", false, NULL},
        {"{\"tokenizer_class\": \"LlamaTokenizer\", \"add_bos_token\": false}", true,
         "\"add_bos_token\" is false, but the post_processor of tokenizer.json puts BOS before a "
         "text: transformers 4.57 follows the flag, transformers 5 the post_processor"},
        {"{\"add_bos_token\": true}", false,
         "\"add_bos_token\" is true, but the post_processor of tokenizer.json puts no BOS before a "
         "text: transformers 4.57 follows the post_processor, too"},
        {"{\"tokenizer_class\": \"LlamaTokenizer\"}", false,
         "\"add_bos_token\" is true (it is not given), but"},
        {"{\"add_eos_token\": true}", true, "\"add_eos_token\" is true, but"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_tokenizer *t = NULL;
        cJSON *root = committed_tokenizer_file();
        char *folder = make_folder();
        if (!cases[i].adds) {
            set_member(root, "post_processor", "null");
        }
        char *text = cJSON_PrintUnformatted(root);
        write_text(folder, "tokenizer.json", text);
        write_text(folder, "tokenizer_config.json", cases[i].config);
        if (cases[i].refused) {
            assert_fails(lv_tokenizer_open(&t, folder), LV_ERR_UNSUPPORTED, cases[i].refused);
        } else {
            assert_ok(lv_tokenizer_open(&t, folder));
            assert_int_equal(lv_tokenizer_adds_bos(t), cases[i].adds);
        }
        lv_tokenizer_close(&t);
        cJSON_free(text);
        cJSON_Delete(root);
        remove_folder(folder);
    }
}

static void bos_and_eos_come_from_the_first_file_that_names_them(void **state)
{
    (void)state;
    lv_tokenizer *t = NULL;
    cJSON *root = committed_tokenizer_file();
    char *folder = make_folder();
    set_member(root, "post_processor", "null");
    char *text = cJSON_PrintUnformatted(root);
    write_text(folder, "tokenizer.json", text);
    write_text(folder, "alone.json", text);
    assert_ok(lv_tokenizer_open(&t, folder)); /* its own <s> and </s> */
    assert_int_equal(lv_tokenizer_bos(t), 1);
    assert_int_equal(lv_tokenizer_eos(t), 2);
    assert_false(lv_tokenizer_adds_bos(t));
    lv_tokenizer_close(&t);

    write_text(folder, "special_tokens_map.json", "{\"eos_token\": {\"content\": \"a\"}}");
    assert_ok(lv_tokenizer_open(&t, folder));
    assert_int_equal(lv_tokenizer_eos(t), lv_tokenizer_id(t, "a"));
    lv_tokenizer_close(&t);

    write_text(folder, "tokenizer_config.json",
               "{\"bos_token\": null, \"eos_token\": {\"content\": \"</s>\", \"lstrip\": false}, "
               "\"model_max_length\": 1000000000000000019884624838656}");
    assert_ok(lv_tokenizer_open(&t, folder)); /* special_tokens_map.json is the stronger one */
    assert_int_equal(lv_tokenizer_bos(t), 1);
    assert_int_equal(lv_tokenizer_eos(t), lv_tokenizer_id(t, "a"));
    lv_tokenizer_close(&t);

    write_text(folder, "tokenizer_config.json",
               "{\"eos_token\": \"b\", \"added_tokens_decoder\": {}}");
    assert_ok(lv_tokenizer_open(&t, folder)); /* but does not count beside a list of tokens */
    assert_int_equal(lv_tokenizer_eos(t), lv_tokenizer_id(t, "b"));
    lv_tokenizer_close(&t);

    char *file = lv_path("%s/tokenizer.json", folder), *alone = lv_path("%s/alone.json", folder);
    assert_ok(lv_tokenizer_open(&t, file)); /* the same as its folder */
    assert_int_equal(lv_tokenizer_eos(t), lv_tokenizer_id(t, "b"));
    lv_tokenizer_close(&t);
    assert_ok(lv_tokenizer_open(&t, alone));
    assert_int_equal(lv_tokenizer_eos(t), 2);
    lv_tokenizer_close(&t);

    write_text(folder, "tokenizer_config.json", "{\"eos_token\": \"<|end|>\"}");
    write_text(folder, "special_tokens_map.json", "{}");
    assert_fails(lv_tokenizer_open(&t, folder), LV_ERR_FORMAT, "\"<|end|>\" is not a piece");
    assert_null(t);
    free(file);
    free(alone);
    cJSON_free(text);
    cJSON_Delete(root);
    remove_folder(folder);
}

static void the_fingerprint_follows_the_ids_and_nothing_else(void **state)
{
    (void)state;
    lv_tokenizer *t = NULL;
    const char *own = lv_tokenizer_fingerprint(tokenizer);
    cJSON *root = committed_tokenizer_file();
    set_merges_as_pairs(root); /* another form, and (by cJSON) other white space */
    cJSON *image = NULL;
    const char *text = "{\"id\": 2048, \"content\": \"<image>\", \"special\": true}";
    assert_ok(lv_json_parse(&image, text, strlen(text)));
    cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(root, "added_tokens"), image);
    assert_ok(open_tokenizer_json(&t, root));
    assert_string_equal(lv_tokenizer_fingerprint(t), own);
    assert_int_equal(lv_tokenizer_vocab_size(t), 2049);
    assert_int_equal(lv_tokenizer_id(t, "<image>"), 2048);
    assert_int_equal(lv_tokenizer_id(tokenizer, "<image>"), -1);
    lv_tokenizer_close(&t);

    set_member(root, "added_tokens", "[]"); /* the same piece in the model's vocabulary */
    cJSON *model = cJSON_GetObjectItemCaseSensitive(root, "model");
    set_member(cJSON_GetObjectItemCaseSensitive(model, "vocab"), "<image>", "2048");
    assert_ok(open_tokenizer_json(&t, root));
    assert_string_equal(lv_tokenizer_fingerprint(t), own);
    lv_tokenizer_close(&t);

    set_metaspace(root, "first");
    assert_ok(open_tokenizer_json(&t, root));
    assert_string_not_equal(lv_tokenizer_fingerprint(t), own);
    lv_tokenizer_close(&t);
    cJSON_Delete(root);

    root = committed_tokenizer_file(); /* two merges the other way round */
    cJSON *merges =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(root, "model"), "merges");
    cJSON_AddItemToArray(merges, cJSON_DetachItemFromArray(merges, 0));
    assert_ok(open_tokenizer_json(&t, root));
    assert_string_not_equal(lv_tokenizer_fingerprint(t), own);
    lv_tokenizer_close(&t);
    cJSON_Delete(root);
}

static void refuses_change(const char *part, const char *key, const char *json, int error,
                           const char *message)
{
    lv_tokenizer *t = NULL;
    cJSON *root = committed_tokenizer_file();
    set_member(part ? cJSON_GetObjectItemCaseSensitive(root, part) : root, key, json);
    int rc = open_tokenizer_json(&t, root);
    cJSON_Delete(root);
    assert_fails(rc, error, message);
    assert_null(t);
}

static void what_is_not_implemented_is_refused_by_name(void **state)
{
    (void)state;
    const int error = LV_ERR_UNSUPPORTED;
    refuses_change(NULL, "pre_tokenizer", "{\"type\": \"ByteLevel\"}", error, "Prepend");
    refuses_change(NULL, "pre_tokenizer", "{\"type\": \"Whitespace\"}", error, "Whitespace");
    refuses_change(NULL, "pre_tokenizer", "{\"type\": \"Metaspace\"}", error, "Metaspace");
    refuses_change(NULL, "normalizer", "{\"type\": \"NFKC\"}", error, "NFKC");
    refuses_change(NULL, "normalizer",
                   "{\"type\": \"Replace\", \"pattern\": {\"Regex\": \" +\"}, \"content\": \"\"}",
                   error, "Regex");
    refuses_change(NULL, "normalizer",
                   "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"b\"}",
                   error, "Replace of \"a\"");
    refuses_change(NULL, "normalizer", "{\"type\": \"Prepend\", \"prepend\": \"_\"}", error,
                   "Prepend");
    refuses_change(NULL, "post_processor", "{\"type\": \"BertProcessing\"}", error, "BertProc");
    refuses_change("post_processor", "single",
                   "[{\"Sequence\": {\"id\": \"A\"}}, {\"SpecialToken\": {\"id\": \"</s>\"}}]",
                   error, "TemplateProcessing");
    refuses_change(NULL, "decoder", "{\"type\": \"WordPiece\"}", error, "WordPiece");
    refuses_change("model", "type", "\"Unigram\"", error, "Unigram");
    refuses_change("model", "dropout", "0.1", error, "dropout");
    refuses_change("model", "end_of_word_suffix", "\"</w>\"", error, "end_of_word_suffix");
    refuses_change("model", "new_rule", "true", error, "new_rule");
}

static void broken_files_are_refused(void **state)
{
    (void)state;
    const int error = LV_ERR_FORMAT;
    refuses_change("model", "merges", "[\"a\"]", error, "merge 0");
    refuses_change("model", "merges", "[[\"a\", \"b\", \"c\"]]", error, "merge 0");
    refuses_change("model", "merges", "[\"a qqqqq\"]", error, "not in the vocabulary");
    refuses_change("model", "merges", "{}", error, "\"merges\"");
    refuses_change("model", "vocab", "{}", error, "the vocabulary is empty");
    refuses_change("model", "vocab", "{\"a\": 1, \"b\": 1}", error, "the same id 1");
    refuses_change("model", "vocab", "{\"a\": -1}", error, "the id of piece \"a\"");
    refuses_change("model", "vocab", "{\"a\": 2000000000}", error, "the id of piece \"a\"");
    refuses_change("model", "vocab", "{\"a\": 1.5}", error, "the id of piece \"a\"");
    refuses_change("model", "vocab", "{\"a\": \"1\"}", error, "the id of piece \"a\"");
    refuses_change("model", "unk_token", "\"<none>\"", error, "unk_token");
    refuses_change("model", "byte_fallback", "1", error, "byte_fallback");
    refuses_change(NULL, "model", "null", error, "\"model\"");
    refuses_change(NULL, "added_tokens", "[{\"id\": 4, \"content\": \"zzz\"}]", error, "same id 4");
    refuses_change(NULL, "added_tokens", "[{\"id\": 2050, \"content\": \"a\"}]", error,
                   "added token \"a\"");
    refuses_change(NULL, "added_tokens", "[7]", error, "added_tokens");
    refuses_change(NULL, "normalizer", "{\"type\": \"Sequence\"}", error, "normalizers");
    refuses_change("post_processor", "special_tokens", "{}", error, "\"<s>\"");
    lv_tokenizer *t = NULL;
    char *folder = make_folder();
    assert_fails(lv_tokenizer_open(&t, folder), LV_ERR_IO, "there is no tokenizer.json");
    write_text(folder, "tokenizer.json", "[1, 2]");
    assert_fails(lv_tokenizer_open(&t, folder), LV_ERR_FORMAT, "\"model\"");
    write_text(folder, "tokenizer.json", "{\"model\": ");
    assert_fails(lv_tokenizer_open(&t, folder), LV_ERR_FORMAT, "tokenizer.json: line 1");
    remove_folder(folder);
}

static void a_real_story_tokenizer_names_its_own_end(void **state)
{
    (void)state;
    lv_tokenizer *story = NULL;
    char *folder = data_path("story");
    if (!folder) {
        skip();
    }
    assert_ok(lv_tokenizer_open(&story, folder));
    assert_int_equal(lv_tokenizer_id(story, "<|end_story|>"), lv_tokenizer_eos(story));
    assert_int_equal(lv_tokenizer_id(story, "<|start_story|>"), lv_tokenizer_bos(story));
    assert_true(lv_tokenizer_adds_bos(story));
    lv_tokenizer_close(&story);
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_marker_rule_gives_the_reference_ids),
        cmocka_unit_test(only_the_rule_first_asks_where_a_chunk_stands),
        cmocka_unit_test(llamas_own_vectors_match_with_the_tokenizer_json),
        cmocka_unit_test(llamas_own_vectors_match_with_the_tokenizer_model),
        cmocka_unit_test(begin_is_where_a_token_starts_in_the_text),
        cmocka_unit_test(invalid_utf8_is_replaced_as_python_does),
        cmocka_unit_test(special_pieces_in_a_text_are_characters),
        cmocka_unit_test(a_megabyte_without_a_space_takes_no_time),
        cmocka_unit_test(a_merge_of_lower_rank_wins_and_the_leftmost_of_equals),
        cmocka_unit_test(decoding_joins_bytes_drops_special_pieces_and_one_space),
        cmocka_unit_test(bos_and_eos_come_from_the_first_file_that_names_them),
        cmocka_unit_test(flags_agree_with_the_post_processor_or_are_refused),
        cmocka_unit_test(ids_of_the_model_stop_an_answer_and_are_never_encoded),
        cmocka_unit_test(the_fingerprint_follows_the_ids_and_nothing_else),
        cmocka_unit_test(what_is_not_implemented_is_refused_by_name),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(a_real_story_tokenizer_names_its_own_end),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
