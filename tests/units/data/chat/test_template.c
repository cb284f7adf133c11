/* SPDX-License-Identifier: Apache-2.0 */
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

#include <cmocka.h>

#define SYSTEM                                                                                     \
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives " \
    "helpful, detailed, and polite answers to the user's questions."

static int encode_text(lv_prompt *out, const char *name, const char *sample)
{
    cJSON *root = NULL;
    assert_ok(lv_json_parse(&root, sample, strlen(sample)));
    int rc = encode(out, name, tokenizer, root);
    cJSON_Delete(root);
    return rc;
}

static void rejects(const char *name, const char *sample, const char *reason)
{
    lv_prompt prompt = {0};
    assert_fails(encode_text(&prompt, name, sample), LV_ERR_FORMAT, reason);
    lv_prompt_free(&prompt);
}

/* ---- against LLaVA's own preprocessing ---- */

static void crafted_samples_have_llavas_ids_and_masks(void **state)
{
    (void)state;
    cJSON *golden = read_golden("samples.json");
    lv_prompt prompt = {0};
    const cJSON *one;
    int n_masked_by_llava = 0;
    cJSON_ArrayForEach (one, golden) {
        const char *name = NULL, *template = NULL, *mask = NULL;
        assert_ok(lv_json_string(one, "name", true, &name));
        assert_ok(lv_json_string(one, "template", true, &template));
        assert_ok(lv_json_string(one, "mask", false, &mask));
        assert_ok(encode(&prompt, template, tokenizer, lv_json_find(one, "sample")));
        has_ids(&prompt, lv_json_find(one, "ids"), name);
        if (mask) {
            has_mask(&prompt, mask, name);
        }
        /* where LLaVA loses the sample to a "tokenization mismatch", nothing is lost here */
        n_masked_by_llava += !mask;
        assert_true(prompt.n_supervised > 0);
    }
    assert_int_equal(n_masked_by_llava, 5);
    lv_prompt_free(&prompt);
    cJSON_Delete(golden);
}

static void coco_samples_have_llavas_ids_and_masks(void **state)
{
    (void)state;
    lv_tokenizer *llama = open_llama();
    if (!llama) {
        skip();
    }
    cJSON *golden = read_golden("coco.json");
    const cJSON *file;
    cJSON_ArrayForEach (file, golden) {
        const char *template = NULL;
        assert_ok(lv_json_string(file, "template", true, &template));
        coco_file_matches(file->string, template, lv_json_find(file, "samples"), llama);
    }
    cJSON_Delete(golden);
    lv_tokenizer_close(&llama);
}

/* The caption of RECIPE.md, from LLaVA's stage 1 data. */
static void a_caption_under_llama_is_as_published(void **state)
{
    (void)state;
    static const int32_t expected[] = {1,     -200, 1831, 21684, 2857, 15252, 17252, 29871,
                                       29941, 448,  297,  305,   9127, 3370,  1701,  314,
                                       1775,  509,  404,  304,   2496, 13};
    lv_tokenizer *llama = open_llama();
    lv_prompt prompt = {0};
    cJSON *sample = NULL;
    const char *text =
        "{\"image\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": \"x\\n<image>\"},"
        "{\"from\": \"gpt\", \"value\": \"select luxury furniture 3 - inch gel memory foam "
        "mattress topper\"}]}";
    if (!llama) {
        skip();
    }
    assert_ok(lv_json_parse(&sample, text, strlen(text)));
    assert_ok(encode(&prompt, "plain", llama, sample));
    assert_int_equal(prompt.n_tokens, sizeof expected / sizeof *expected);
    assert_memory_equal(prompt.tokens, expected, sizeof expected);
    assert_int_equal(prompt.n_supervised, prompt.n_tokens - 2);
    cJSON_Delete(sample);
    lv_prompt_free(&prompt);
    lv_tokenizer_close(&llama);
}

/* ---- our own cases ---- */

