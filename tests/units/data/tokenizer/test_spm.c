/* SPDX-License-Identifier: Apache-2.0
 *
 * sentencepiece models that are damaged, hostile or of another kind, and the files beside them.
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "tests/units/data/text_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- a ModelProto, field by field ---- */

enum { BPE = 2, NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

typedef struct {
    char bytes[4096];
    size_t n;
} proto;

static void put_varint(proto *p, uint64_t v)
{
    for (; v > 0x7F; v >>= 7) {
        p->bytes[p->n++] = (char)(v | 0x80);
    }
    p->bytes[p->n++] = (char)v;
}

static void put_bytes(proto *p, int field, const void *bytes, size_t n)
{
    put_varint(p, (uint64_t)field << 3 | 2);
    put_varint(p, n);
    memcpy(p->bytes + p->n, bytes, n);
    p->n += n;
}

static void put_number(proto *p, int field, uint64_t v)
{
    put_varint(p, (uint64_t)field << 3);
    put_varint(p, v);
}

static void put_piece(proto *p, const char *text, float score, int type)
{
    proto piece = {.n = 0};
    put_bytes(&piece, 1, text, strlen(text));
    put_varint(&piece, 2 << 3 | 5);
    memcpy(piece.bytes + piece.n, &score, sizeof score);
    piece.n += sizeof score;
    put_number(&piece, 3, (uint64_t)type);
    put_bytes(p, 1, piece.bytes, piece.n);
}

static void put_type(proto *p, int model_type)
{
    proto spec = {.n = 0};
    put_number(&spec, 3, (uint64_t)model_type);
    put_bytes(p, 2, spec.bytes, spec.n);
}

/* unk, BOS, EOS, a, b, ab */
static proto small_model(void)
{
    proto p = {.n = 0};
    put_piece(&p, "<unk>", 0, UNKNOWN);
    put_piece(&p, "<s>", 0, CONTROL);
    put_piece(&p, "</s>", 0, CONTROL);
    put_piece(&p, "a", -2, NORMAL);
    put_piece(&p, "b", -3, NORMAL);
    put_piece(&p, "ab", -1, NORMAL);
    put_type(&p, BPE);
    return p;
}

static int open_bytes(lv_tokenizer **t, const char *bytes, size_t n)
{
    char *folder = make_folder();
    char *path = lv_path("%s/some.thing", folder);
    assert_ok(lv_file_write(path, bytes, n));
    int rc = lv_tokenizer_open(t, path);
    free(path);
    remove_folder(folder);
    return rc;
}

static void refuses(const proto *p, int error, const char *message)
{
    lv_tokenizer *t = NULL;
    assert_fails(open_bytes(&t, p->bytes, p->n), error, message);
    assert_null(t);
}

static void a_model_is_known_by_its_content(void **state)
{
    (void)state;
    lv_tokenizer *t = NULL;
    lv_tokens tokens = {0};
    proto p = small_model();
    assert_ok(open_bytes(&t, p.bytes, p.n));
    assert_int_equal(lv_tokenizer_bos(t), 1);
    assert_int_equal(lv_tokenizer_eos(t), 2);
    assert_true(lv_tokenizer_adds_bos(t));
    assert_non_null(strstr(lv_tokenizer_fingerprint(t), "legacy"));
    /* the dummy prefix is unknown and so is <; a run of unknown characters is one */
    assert_ok(lv_tokenizer_encode(t, "ab<s>aab", 8, true, &tokens));
    static const int32_t expected[] = {0, 5, 0, 3, 5};
    assert_int_equal(tokens.n, 5);
    assert_memory_equal(tokens.ids, expected, sizeof expected);
    lv_tokens_free(&tokens);
    lv_tokenizer_close(&t);
    assert_fails(open_bytes(&t, "PK\3\4", 4), LV_ERR_FORMAT, "neither a tokenizer.json");
    assert_fails(open_bytes(&t, "", 0), LV_ERR_FORMAT, "neither a tokenizer.json");
    char *folder = make_folder();
    assert_fails(lv_tokenizer_open(&t, folder), LV_ERR_IO, "no tokenizer.model");
    remove_folder(folder);
}

static void other_models_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const names[] = {
        [1] = "unigram", [3] = "word", [4] = "char", [9] = "unknown"};
    for (int type = 1; type <= 9; type++) {
        if (names[type]) {
            proto p = small_model();
            put_type(&p, type);
            refuses(&p, LV_ERR_UNSUPPORTED, names[type]);
        }
    }
    proto p = small_model(), rules = {.n = 0};
    put_bytes(&rules, 2, "rules", 5);
    put_bytes(&p, 5, rules.bytes, rules.n);
    refuses(&p, LV_ERR_UNSUPPORTED, "denormalizer_spec");
    p = small_model();
    put_piece(&p, "c", 0, 7);
    refuses(&p, LV_ERR_UNSUPPORTED, "the unknown type 7");
}

