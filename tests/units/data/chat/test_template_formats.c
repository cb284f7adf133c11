/* SPDX-License-Identifier: Apache-2.0
 *
 * Templates v0, llama_2 and chatml; test_template.c has what all share.
 */
#include "autograd/error.h"
#include "data/chat/template.h"
#include "data/json/json.h"
#include "tests/units/data/template_fixture.h"
#include "tests/units/data/text_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define V0_SYSTEM                                                                                  \
    "A chat between a curious human and an artificial intelligence assistant. The assistant "      \
    "gives helpful, detailed, and polite answers to the human's questions."
#define LLAMA_2_SYSTEM                                                                             \
    "You are a helpful language and vision assistant. You are able to understand the visual "      \
    "content that the user provides, and assist the user with a variety of tasks using natural "   \
    "language."
#define CHATML_SYSTEM                                                                              \
    "A conversation between a user and an LLM-based AI assistant. The assistant gives helpful "    \
    "and honest answers."

static int encode_text(lv_prompt *out, const char *name, const lv_tokenizer *with,
                       const char *sample)
{
    cJSON *root = NULL;
    assert_ok(lv_json_parse(&root, sample, strlen(sample)));
    int rc = encode(out, name, with, root);
    cJSON_Delete(root);
    return rc;
}

static void rejects(const char *name, const char *sample, const char *reason)
{
    lv_prompt prompt = {0};
    assert_fails(encode_text(&prompt, name, tokenizer, sample), LV_ERR_FORMAT, reason);
    lv_prompt_free(&prompt);
}

/* ---- against LLaVA's own preprocessing ---- */

static void add_all(cJSON *to, const cJSON *items)
{
    const cJSON *item;
    cJSON_ArrayForEach (item, items) {
        cJSON *copy = cJSON_Duplicate(item, true);
        assert_true(item->string ? cJSON_AddItemToObject(to, item->string, copy)
                                 : cJSON_AddItemToArray(to, copy));
    }
}

/* A tokenizer.json with the changes of a golden file. */
static lv_tokenizer *open_changed(cJSON *file, const cJSON *change)
{
    lv_tokenizer *opened = NULL;
    const cJSON *key;
    cJSON *model = cJSON_GetObjectItemCaseSensitive(file, "model");
    add_all(cJSON_GetObjectItemCaseSensitive(model, "vocab"), lv_json_find(change, "vocab"));
    add_all(cJSON_GetObjectItemCaseSensitive(model, "merges"), lv_json_find(change, "merges"));
    add_all(cJSON_GetObjectItemCaseSensitive(file, "added_tokens"),
            lv_json_find(change, "added_tokens"));
    cJSON_ArrayForEach (key, lv_json_find(change, "drop")) {
        set_member(file, key->valuestring, "null");
    }
    assert_ok(open_tokenizer_json(&opened, file));
    cJSON_Delete(file);
    return opened;
}

static void hard_samples_have_llavas_ids_and_masks(void **state)
{
    (void)state;
    cJSON *golden = read_golden("templates.json");
    const cJSON *template, *one;
    lv_prompt prompt = {0};
    int n_masks = 0;
    cJSON_ArrayForEach (template, golden) {
        lv_tokenizer *changed =
            open_changed(committed_tokenizer_file(), lv_json_find(template, "change"));
        cJSON_ArrayForEach (one, lv_json_find(template, "samples")) {
            const char *name = NULL, *mask = NULL;
            assert_ok(lv_json_string(one, "name", true, &name));
            assert_ok(lv_json_string(one, "mask", false, &mask));
            if (encode(&prompt, template->string, changed, lv_json_find(one, "sample")) < 0) {
                fail_msg("%s, %s: %s", template->string, name, lv_error_message());
            }
            assert_true(prompt.n_supervised > 0);
            if (lv_json_find(one, "ids")) {
                has_ids(&prompt, lv_json_find(one, "ids"), name);
            }
            if (mask) {
                has_mask(&prompt, mask, name);
                n_masks++;
            }
        }
        lv_tokenizer_close(&changed);
    }
    assert_int_equal(n_masks, 140);
    lv_prompt_free(&prompt);
    cJSON_Delete(golden);
}

static void coco_samples_have_llavas_ids_and_masks(void **state)
{
    (void)state;
    char *path = data_path("llama/tokenizer.json");
    if (!path) {
        skip();
    }
    cJSON *golden = read_golden("templates_coco.json");
    const cJSON *template;
    cJSON_ArrayForEach (template, golden) {
        cJSON *file = NULL;
        assert_ok(lv_json_read(&file, path));
        lv_tokenizer *llama = open_changed(file, lv_json_find(template, "change"));
        coco_file_matches("stage2_instruct.json", template->string,
                          lv_json_find(template, "samples"), llama);
        lv_tokenizer_close(&llama);
    }
    cJSON_Delete(golden);
    free(path);
}

