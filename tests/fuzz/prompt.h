/* SPDX-License-Identifier: Apache-2.0
 *
 * What must hold of every prompt that a template makes.
 */
#ifndef LV_TESTS_FUZZ_PROMPT_H
#define LV_TESTS_FUZZ_PROMPT_H

#include "data/chat/template.h"

/* fuzz_prompt: encodes the record twice; what is accepted is checked. */
void fuzz_prompt(const lv_template *template, const lv_tokenizer *tokenizer,
                 const lv_record *record);

/* fuzz_question: the prompt for an answer, with that many images. */
void fuzz_question(const lv_template *template, const lv_tokenizer *tokenizer, const char *question,
                   size_t n_images);

#endif
