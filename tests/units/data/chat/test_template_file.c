/* SPDX-License-Identifier: Apache-2.0
 *
 * Templates from JSON files.
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/chat/template.h"
#include "data/json/json.h"
#include "tests/units/data/template_fixture.h"
#include "tests/units/data/text_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *folder;

static void prompts_are_equal(const lv_prompt *a, const lv_prompt *b)
{
    assert_int_equal(a->n_tokens, b->n_tokens);
    assert_memory_equal(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens);
    assert_memory_equal(a->supervised, b->supervised, a->n_tokens);
}

/* The file gives what the built-in template gives for every sample, or refuses it as well. */
static void file_equals_builtin(const char *name, const cJSON *samples)
{
    char *relative = lv_path("configs/templates/%s.json", name);
    char *path = source_path(relative);
    lv_template *file = NULL, *builtin = NULL;
    lv_prompt a = {0}, b = {0};
    const cJSON *one;
    int n = 0;
    assert_ok(lv_template_open(&file, path));
    assert_ok(lv_template_open(&builtin, name));
    cJSON_ArrayForEach (one, samples) {
        const cJSON *sample = lv_json_find(one, "sample");
        int rc = encode(&a, path, tokenizer, sample);
        assert_int_equal(rc, encode(&b, name, tokenizer, sample));
        if (rc == LV_OK) {
            prompts_are_equal(&a, &b);
            n++;
        }
    }
    assert_true(n > 0);
    assert_ok(lv_template_encode_question(&a, file, tokenizer, "q", 2));
    assert_ok(lv_template_encode_question(&b, builtin, tokenizer, "q", 2));
    prompts_are_equal(&a, &b);
    const char *stop = lv_template_stop(builtin);
    assert_string_equal(stop ? stop : "-", stop ? lv_template_stop(file) : "-");
    lv_prompt_free(&a);
    lv_prompt_free(&b);
    lv_template_close(&file);
    lv_template_close(&builtin);
    free(path);
    free(relative);
}

static void every_builtin_template_can_be_written_as_a_file(void **state)
{
    (void)state;
    static const char *const names[] = {"plain", "v1", "v0", "llama_2", "chatml"};
    cJSON *hard = read_golden("templates.json"), *crafted = read_golden("samples.json");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        file_equals_builtin(names[i], crafted);
        if (i > 0) {
            file_equals_builtin(names[i], lv_json_find(lv_json_find(hard, "v0"), "samples"));
        }
    }
    cJSON_Delete(hard);
    cJSON_Delete(crafted);
}

/* ---- names ---- */

#define QUESTION "\"question\": [{\"insert\": \"turn\"}]"
#define HUMAN_PART "\"human\": [{\"insert\": \"turn\"}]"
#define GPT_PART "\"gpt\": [{\"insert\": \"turn\", \"learnt\": true}]"
#define PARTS HUMAN_PART ", " GPT_PART ", " QUESTION

static int open_text(lv_template **out, const char *text)
{
    write_text(folder, "t.json", text);
    char *path = lv_path("%s/t.json", folder);
    int rc = lv_template_open(out, path);
    free(path);
    return rc;
}

static void a_name_comes_with_the_crc_of_the_file(void **state)
{
    (void)state;
    lv_template *template = NULL;
    char *first = NULL;
    /* zlib.crc32 of these bytes in Python */
    assert_ok(open_text(&template, "{\"name\": \"mine\", " PARTS "}"));
    assert_string_equal(lv_template_name(template), "mine crc32:eeb9367c");
    first = strdup(lv_template_name(template));
    lv_template_close(&template);
    assert_null(template);
    assert_ok(open_text(&template, "{\"name\": \"mine\",  " PARTS "}"));
    assert_string_not_equal(lv_template_name(template), first);
    lv_template_close(&template);
    assert_ok(open_text(&template, "{\"name\": \"a.b-c_d01234567890123456789012345678901234567890"
                                   "12345678901234\", " PARTS "}"));
    assert_true(strlen(lv_template_name(template)) < 128);
    lv_template_close(&template);
    free(first);
}