/* What a prompt must be, chunk by chunk: text up to a mark or EOS. */
static void has_chunks(const lv_prompt *prompt, const char *const *chunks, const int32_t *between)
{
    lv_tokens expected = {0};
    size_t at = 0;
    assert_int_equal(prompt->tokens[at++], lv_tokenizer_bos(tokenizer));
    for (size_t i = 0; chunks[i]; i++) {
        expected.n = 0;
        assert_ok(lv_tokenizer_encode(tokenizer, chunks[i], strlen(chunks[i]), true, &expected));
        assert_true(at + expected.n <= prompt->n_tokens);
        for (size_t k = 0; k < expected.n; k++) {
            assert_int_equal(prompt->tokens[at++], expected.ids[k]);
        }
        if (between[i]) {
            assert_true(at < prompt->n_tokens);
            assert_int_equal(prompt->tokens[at++], between[i]);
        }
    }
    assert_int_equal(at, prompt->n_tokens);
    lv_tokens_free(&expected);
}

static void marks_of_several_images_stay_each_with_a_newline(void **state)
{
    (void)state;
    lv_prompt prompt = {0};
    assert_ok(encode_text(
        &prompt, "v1", SAMPLE(TWO, HUMAN(" Is <image> like <image>\\nor not? ") "," GPT("No."))));
    assert_int_equal(prompt.n_images, 2);
    has_chunks(&prompt,
               (const char *[]){SYSTEM " USER: Is ", "\n like ", "\nor not? ASSISTANT: No.", NULL},
               (int32_t[]){-200, -200, 2});
    assert_ok(encode_text(&prompt, "v1", SAMPLE(TWO, HUMAN("<image><image>") "," GPT("No."))));
    has_chunks(&prompt, (const char *[]){SYSTEM " USER: ", "\n", " ASSISTANT: No.", NULL},
               (int32_t[]){-200, -200, 2});
    assert_ok(encode_text(&prompt, "plain",
                          SAMPLE(TWO, HUMAN("<image> and <image>") "," GPT("Two cats."))));
    has_chunks(&prompt, (const char *[]){"", "", "Two cats.\n", NULL}, (int32_t[]){-200, -200, 0});
    lv_prompt_free(&prompt);
}

/* Without legacy, text right after EOS gets no space marker; text after an image does. */
static void only_a_chunk_at_the_beginning_of_a_call_gets_the_first_marker(void **state)
{
    (void)state;
    static const char user[] = "USER: ", rest[] = "\nc ASSISTANT: d";
    lv_tokenizer *committed = tokenizer;
    lv_prompt prompt = {0};
    lv_tokens expected = {0};
    cJSON *file = committed_tokenizer_file();
    set_metaspace(file, "first");
    assert_ok(open_tokenizer_json(&tokenizer, file));
    assert_ok(encode_text(
        &prompt, "v1",
        SAMPLE(TWO, HUMAN("<image>a") "," GPT("b") "," HUMAN("<image>c") "," GPT("d"))));
    size_t eos = 0;
    while (prompt.tokens[eos] != 2) {
        eos++;
    }
    assert_ok(lv_tokenizer_encode(tokenizer, user, strlen(user), false, &expected));
    size_t n_user = expected.n;
    assert_ok(lv_tokenizer_encode(tokenizer, rest, strlen(rest), true, &expected));
    assert_int_equal(prompt.n_tokens, eos + 1 + expected.n + 2);
    assert_memory_equal(prompt.tokens + eos + 1, expected.ids, n_user * sizeof(int32_t));
    assert_int_equal(prompt.tokens[eos + 1 + n_user], LV_IMAGE_TOKEN);
    assert_memory_equal(prompt.tokens + eos + n_user + 2, expected.ids + n_user,
                        (expected.n - n_user) * sizeof(int32_t));
    lv_tokens_free(&expected);
    lv_prompt_free(&prompt);
    cJSON_Delete(file);
    lv_tokenizer_close(&tokenizer);
    tokenizer = committed;
}

static void a_sample_may_bring_its_own_system_prompt(void **state)
{
    (void)state;
    lv_prompt prompt = {0};
    assert_ok(encode_text(
        &prompt, "v1", SAMPLE("\"system_prompt\": \"Be brief.\", ", HUMAN("Hi.") "," GPT("Yes."))));
    has_chunks(&prompt, (const char *[]){"Be brief. USER: Hi. ASSISTANT: Yes.", NULL},
               (int32_t[]){2});
    rejects("v1", SAMPLE("\"system_prompt\": \"Be <image>.\", ", HUMAN("Hi.") "," GPT("Yes.")),
            "\"system_prompt\" holds an <image> mark");
    lv_prompt_free(&prompt);
}