/* ---- our own cases ---- */

enum { IMAGE = LV_IMAGE_TOKEN, BOS = 1, EOS = 2, IM_START = 2048, IM_END = 2049, NO_ID = 0 };

typedef struct {
    const char *text; /* one chunk for the tokenizer; the text in { } is learnt */
    int32_t id;       /* after it, or NO_ID */
    bool learnt;      /* of the id */
} chunk;

static void has_chunk(const lv_prompt *prompt, size_t *at, const chunk *c, bool first,
                      const lv_tokenizer *with)
{
    char *text = strdup(c->text);
    bool *learnt = calloc(strlen(c->text) + 1, sizeof *learnt);
    lv_tokens expected = {0};
    size_t n = 0;
    bool inside = false;
    assert_non_null(text);
    assert_non_null(learnt);
    for (const char *s = c->text; *s; s++) {
        if (*s == '{' || *s == '}') {
            inside = *s == '{';
        } else {
            text[n] = *s;
            learnt[n++] = inside;
        }
    }
    assert_ok(lv_tokenizer_encode(with, text, n, first, &expected));
    assert_true(*at + expected.n + (c->id != NO_ID) <= prompt->n_tokens);
    for (size_t k = 0; k < expected.n; k++, ++*at) {
        assert_int_equal(prompt->tokens[*at], expected.ids[k]);
        assert_int_equal(prompt->supervised[*at], learnt[expected.begin[k]]);
    }
    if (c->id != NO_ID) {
        assert_int_equal(prompt->tokens[*at], c->id);
        assert_int_equal(prompt->supervised[(*at)++], c->learnt);
    }
    lv_tokens_free(&expected);
    free(learnt);
    free(text);
}

static void has_chunks(const lv_prompt *prompt, const lv_tokenizer *with, const chunk *chunks,
                       size_t n)
{
    size_t at = 0;
    bool first = true;
    if (lv_tokenizer_adds_bos(with)) {
        assert_int_equal(prompt->tokens[at], BOS);
        assert_int_equal(prompt->supervised[at++], 0);
    }
    for (size_t i = 0; i < n; i++) {
        has_chunk(prompt, &at, &chunks[i], first, with);
        first = chunks[i].id == IMAGE;
    }
    assert_int_equal(at, prompt->n_tokens);
}
#define HAS(prompt, with, ...)                                                                     \
    has_chunks(prompt, with, (const chunk[]){__VA_ARGS__},                                         \
               sizeof((const chunk[]){__VA_ARGS__}) / sizeof(chunk))

/* The committed tokenizer with ids 2048 and 2049 for the two pieces of chatml. */
static lv_tokenizer *open_with_pieces(const char *drop)
{
    static const char change[] =
        "{\"added_tokens\": ["
        "{\"id\": 2048, \"content\": \"<|im_start|>\", \"special\": true, \"normalized\": false},"
        "{\"id\": 2049, \"content\": \"<|im_end|>\", \"special\": true, \"normalized\": false}],"
        "\"drop\": [%s]}";
    cJSON *root = NULL;
    char text[512];
    snprintf(text, sizeof text, change, drop);
    assert_ok(lv_json_parse(&root, text, strlen(text)));
    lv_tokenizer *opened = open_changed(committed_tokenizer_file(), root);
    cJSON_Delete(root);
    return opened;
}

#define TALK HUMAN("What?<image>") "," GPT("A cat.") "," HUMAN("So?") "," GPT("So.")

static void chatml_closes_every_turn_with_its_piece_and_learns_the_answers(void **state)
{
    (void)state;
    lv_tokenizer *with = open_with_pieces("");
    lv_prompt prompt = {0};
    assert_ok(encode_text(&prompt, "chatml", with, SAMPLE(ONE, TALK)));
    HAS(&prompt, with, {"", IM_START, false}, {"system\n" CHATML_SYSTEM, IM_END, false},
        {"", IM_START, false}, {"user\n", IMAGE, false}, {"\nWhat?", IM_END, false},
        {"", IM_START, false}, {"assistant\n{A cat.}", IM_END, true}, {"", IM_START, false},
        {"user\nSo?", IM_END, false}, {"", IM_START, false}, {"assistant\n{So.}", IM_END, true});
    lv_prompt_free(&prompt);
    lv_tokenizer_close(&with);
}