/* ---- refusals ---- */

static void refuses(const char *text, const char *message)
{
    lv_template *template = NULL;
    assert_fails(open_text(&template, text), LV_ERR_FORMAT, message);
    assert_non_null(strstr(lv_error_message(), "t.json"));
    assert_null(template);
}

static void a_file_is_refused_by_its_key(void **state)
{
    (void)state;
    refuses("[]", "expected an object, found an array");
    refuses("{\"name\": \"x\", " PARTS, "line");
    refuses("{" PARTS "}", "\"name\" is missing");
    refuses("{\"name\": \"a b\", " PARTS "}", "\"name\": expected 1 to 64 letters");
    refuses("{\"name\": \"\", " PARTS "}", "\"name\": expected 1 to 64 letters");
    refuses("{\"name\": \"x\", \"System\": \"\", " PARTS "}", "unknown key \"System\"");
    refuses("{\"name\": \"x\", \"system\": 3, " PARTS "}", "\"system\": expected a string");
    refuses("{\"name\": \"x\", \"system\": \"<image>\", " PARTS "}", "holds an <image> mark");
    refuses("{\"name\": \"x\", \"stop\": \"\", " PARTS "}", "\"stop\" is empty");
    refuses("{\"name\": \"x\", \"caption\": 1, " PARTS "}", "\"caption\": expected");
    refuses("{\"name\": \"x\", \"opening\": {}, " PARTS "}", "\"opening\": expected a list");
    refuses("{\"name\": \"x\", \"opening\": [\"a\"], " PARTS "}", "opening[0]: expected an object");
    refuses("{\"name\": \"x\", \"opening\": [{\"text\": \"a\"}, {\"words\": \"a\"}], " PARTS "}",
            "opening[1]: unknown key \"words\"");
    refuses("{\"name\": \"x\", \"opening\": [{}], " PARTS "}", "opening[0]: expected one of");
    refuses("{\"name\": \"x\", \"opening\": [{\"text\": \"a\", \"piece\": \"b\"}], " PARTS "}",
            "expected one of \"text\", \"piece\" and \"insert\"");
    refuses("{\"name\": \"x\", \"opening\": [{\"insert\": \"turns\"}], " PARTS "}",
            "expected system, turn, marks, eos or bos, found \"turns\"");
    refuses("{\"name\": \"x\", \"opening\": [{\"text\": \"a\", \"learnt\": 1}], " PARTS "}",
            "opening[0]: \"learnt\": expected");
    refuses("{\"name\": \"x\", \"opening\": [{\"text\": \"a\", \"learnt_tokens\": 0}], " PARTS "}",
            "opening[0]: \"learnt_tokens\": expected 1 to 1000");
    refuses("{\"name\": \"x\", \"opening\": [{\"insert\": \"eos\", \"learnt_tokens\": 1}], " PARTS
            "}",
            "opening[0]: \"learnt_tokens\" is for a \"text\"");
    refuses("{\"name\": \"x\", \"opening\": [{\"text\": \"\"}], " PARTS "}", "\"text\" is empty");
    refuses("{\"name\": \"x\", \"opening\": [{\"text\": \"an <image>\"}], " PARTS "}",
            "which stands in turns alone");
}