static void broken_pieces_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        float score;
        int type;
        const char *message;
    } cases[] = {
        {"", 0, NORMAL, "piece 6 is empty"},
        {"ab", 0, NORMAL, "two ids, 5 and 6"},
        {"c", NAN, NORMAL, "no number for a score"},
        {"<unk2>", 0, UNKNOWN, "both unknown"},
        {"<0x4>", 0, BYTE, "byte piece"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        proto p = small_model();
        put_piece(&p, cases[i].text, cases[i].score, cases[i].type);
        refuses(&p, LV_ERR_FORMAT, cases[i].message);
    }
    proto p = {.n = 0};
    put_piece(&p, "a", 0, NORMAL);
    put_type(&p, BPE);
    refuses(&p, LV_ERR_FORMAT, "no piece for what is unknown");
    p = small_model();
    proto spec = {.n = 0};
    put_number(&spec, 35, 1);
    put_bytes(&p, 2, spec.bytes, spec.n);
    refuses(&p, LV_ERR_FORMAT, "no piece <0x00>");
}

static void lengths_and_numbers_beyond_the_file_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } tails[] = {
        {"\x0A\x7F", 2},                                          /* longer than what is left */
        {"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 11},     /* 2^64 - 1 bytes */
        {"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 11},     /* more than 64 bits */
        {"\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 12}, /* a number that does not end */
        {"\x0D\x01\x02", 3},                                      /* half of four bytes */
        {"\x09\x01\x02", 3},                                      /* a part of eight */
        {"\x0B", 1},                                              /* a group */
        {"\x02\x01x", 3},                                         /* field 0 */
        {"\x80", 1},
    };
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        proto p = small_model();
        memcpy(p.bytes + p.n, tails[i].bytes, tails[i].n);
        p.n += tails[i].n;
        refuses(&p, LV_ERR_FORMAT, "not a sentencepiece model, or a damaged one");
    }
}

/* Whatever it is, it opens or it does not, and what opens encodes or says why not. */
static void use(const char *bytes, size_t n)
{
    static const char text[] = "  a <tool>dog \xEF\xAC\x81 \xE3\x80\x80 user-a\xFF"
                               "e\xCC\x81 xyz ";
    lv_tokenizer *t = NULL;
    lv_tokens tokens = {0};
    char *back = NULL;
    if (open_bytes(&t, bytes, n) < 0) {
        assert_null(t);
        return;
    }
    if (lv_tokenizer_encode(t, text, sizeof text - 1, true, &tokens) == LV_OK) {
        assert_ok(lv_tokenizer_decode(t, tokens.ids, tokens.n, &back));
        free(back);
    }
    lv_tokens_free(&tokens);
    lv_tokenizer_close(&t);
}

static void no_damage_to_a_real_model_does_harm(void **state)
{
    (void)state;
    char *bytes = NULL;
    size_t n = 0;
    uint32_t random = 1;
    char *path = source_path("tests/golden/text/tokenizers/spm_rules/tokenizer.model");
    assert_ok(lv_file_read(&bytes, &n, path));
    for (size_t length = 0; length < n; length += 1 + n / 150) {
        use(bytes, length);
    }
    for (int i = 0; i < 400; i++) {
        random = random * 1664525 + 1013904223;
        size_t at = i % 2 ? n - 1 - random % 600 : random % n; /* the rules are at the end */
        char was = bytes[at];
        bytes[at] = (char)(random >> 24);
        use(bytes, n);
        bytes[at] = was;
    }
    free(bytes);
    free(path);
}

/* The normaliser's rules: a trie of such units, and one string. */
static int encode_with_rules(const uint32_t *units, size_t n_units)
{
    proto p = small_model(), rules = {.n = 0}, spec = {.n = 0};
    uint32_t bytes = (uint32_t)(4 * n_units);
    lv_tokenizer *t = NULL;
    lv_tokens tokens = {0};
    for (int i = 0; i < 4; i++) {
        rules.bytes[rules.n++] = (char)(bytes >> 8 * i);
    }
    for (size_t k = 0; k < n_units; k++) {
        for (int i = 0; i < 4; i++) {
            rules.bytes[rules.n++] = (char)(units[k] >> 8 * i);
        }
    }
    memcpy(rules.bytes + rules.n, "b", 2);
    rules.n += 2;
    put_bytes(&spec, 2, rules.bytes, rules.n);
    put_bytes(&p, 3, spec.bytes, spec.n);
    int rc = open_bytes(&t, p.bytes, p.n);
    assert_ok(rc);
    char text[3000];
    memset(text, 'a', sizeof text);
    rc = lv_tokenizer_encode(t, text, sizeof text, true, &tokens);
    if (rc == LV_OK) {
        assert_int_equal(tokens.ids[tokens.n - 1], 4); /* each a became a b */
    }
    lv_tokens_free(&tokens);
    lv_tokenizer_close(&t);
    return rc;
}

static void a_trie_that_leads_astray_is_refused(void **state)
{
    (void)state;
    enum { N = 256, LEAF = 1 << 8 };
    uint32_t units[N] = {0};
    units['a'] = 'a' | LEAF | 1 << 10; /* its value is at 'a' ^ 1 */
    units['a' ^ 1] = 1u << 31;
    assert_ok(encode_with_rules(units, N));
    units['a' ^ 1] = 1u << 31 | 99; /* a string behind the last one */
    assert_fails(encode_with_rules(units, N), LV_ERR_FORMAT, "precompiled_charsmap");
    units['a'] = 'a' | LEAF | 1000 << 10; /* a value behind the last unit */
    assert_fails(encode_with_rules(units, N), LV_ERR_FORMAT, "precompiled_charsmap");
    units['a'] = 'a' | (uint32_t)'a' << 10; /* in a circle */
    assert_fails(encode_with_rules(units, N), LV_ERR_FORMAT, "precompiled_charsmap");
    units[0] = (uint32_t)N << 10; /* out of it at once */
    assert_fails(encode_with_rules(units, N), LV_ERR_FORMAT, "precompiled_charsmap");
}

/* ---- the files beside it ---- */

static int open_with(lv_tokenizer **t, const char *name, const char *text)
{
    proto p = small_model();
    char *folder = make_folder();
    char *path = lv_path("%s/tokenizer.model", folder);
    assert_ok(lv_file_write(path, p.bytes, p.n));
    write_text(folder, name, text);
    int rc = lv_tokenizer_open(t, folder);
    free(path);
    remove_folder(folder);
    return rc;
}

static void added_tokens_come_from_the_files_beside_it(void **state)
{
    (void)state;
    lv_tokenizer *t = NULL;
    lv_tokens tokens = {0};
    assert_ok(open_with(&t, "added_tokens.json", "{\"<x>\": 7, \"<image>\": 6}"));
    assert_int_equal(lv_tokenizer_vocab_size(t), 8);
    assert_int_equal(lv_tokenizer_id(t, "<image>"), 6);
    assert_ok(lv_tokenizer_encode(t, "ab<x>ab<image>", 14, true, &tokens));
    static const int32_t expected[] = {0, 5, 7, 0, 5, 0, 3, 0}; /* <image> is characters */
    assert_int_equal(tokens.n, 8);
    assert_memory_equal(tokens.ids, expected, sizeof expected);
    lv_tokens_free(&tokens);
    lv_tokenizer_close(&t);
    assert_fails(open_with(&t, "added_tokens.json", "{\"<x>\": 5}"), LV_ERR_FORMAT, "piece \"ab\"");
    assert_fails(open_with(&t, "added_tokens.json", "{\"<x>\": -5}"), LV_ERR_FORMAT, "the id of");
    assert_fails(open_with(&t, "tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {}}}"),
                 LV_ERR_FORMAT, "is not an id");
}

static void what_of_the_config_is_not_implemented_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"{\"tokenizer_class\": \"T5Tokenizer\"}", "T5Tokenizer"},
        {"{\"add_eos_token\": true}", "add_eos_token"},
        {"{\"sp_model_kwargs\": {\"enable_sampling\": true}}", "sp_model_kwargs"},
        {"{\"added_tokens_decoder\": {\"6\": {\"content\": \"x\", \"single_word\": true}}}",
         "single_word"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_tokenizer *t = NULL;
        assert_fails(open_with(&t, "tokenizer_config.json", cases[i].json), LV_ERR_UNSUPPORTED,
                     cases[i].message);
        assert_null(t);
    }
}