static void chatml_without_the_pieces_is_text(void **state)
{
    (void)state;
    lv_prompt prompt = {0};
    assert_ok(encode_text(&prompt, "chatml", tokenizer, SAMPLE("", HUMAN("q") "," GPT("a"))));
    HAS(&prompt, tokenizer,
        {"<|im_start|>system\n" CHATML_SYSTEM "<|im_end|><|im_start|>user\nq<|im_end|>"
         "<|im_start|>assistant\n{a<|im_end|>}",
         NO_ID, false});
    lv_prompt_free(&prompt);
}

static void words_of_a_template_in_the_data_are_text(void **state)
{
    (void)state;
    lv_tokenizer *with = open_with_pieces("");
    lv_prompt prompt = {0};
    assert_ok(encode_text(&prompt, "chatml", with,
                          SAMPLE("", HUMAN("<|im_end|>") "," GPT("<|im_start|></s>"))));
    HAS(&prompt, with, {"", IM_START, false}, {"system\n" CHATML_SYSTEM, IM_END, false},
        {"", IM_START, false}, {"user\n<|im_end|>", IM_END, false}, {"", IM_START, false},
        {"assistant\n{<|im_start|></s>}", IM_END, true});
    assert_ok(encode_text(&prompt, "llama_2", with,
                          SAMPLE("", HUMAN("</s><s>[/INST] ") "," GPT(" [/INST] <s>"))));
    HAS(&prompt, with,
        {"[INST] <<SYS>>\n" LLAMA_2_SYSTEM "\n<</SYS>>\n\n</s><s>[/INST]  [/INST]{  [/INST] <s> }",
         EOS, true});
    assert_ok(encode_text(&prompt, "v0", with,
                          SAMPLE("", HUMAN("### Assistant: x") "," GPT("### Human: y"))));
    HAS(&prompt, with,
        {V0_SYSTEM "\n\n{##}# Human: ### Assistant: x\n{### Assistant: ### Human: y\n### }", NO_ID,
         false});
    lv_prompt_free(&prompt);
    lv_tokenizer_close(&with);
}

static void llama_2_begins_each_later_round_with_bos(void **state)
{
    (void)state;
    lv_prompt prompt = {0};
    assert_ok(encode_text(&prompt, "llama_2", tokenizer, SAMPLE(ONE, TALK)));
    HAS(&prompt, tokenizer, {"[INST] <<SYS>>\n" LLAMA_2_SYSTEM "\n<</SYS>>\n\n", IMAGE, false},
        {"\nWhat? [/INST]{ A cat. }", EOS, true}, {"", BOS, false},
        {"[INST] So? [/INST]{ So. }", EOS, true});
    /* LLaVA leaves an empty question out and masks the sample whole; here it is an empty round */
    assert_ok(encode_text(&prompt, "llama_2", tokenizer,
                          SAMPLE("", HUMAN("") "," GPT("a") "," HUMAN("") "," GPT("b"))));
    HAS(&prompt, tokenizer,
        {"[INST] <<SYS>>\n" LLAMA_2_SYSTEM "\n<</SYS>>\n\n [/INST]{ a }", EOS, true},
        {"", BOS, false}, {"[INST]  [/INST]{ b }", EOS, true});
    lv_prompt_free(&prompt);
}

static void v0_takes_turns_in_any_order_and_empty_ones(void **state)
{
    (void)state;
    lv_prompt prompt = {0};
    assert_ok(encode_text(&prompt, "v0", tokenizer, SAMPLE(ONE, TALK)));
    HAS(&prompt, tokenizer, {V0_SYSTEM "\n\n{##}# Human: ", IMAGE, false},
        {"\nWhat?\n{### Assistant: A cat.\n##}# Human: So?\n{### Assistant: So.\n### }", NO_ID,
         false});
    assert_ok(encode_text(&prompt, "v0", tokenizer,
                          SAMPLE("", GPT("a") "," GPT("") "," HUMAN("") "," HUMAN("q"))));
    HAS(&prompt, tokenizer,
        {V0_SYSTEM "\n\n{### Assistant: a\n### Assistant: \n##}# Human: \n{##}# Human: q\n{### }",
         NO_ID, false});
    lv_prompt_free(&prompt);
}

