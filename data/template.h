/* SPDX-License-Identifier: Apache-2.0
 *
 * Conversation templates: a record to token ids and the mask of what is learnt. The mask comes
 * from spans that are known while the prompt is built, never from token counts.
 *
 *   plain  <image> caption "\n"; caption and newline are learnt. The human's text is discarded.
 *   v1     system " USER: " question " ASSISTANT: " answer EOS, and again from "USER: "; learnt is
 *          what follows each "ASSISTANT:". A leading gpt turn is dropped.
 *
 * A record's own system_prompt stands in place of the template's. In a turn with an <image> mark
 * the mark comes to the front, on a line of its own, as in LLaVA's training; in a sample with
 * several images the marks stay where they are, each followed by a newline. Either way such a
 * turn is stripped of white space at its ends.
 */
#ifndef LV_DATA_TEMPLATE_H
#define LV_DATA_TEMPLATE_H

#include "data/record.h"
#include "data/tokenizer.h"

enum { LV_IMAGE_TOKEN = -200 }; /* the image's place among the tokens of a pack */

typedef struct lv_template lv_template;

/* lv_prompt: start it with {0}, may be filled again, end it with lv_prompt_free. */
typedef struct {
    size_t n_tokens, capacity;
    int32_t *tokens;     /* ids, LV_IMAGE_TOKEN where an image stands */
    uint8_t *supervised; /* 1: this token is a label */
    size_t n_supervised;
    size_t n_images;
    size_t n_words; /* of all turns, split at white space as Python's split() */
} lv_prompt;
void lv_prompt_free(lv_prompt *prompt);

/* lv_template_open: one of the names above.
 * fails  LV_ERR_CONFIG naming those that there are */
int lv_template_open(lv_template **out, const char *name);
void lv_template_close(lv_template **template);
const char *lv_template_name(const lv_template *template); /* borrowed; tells templates apart */

/* lv_template_encode: the training prompt of a record.
 * fails  LV_ERR_FORMAT with the reason for which the sample is rejected: turns that do not
 *        alternate, images and <image> marks that do not match, nothing supervised, ... */
int lv_template_encode(lv_prompt *out, const lv_template *template, const lv_tokenizer *tokenizer,
                       const lv_record *record);

/* lv_template_encode_question: the prompt for an answer that is still to be written.
 * in     question: may hold <image> marks; without one, n_images marks are put in front. Marks are
 *        placed as in training; plain takes its text as given
 * fails  LV_ERR_CONFIG if marks and n_images do not match */
int lv_template_encode_question(lv_prompt *out, const lv_template *template,
                                const lv_tokenizer *tokenizer, const char *question,
                                size_t n_images);

#endif