static void the_fingerprint_is_that_of_the_tokenizer_json_of_the_same_pieces(void **state)
{
    (void)state;
    lv_tokenizer *fast = NULL, *slow = NULL;
    char *folder = data_path("llama");
    if (!folder) {
        skip();
    }
    char *model = lv_path("%s/tokenizer.model", folder);
    assert_ok(lv_tokenizer_open(&fast, folder));
    assert_ok(lv_tokenizer_open(&slow, model));
    assert_string_equal(lv_tokenizer_fingerprint(fast), lv_tokenizer_fingerprint(slow));
    lv_tokenizer_close(&slow);
    assert_ok(open_with(&slow, "tokenizer_config.json", "{\"legacy\": false}"));
    assert_non_null(strstr(lv_tokenizer_fingerprint(slow), "call"));
    lv_tokenizer_close(&slow);
    lv_tokenizer_close(&fast);
    free(model);
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_is_known_by_its_content),
        cmocka_unit_test(other_models_are_refused_by_name),
        cmocka_unit_test(broken_pieces_are_refused),
        cmocka_unit_test(lengths_and_numbers_beyond_the_file_are_refused),
        cmocka_unit_test(no_damage_to_a_real_model_does_harm),
        cmocka_unit_test(a_trie_that_leads_astray_is_refused),
        cmocka_unit_test(added_tokens_come_from_the_files_beside_it),
        cmocka_unit_test(what_of_the_config_is_not_implemented_is_refused_by_name),
        cmocka_unit_test(the_fingerprint_is_that_of_the_tokenizer_json_of_the_same_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