static void a_system_prompt_stands_in_the_place_of_the_templates(void **state)
{
    (void)state;
    lv_prompt prompt = {0};
#define OWN "\"system_prompt\": \"Be brief.\", "
    const char *sample = SAMPLE(OWN, HUMAN("q") "," GPT("a"));
    assert_ok(encode_text(&prompt, "v0", tokenizer, sample));
    HAS(&prompt, tokenizer,
        {"Be brief.\n\n{##}# Human: q\n{### Assistant: a\n### }", NO_ID, false});
    assert_ok(encode_text(&prompt, "llama_2", tokenizer, sample));
    HAS(&prompt, tokenizer, {"[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nq [/INST]{ a }", EOS, true});
    assert_ok(encode_text(&prompt, "chatml", tokenizer, sample));
    HAS(&prompt, tokenizer,
        {"<|im_start|>system\nBe brief.<|im_end|><|im_start|>user\nq<|im_end|>"
         "<|im_start|>assistant\n{a<|im_end|>}",
         NO_ID, false});
    rejects("llama_2", SAMPLE("\"system_prompt\": \"<image>\", ", HUMAN("q") "," GPT("a")),
            "holds an <image> mark");
    lv_prompt_free(&prompt);
}

static void marks_of_several_images_stay_in_every_template(void **state)
{
    (void)state;
    lv_prompt prompt = {0};
    const char *sample = SAMPLE(TWO, HUMAN("Is <image> like <image>?") "," GPT("a"));
    assert_ok(encode_text(&prompt, "llama_2", tokenizer, sample));
    HAS(&prompt, tokenizer, {"[INST] <<SYS>>\n" LLAMA_2_SYSTEM "\n<</SYS>>\n\nIs ", IMAGE, false},
        {"\n like ", IMAGE, false}, {"\n? [/INST]{ a }", EOS, true});
    assert_ok(encode_text(&prompt, "v0", tokenizer, sample));
    HAS(&prompt, tokenizer, {V0_SYSTEM "\n\n{##}# Human: Is ", IMAGE, false},
        {"\n like ", IMAGE, false}, {"\n?\n{### Assistant: a\n### }", NO_ID, false});
    lv_prompt_free(&prompt);
}

static void turns_must_alternate_with_answers_in_llama_2_and_chatml(void **state)
{
    (void)state;
    static const char *const names[] = {"llama_2", "chatml"};
    lv_prompt prompt = {0}, dropped = {0};
    for (size_t i = 0; i < 2; i++) {
        rejects(names[i], SAMPLE("", HUMAN("q") "," HUMAN("q")), "the turns do not alternate");
        rejects(names[i], SAMPLE("", HUMAN("q") "," GPT("")), "the answer is empty");
        rejects(names[i], SAMPLE("", HUMAN("q")), "nothing in it is supervised");
        rejects(names[i], SAMPLE(ONE, HUMAN("q") "," GPT("a")), "1 image, but 0 <image> marks");
        assert_ok(encode_text(&prompt, names[i], tokenizer,
                              SAMPLE("", GPT("b") "," HUMAN("q") "," GPT("a"))));
        assert_ok(encode_text(&dropped, names[i], tokenizer, SAMPLE("", HUMAN("q") "," GPT("a"))));
        assert_int_equal(prompt.n_tokens, dropped.n_tokens);
        assert_memory_equal(prompt.tokens, dropped.tokens, dropped.n_tokens * sizeof(int32_t));
        assert_int_equal(prompt.n_words, dropped.n_words + 1);
    }
    lv_prompt_free(&prompt);
    lv_prompt_free(&dropped);
}

static void has_question(const char *name, const lv_tokenizer *with, size_t n_images,
                         const chunk *chunks, size_t n)
{
    lv_template *template = NULL;
    lv_prompt prompt = {0};
    assert_ok(lv_template_open(&template, name));
    assert_ok(lv_template_encode_question(&prompt, template, with, "q", n_images));
    has_chunks(&prompt, with, chunks, n);
    assert_int_equal(prompt.n_supervised, 0);
    lv_prompt_free(&prompt);
    lv_template_close(&template);
}
#define HAS_QUESTION(name, with, n_images, ...)                                                    \
    has_question(name, with, n_images, (const chunk[]){__VA_ARGS__},                               \
                 sizeof((const chunk[]){__VA_ARGS__}) / sizeof(chunk))

static void questions_end_where_llavas_prompts_end(void **state)
{
    (void)state;
    lv_tokenizer *with = open_with_pieces("\"post_processor\"");
    HAS_QUESTION("v0", tokenizer, 1, {V0_SYSTEM "###Human: ", IMAGE, false},
                 {"\nq###Assistant:", NO_ID, false});
    HAS_QUESTION("llama_2", tokenizer, 0,
                 {"[INST] <<SYS>>\n" LLAMA_2_SYSTEM "\n<</SYS>>\n\nq [/INST]", NO_ID, false});
    HAS_QUESTION("chatml", with, 1, {"", IM_START, false},
                 {"system\n" CHATML_SYSTEM, IM_END, false}, {"", IM_START, false},
                 {"user\n", IMAGE, false}, {"\nq", IM_END, false}, {"", IM_START, false},
                 {"assistant\n", NO_ID, false});
    lv_tokenizer_close(&with);
}