static void a_template_that_would_lose_text_is_refused(void **state)
{
    (void)state;
    refuses("{\"name\": \"x\", " GPT_PART ", " QUESTION "}", "\"human\": expected one");
    refuses("{\"name\": \"x\", " HUMAN_PART ", " QUESTION "}", "\"gpt\": expected one");
    refuses("{\"name\": \"x\", " HUMAN_PART ", " GPT_PART "}", "\"question\": expected one");
    refuses("{\"name\": \"x\", \"closing\": [{\"insert\": \"turn\"}], " PARTS "}",
            "\"closing\": expected no");
    refuses(
        "{\"name\": \"x\", \"human\": [{\"insert\": \"turn\"}, {\"insert\": \"marks\"}], " GPT_PART
        ", " QUESTION "}",
        "\"human\": expected one");
    refuses("{\"name\": \"x\", \"opening\": [{\"insert\": \"marks\"}], " PARTS "}",
            "marks are for \"human\" alone");
    refuses("{\"name\": \"x\", \"human\": [{\"insert\": \"marks\", \"learnt\": true}], " GPT_PART
            ", " QUESTION "}",
            "marks cannot be learnt");
    refuses("{\"name\": \"x\", \"between\": [{\"insert\": \"system\"}], " PARTS "}",
            "\"between\": the system text goes into");
    refuses("{\"name\": \"x\", \"opening\": [{\"insert\": \"system\"}], " PARTS "}",
            "training and answering would differ");
    refuses("{\"name\": \"x\", " HUMAN_PART ", " QUESTION ", \"gpt\": [{\"insert\": \"turn\"}]}",
            "\"gpt\": the turn is not \"learnt\": true");
}

static void a_file_of_too_many_parts_or_bytes_is_refused(void **state)
{
    (void)state;
    lv_template *template = NULL;
#define SIX                                                                                        \
    "{\"text\": \"a\"}, {\"text\": \"a\"}, {\"text\": \"a\"}, {\"text\": \"a\"}, "                 \
    "{\"text\": \"a\"}, {\"text\": \"a\"}"
    assert_ok(
        open_text(&template, "{\"name\": \"x\", \"opening\": [" SIX ", " SIX "], " PARTS "}"));
    lv_template_close(&template);
    refuses("{\"name\": \"x\", \"opening\": [" SIX ", " SIX ", {\"text\": \"a\"}], " PARTS "}",
            "\"opening\": more than 12 parts");
    size_t n = (1 << 20) + 1;
    char *spaces = malloc(n + 1);
    assert_non_null(spaces);
    memset(spaces, ' ', n);
    spaces[n] = '\0';
    refuses(spaces, "too many for a template");
    free(spaces);
}

static void a_name_with_a_slash_or_json_is_a_file(void **state)
{
    (void)state;
    lv_template *template = NULL;
    assert_fails(lv_template_open(&template, "no/such"), LV_ERR_IO, "no/such");
    assert_fails(lv_template_open(&template, "nosuch.json"), LV_ERR_IO, "nosuch.json");
    assert_fails(lv_template_open(&template, "json"), LV_ERR_CONFIG, "no template \"json\"");
    assert_fails(lv_template_open(&template, folder), LV_ERR_IO, folder);
}

static void a_sample_s_system_prompt_needs_a_place(void **state)
{
    (void)state;
    static const char sample[] =
        "{\"system_prompt\": \"Be.\", \"conversations\": [" HUMAN("q") "," GPT("a") "]}";
    lv_prompt prompt = {0};
    cJSON *root = NULL;
    write_text(folder, "bare.json", "{\"name\": \"bare\", " PARTS "}");
    char *path = lv_path("%s/bare.json", folder);
    assert_ok(lv_json_parse(&root, sample, strlen(sample)));
    assert_fails(encode(&prompt, path, tokenizer, root), LV_ERR_FORMAT,
                 "template bare has no place for it");
    cJSON_Delete(root);
    lv_prompt_free(&prompt);
    free(path);
}

static int open_all(void **state)
{
    folder = make_folder();
    return open_tokenizer(state);
}

static int close_all(void **state)
{
    remove_folder(folder);
    return close_tokenizer(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_builtin_template_can_be_written_as_a_file),
        cmocka_unit_test(a_name_comes_with_the_crc_of_the_file),
        cmocka_unit_test(a_file_is_refused_by_its_key),
        cmocka_unit_test(a_template_that_would_lose_text_is_refused),
        cmocka_unit_test(a_file_of_too_many_parts_or_bytes_is_refused),
        cmocka_unit_test(a_name_with_a_slash_or_json_is_a_file),
        cmocka_unit_test(a_sample_s_system_prompt_needs_a_place),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
