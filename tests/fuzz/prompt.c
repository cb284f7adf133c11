/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/prompt.h"

#include "tests/fuzz/support.h"

#include <stdlib.h>
#include <string.h>

static void check_prompt(const lv_prompt *p, const lv_tokenizer *tokenizer)
{
    size_t n_supervised = 0, n_images = 0;
    char *text = NULL;
    for (size_t i = 0; i < p->n_tokens; i++) {
        bool image = p->tokens[i] == LV_IMAGE_TOKEN;
        LV_CHECK(image || (p->tokens[i] >= 0 && p->tokens[i] < lv_tokenizer_vocab_size(tokenizer)),
                 "token %zu is %d", i, p->tokens[i]);
        LV_CHECK(p->supervised[i] <= 1 && !(image && p->supervised[i]), "the mask of token %zu", i);
        n_supervised += p->supervised[i];
        n_images += image;
        if (!image) {
            fuzz_must(lv_tokenizer_decode_raw(tokenizer, &p->tokens[i], 1, &text),
                      "decoding one token");
            free(text);
        }
    }
    LV_CHECK(n_supervised == p->n_supervised && n_images == p->n_images,
             "%zu supervised and %zu images, but it says %zu and %zu", n_supervised, n_images,
             p->n_supervised, p->n_images);
}

static void check_equal(const lv_prompt *a, const lv_prompt *b)
{
    LV_CHECK(a->n_tokens == b->n_tokens && a->n_supervised == b->n_supervised &&
                 a->n_images == b->n_images && a->n_words == b->n_words,
             "the same record gives two prompts");
    for (size_t i = 0; i < a->n_tokens; i++) {
        LV_CHECK(a->tokens[i] == b->tokens[i] && a->supervised[i] == b->supervised[i],
                 "the same record gives two prompts, from token %zu", i);
    }
}

void fuzz_prompt(const lv_template *template, const lv_tokenizer *tokenizer,
                 const lv_record *record)
{
    lv_prompt prompt = {0}, again = {0};
    if (lv_template_encode(&prompt, template, tokenizer, record) == LV_OK) {
        check_prompt(&prompt, tokenizer);
        LV_CHECK(prompt.n_supervised > 0 && prompt.n_images == record->n_images,
                 "%zu supervised, %zu of %zu images", prompt.n_supervised, prompt.n_images,
                 record->n_images);
        fuzz_must(lv_template_encode(&again, template, tokenizer, record), "encoding it again");
        check_equal(&prompt, &again);
    }
    lv_prompt_free(&prompt);
    lv_prompt_free(&again);
}

void fuzz_question(const lv_template *template, const lv_tokenizer *tokenizer, const char *question,
                   size_t n_images)
{
    lv_prompt prompt = {0};
    if (lv_template_encode_question(&prompt, template, tokenizer, question, n_images) == LV_OK) {
        check_prompt(&prompt, tokenizer);
        LV_CHECK(prompt.n_images == n_images && prompt.n_supervised == 0,
                 "a question with %zu of %zu images and %zu labels", prompt.n_images, n_images,
                 prompt.n_supervised);
    }
    lv_prompt_free(&prompt);
}