static void images_and_marks_must_match(void **state)
{
    (void)state;
    rejects("v1", SAMPLE("", HUMAN("<image>\\nq") "," GPT("a")), "0 images, but 1 <image> mark");
    rejects("v1", SAMPLE(ONE, HUMAN("q") "," GPT("a")), "1 image, but 0 <image> marks");
    rejects("v1", SAMPLE(TWO, HUMAN("<image>q") "," GPT("a")), "2 images, but 1 <image> mark");
    rejects("v1", SAMPLE(ONE, HUMAN("<image>q") "," GPT("a") "," HUMAN("<image>") "," GPT("b")),
            "1 image, but 2 <image> marks");
    rejects("v1", SAMPLE(ONE, HUMAN("<im<image>age>") "," GPT("a")),
            "1 image, but 2 <image> marks");
    rejects("v1", SAMPLE(ONE, GPT("<image>") "," HUMAN("q") "," GPT("a")),
            "1 image, but 0 <image> marks");
    rejects("plain", SAMPLE("", HUMAN("<image>") "," GPT("a")), "0 images, but 1 <image> mark");
    rejects("plain", SAMPLE(ONE, HUMAN("<image>") "," GPT("a <image>")), "but 2 <image> marks");
    rejects("plain", SAMPLE(ONE, HUMAN("q") "," GPT("a")), "needs an <image> mark in the first");
}

static void turns_must_be_a_conversation(void **state)
{
    (void)state;
    rejects("v1", SAMPLE("", HUMAN("q") "," HUMAN("q")), "conversations[1]: the turns do not");
    rejects("v1", SAMPLE("", HUMAN("q") "," GPT("a") "," GPT("a")), "expected human, found gpt");
    rejects("v1", SAMPLE("", GPT("a") "," GPT("a")), "conversations[1]: the turns do not");
    rejects("v1", SAMPLE("", HUMAN("q") "," GPT("")), "conversations[1]: the answer is empty");
    rejects("v1", SAMPLE("", HUMAN("q") "," GPT("a") "," HUMAN("q") "," GPT("")),
            "conversations[3]: the answer is empty");
    rejects("v1", SAMPLE("", HUMAN("q")), "nothing in it is supervised");
    rejects("v1", SAMPLE("", GPT("a")), "nothing in it is supervised");
    rejects("plain", SAMPLE(ONE, HUMAN("<image>")), "needs two turns");
    rejects("plain", SAMPLE(ONE, HUMAN("<image>") "," GPT("a") "," HUMAN("q") "," GPT("a")),
            "the sample has 4");
    rejects("plain", SAMPLE(ONE, GPT("a") "," HUMAN("<image>")), "expected human, found gpt");
    rejects("plain", SAMPLE(ONE, HUMAN("<image>") "," GPT("")), "the answer is empty");
}

static void words_are_counted_as_python_splits(void **state)
{
    (void)state;
    lv_prompt prompt = {0};
    /* 3 + 2 + 4: white space of all kinds, but not U+200B; the dropped turn counts, as in LLaVA */
    assert_ok(
        encode_text(&prompt, "v1",
                    SAMPLE("", GPT(" I am\\u00a0here ") "," HUMAN("a\\u001cb\\u200bc") "," GPT(
                                   "\\u3000a\\u2009b\\n\\tc\\u0085d\\u3000"))));
    assert_int_equal(prompt.n_words, 9);
    lv_prompt_free(&prompt);
}