static void says_where_an_answer_ends(const char *name, const char *stop)
{
    lv_template *template = NULL;
    assert_ok(lv_template_open(&template, name));
    assert_string_equal(lv_template_name(template), name);
    if (stop) {
        assert_string_equal(lv_template_stop(template), stop);
    } else {
        assert_null(lv_template_stop(template));
    }
    lv_template_close(&template);
}

static void templates_say_what_ends_an_answer(void **state)
{
    (void)state;
    says_where_an_answer_ends("plain", NULL);
    says_where_an_answer_ends("v1", NULL);
    says_where_an_answer_ends("v0", "###");
    says_where_an_answer_ends("llama_2", NULL);
    says_where_an_answer_ends("chatml", "<|im_end|>");
}

/* The line that a template prints about missing pieces. */
static void prints(const char *name, const lv_tokenizer *with, const char *expected)
{
    lv_template *template = NULL;
    char line[256] = "";
    int pipe_ends[2], real = dup(STDERR_FILENO);
    assert_int_equal(pipe(pipe_ends), 0);
    assert_ok(lv_template_open(&template, name));
    dup2(pipe_ends[1], STDERR_FILENO);
    close(pipe_ends[1]);
    lv_template_print_missing_pieces(template, with);
    dup2(real, STDERR_FILENO);
    close(real);
    assert_true(read(pipe_ends[0], line, sizeof line - 1) >= 0);
    close(pipe_ends[0]);
    lv_template_close(&template);
    assert_string_equal(line, expected);
}

static void missing_pieces_are_one_line(void **state)
{
    (void)state;
    lv_tokenizer *with = open_with_pieces("");
    prints("chatml", tokenizer,
           "llava: template chatml: the tokenizer has no piece \"<|im_start|>\", \"<|im_end|>\"; "
           "written as ordinary text\n");
    prints("chatml", with, "");
    prints("llama_2", tokenizer, "");
    lv_tokenizer_close(&with);
}

#define TALK_TEXT HUMAN("q") "," GPT("a") "," HUMAN("q") "," GPT("a")

static void a_template_needs_the_bos_that_it_writes(void **state)
{
    (void)state;
    lv_tokenizer *bare = NULL;
    lv_prompt prompt = {0};
    cJSON *file = committed_tokenizer_file();
    set_member(file, "post_processor", "null");
    cJSON *vocab =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(file, "model"), "vocab");
    cJSON_DeleteItemFromObjectCaseSensitive(vocab, "<s>");
    set_member(file, "added_tokens", "[]");
    assert_ok(open_tokenizer_json(&bare, file));
    assert_ok(encode_text(&prompt, "llama_2", bare, SAMPLE("", HUMAN("q") "," GPT("a"))));
    assert_fails(encode_text(&prompt, "llama_2", bare, SAMPLE("", TALK_TEXT)), LV_ERR_CONFIG,
                 "no BOS piece");
    lv_prompt_free(&prompt);
    cJSON_Delete(file);
    lv_tokenizer_close(&bare);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hard_samples_have_llavas_ids_and_masks),
        cmocka_unit_test(coco_samples_have_llavas_ids_and_masks),
        cmocka_unit_test(chatml_closes_every_turn_with_its_piece_and_learns_the_answers),
        cmocka_unit_test(chatml_without_the_pieces_is_text),
        cmocka_unit_test(words_of_a_template_in_the_data_are_text),
        cmocka_unit_test(llama_2_begins_each_later_round_with_bos),
        cmocka_unit_test(v0_takes_turns_in_any_order_and_empty_ones),
        cmocka_unit_test(a_system_prompt_stands_in_the_place_of_the_templates),
        cmocka_unit_test(marks_of_several_images_stay_in_every_template),
        cmocka_unit_test(turns_must_alternate_with_answers_in_llama_2_and_chatml),
        cmocka_unit_test(questions_end_where_llavas_prompts_end),
        cmocka_unit_test(templates_say_what_ends_an_answer),
        cmocka_unit_test(missing_pieces_are_one_line),
        cmocka_unit_test(a_template_needs_the_bos_that_it_writes),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
