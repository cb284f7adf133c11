/* SPDX-License-Identifier: Apache-2.0
 *
 * encode_samples TOKENIZER TEMPLATE SAMPLES.json: for check_templates.py. A sample, or a question
 * {"question": TEXT, "n_images": N}, gives a line of JSON:
 *   {"ids": [...], "mask": "0011...", "words": N}  or  {"reason": "why it is rejected"}
 */
#include "autograd/error.h"
#include "data/chat/template.h"
#include "data/json/json.h"

#include <stdio.h>
#include <stdlib.h>

static void print_prompt(const lv_prompt *prompt)
{
    printf("{\"ids\": [");
    for (size_t i = 0; i < prompt->n_tokens; i++) {
        printf("%s%d", i ? "," : "", (int)prompt->tokens[i]);
    }
    printf("], \"mask\": \"");
    for (size_t i = 0; i < prompt->n_tokens; i++) {
        putchar('0' + prompt->supervised[i]);
    }
    printf("\", \"words\": %zu}\n", prompt->n_words);
}

static int print_reason(void)
{
    cJSON *line = cJSON_CreateObject();
    char *text = NULL;
    if (line && cJSON_AddStringToObject(line, "reason", lv_error_message())) {
        text = lv_json_print_line(line);
    }
    cJSON_Delete(line);
    if (!text) {
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    puts(text);
    free(text);
    return LV_OK;
}

static int encode(lv_prompt *prompt, const lv_tokenizer *tokenizer, const lv_template *template,
                  const cJSON *sample)
{
    lv_record record = {0};
    const char *question = NULL;
    int64_t n_images = 0;
    int rc = lv_json_string(sample, "question", false, &question);
    rc = rc < 0 ? rc : lv_json_int(sample, "n_images", false, &n_images);
    if (rc == LV_OK && question) {
        return lv_template_encode_question(prompt, template, tokenizer, question, (size_t)n_images);
    }
    rc = rc < 0 ? rc : lv_record_parse(&record, sample);
    rc = rc < 0 ? rc : lv_template_encode(prompt, template, tokenizer, &record);
    lv_record_free(&record);
    return rc;
}

static int encode_all(const lv_tokenizer *tokenizer, const lv_template *template,
                      const cJSON *samples)
{
    lv_prompt prompt = {0};
    const cJSON *sample;
    int rc = LV_OK;
    cJSON_ArrayForEach (sample, samples) {
        rc = encode(&prompt, tokenizer, template, sample);
        if (rc == LV_OK) {
            print_prompt(&prompt);
        } else if (rc == LV_ERR_FORMAT) {
            rc = print_reason();
        }
        if (rc < 0) {
            break;
        }
    }
    lv_prompt_free(&prompt);
    return rc;
}

int main(int argc, char **argv)
{
    lv_tokenizer *tokenizer = NULL;
    lv_template *template = NULL;
    cJSON *samples = NULL;
    if (argc != 4) {
        fprintf(stderr, "usage: encode_samples TOKENIZER TEMPLATE SAMPLES.json\n");
        return 2;
    }
    int rc = lv_tokenizer_open(&tokenizer, argv[1]);
    rc = rc < 0 ? rc : lv_template_open(&template, argv[2]);
    rc = rc < 0 ? rc : lv_json_read(&samples, argv[3]);
    rc = rc < 0 ? rc : encode_all(tokenizer, template, samples);
    if (rc < 0) {
        fprintf(stderr, "encode_samples: %s\n", lv_error_message());
    }
    cJSON_Delete(samples);
    lv_template_close(&template);
    lv_tokenizer_close(&tokenizer);
    return rc < 0;
}