static void questions_end_where_the_answer_begins(void **state)
{
    (void)state;
    lv_template *v1 = NULL, *plain = NULL;
    lv_prompt prompt = {0};
    assert_ok(lv_template_open(&v1, "v1"));
    assert_ok(lv_template_open(&plain, "plain"));
    assert_string_equal(lv_template_name(v1), "v1");

    assert_ok(lv_template_encode_question(&prompt, v1, tokenizer, "What is this?", 1));
    has_chunks(&prompt, (const char *[]){SYSTEM " USER: ", "\nWhat is this? ASSISTANT:", NULL},
               (int32_t[]){-200, 0});
    assert_int_equal(prompt.n_supervised, 0);
    assert_ok(lv_template_encode_question(&prompt, v1, tokenizer, "What is <image>this?", 1));
    has_chunks(&prompt, (const char *[]){SYSTEM " USER: ", "\nWhat is this? ASSISTANT:", NULL},
               (int32_t[]){-200, 0});
    assert_ok(lv_template_encode_question(&prompt, v1, tokenizer, "Same?", 2));
    has_chunks(&prompt, (const char *[]){SYSTEM " USER: ", "\n", "\nSame? ASSISTANT:", NULL},
               (int32_t[]){-200, -200, 0});
    assert_ok(lv_template_encode_question(&prompt, v1, tokenizer, "Hi.", 0));
    has_chunks(&prompt, (const char *[]){SYSTEM " USER: Hi. ASSISTANT:", NULL}, (int32_t[]){0});
    assert_ok(lv_template_encode_question(&prompt, plain, tokenizer, "", 1));
    has_chunks(&prompt, (const char *[]){"", NULL}, (int32_t[]){-200});
    assert_ok(lv_template_encode_question(&prompt, plain, tokenizer, "a photo of ", 1));
    has_chunks(&prompt, (const char *[]){"", "a photo of ", NULL}, (int32_t[]){-200, 0});

    assert_fails(lv_template_encode_question(&prompt, v1, tokenizer, "<image> <image>", 1),
                 LV_ERR_CONFIG, "1 image, but 2 <image> marks");
    assert_fails(lv_template_encode_question(&prompt, v1, tokenizer, "<im<image>age>", 1),
                 LV_ERR_CONFIG, "1 image, but 2 <image> marks");
    assert_fails(lv_template_encode_question(&prompt, v1, tokenizer, "<image>", 0), LV_ERR_CONFIG,
                 "0 images, but 1 <image> mark");
    assert_fails(lv_template_encode_question(&prompt, v1, tokenizer, "", 0), LV_ERR_CONFIG,
                 "the question is empty");
    lv_prompt_free(&prompt);
    lv_template_close(&v1);
    lv_template_close(&plain);
}

/* The question is the beginning of what was trained: the answer follows without a seam. */
static void a_question_is_the_training_prompt_up_to_its_answer(void **state)
{
    (void)state;
    lv_template *v1 = NULL;
    lv_prompt asked = {0}, trained = {0};
    assert_ok(lv_template_open(&v1, "v1"));
    assert_ok(lv_template_encode_question(&asked, v1, tokenizer, "What is this?", 1));
    assert_ok(encode_text(&trained, "v1",
                          SAMPLE(ONE, HUMAN("What is this?\\n<image>") "," GPT("A cat."))));
    assert_true(asked.n_tokens < trained.n_tokens);
    assert_memory_equal(asked.tokens, trained.tokens, asked.n_tokens * sizeof *asked.tokens);
    assert_int_equal(trained.supervised[asked.n_tokens - 1], 0);
    assert_int_equal(trained.supervised[asked.n_tokens], 1);
    lv_prompt_free(&asked);
    lv_prompt_free(&trained);
    lv_template_close(&v1);
}

static void an_unknown_template_names_those_there_are(void **state)
{
    (void)state;
    lv_template *template = NULL;
    assert_fails(lv_template_open(&template, "v2"), LV_ERR_CONFIG,
                 "no template \"v2\"; there are: plain, v1, v0, llama_2, chatml, or a file");
    assert_null(template);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crafted_samples_have_llavas_ids_and_masks),
        cmocka_unit_test(coco_samples_have_llavas_ids_and_masks),
        cmocka_unit_test(a_caption_under_llama_is_as_published),
        cmocka_unit_test(marks_of_several_images_stay_each_with_a_newline),
        cmocka_unit_test(only_a_chunk_at_the_beginning_of_a_call_gets_the_first_marker),
        cmocka_unit_test(a_sample_may_bring_its_own_system_prompt),
        cmocka_unit_test(images_and_marks_must_match),
        cmocka_unit_test(turns_must_be_a_conversation),
        cmocka_unit_test(words_are_counted_as_python_splits),
        cmocka_unit_test(questions_end_where_the_answer_begins),
        cmocka_unit_test(a_question_is_the_training_prompt_up_to_its_answer),
        cmocka_unit_test(an_unknown_template_names_those_there_are),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
