/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_answer_text: the text of an answer while its tokens come. Certain is what no further token can
 * change: not the beginning of a character or of a run of byte pieces, and nothing that may begin a
 * stop. In the end it is the text of all tokens (lv_tokenizer_decode) up to the first stop. Ids
 * without a piece (padding of the vocabulary) have no text.
 */
#ifndef LV_TRAIN_ANSWER_TEXT_H
#define LV_TRAIN_ANSWER_TEXT_H

#include "data/tokenizer/tokenizer.h"

typedef struct lv_answer_text lv_answer_text;

/* lv_answer_text_create: in     tokenizer outlives it; stops[n], none empty, are copied.
 * fails  LV_ERR_MEMORY */
int lv_answer_text_create(lv_answer_text **out, const lv_tokenizer *tokenizer,
                          const char *const *stops, size_t n);
void lv_answer_text_destroy(lv_answer_text **text);

/* lv_answer_text_add: the next token. stopped: it completes a stop, or is the piece of that name;
 * the text is then complete.
 * fails  LV_ERR_MEMORY */
int lv_answer_text_add(lv_answer_text *text, int32_t token, bool *stopped);

/* lv_answer_text_finish: no more tokens come: all text is certain.
 * fails  LV_ERR_MEMORY */
int lv_answer_text_finish(lv_answer_text *text);

/* lv_answer_text_certain: UTF-8 of *n bytes, among which there may be a NUL, terminated, to which each call above may add; borrowed
 * until the next one. */
const char *lv_answer_text_certain(const lv_answer_text *text, size_t *n);

#endif
