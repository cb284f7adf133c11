/* SPDX-License-Identifier: Apache-2.0
 *
 * A template's JSON file and a text, split by fuzz_split. What opens makes prompts of records with
 * that text as question and answer.
 */
#include "tests/fuzz/prompt.h"
#include "tests/fuzz/support.h"

#include <stdlib.h>
#include <string.h>

static lv_tokenizer *tokenizer;

static void close_tokenizer(void)
{
    lv_tokenizer_close(&tokenizer);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    char *path = fuzz_source("configs/tokenizer");
    fuzz_must(lv_tokenizer_open(&tokenizer, path), "opening the tokenizer");
    free(path);
    return atexit(close_tokenizer);
}

static void check_prompts(const lv_template *template, const char *text)
{
    static const char *images[] = {"a.jpg", "b.jpg"};
    lv_turn turns[] = {{LV_ROLE_HUMAN, "<image>\nWhat?"},
                       {LV_ROLE_GPT, text},
                       {LV_ROLE_HUMAN, text},
                       {LV_ROLE_GPT, "Both."}};
    lv_record record = {.id = "", .n_images = 1, .images = images, .n_turns = 2, .turns = turns};
    fuzz_prompt(template, tokenizer, &record);
    record.system_prompt = text;
    record.n_turns = 4;
    fuzz_prompt(template, tokenizer, &record);
    record.n_images = 2;
    fuzz_prompt(template, tokenizer, &record);
    fuzz_question(template, tokenizer, text, 0);
    fuzz_question(template, tokenizer, text, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_parts parts = fuzz_split(data, n);
    lv_template *template = NULL, *again = NULL;
    const char *path = fuzz_write("template.json", parts.first, parts.n_first);
    if (lv_template_open(&template, path) < 0) {
        return 0;
    }
    char *text = fuzz_text(parts.second, parts.n_second);
    size_t name_bytes = strlen(lv_template_name(template));
    LV_CHECK(name_bytes > 0 && name_bytes < 128, "a name of %zu bytes", name_bytes);
    check_prompts(template, text);
    fuzz_must(lv_template_open(&again, path), "opening it again");
    LV_CHECK(strcmp(lv_template_name(template), lv_template_name(again)) == 0, "another name");
    lv_template_close(&again);
    lv_template_close(&template);
    free(text);
    return 0;
}
