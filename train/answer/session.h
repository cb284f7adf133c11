/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_session: a model that answers questions, several at once. A question may be asked at any time;
 * each step gives a token to all answers that are being written. An answer follows from its
 * question and its options alone, whatever else is asked.
 */
#ifndef LV_TRAIN_ANSWER_SESSION_H
#define LV_TRAIN_ANSWER_SESSION_H

#include "data/chat/template.h"
#include "train/model/llava/generate.h"

typedef struct lv_session lv_session;

typedef struct {
    lv_llava_options model;
    const char *template_name; /* see lv_template_open */
    const lv_aspect *aspect;   /* NULL: as the model was trained */
} lv_session_options;

/* lv_session_open: model, its tokenizer and the template.
 * fails  as lv_template_open, lv_llava_open, lv_tokenizer_open */
int lv_session_open(lv_session **out, const lv_session_options *options);
void lv_session_close(lv_session **session); /* and all its answers */

const lv_tokenizer *lv_session_tokenizer(const lv_session *session); /* borrowed */
const lv_template *lv_session_template(const lv_session *session);   /* borrowed */

/* lv_question: borrowed during lv_session_ask, but for context. */
typedef struct {
    const char *text;          /* may say where images stand with <image> */
    const char *const *images; /* [n_images] files: JPEG, PNG, WebP */
    size_t n_images;
    lv_generate_options options; /* the session sets eos_token_id: the tokenizer's */
    const char *const *stops;    /* [n_stops] texts or pieces that end the answer, beside EOS and
                                    the template's stop */
    size_t n_stops;
    /* the next n bytes of text that is certain (see text.h), whole characters; may be NULL. May not
     * call the session. */
    void (*on_text)(void *context, const char *text, size_t n);
    void *context;
} lv_question;

typedef enum {
    LV_ANSWER_OPEN, /* not at its end yet */
    LV_ANSWER_EOS,
    LV_ANSWER_STOP,
    LV_ANSWER_LENGTH, /* max_new_tokens, or the model's last position */
    LV_ANSWER_CANCELLED,
} lv_answer_end;

/* lv_answer: the session's, until it is released. */
typedef struct {
    const char *text; /* n_bytes, terminated: what of it is certain; at the end all */
    size_t n_bytes;
    const int32_t *tokens; /* [n_tokens] so far, without EOS */
    int64_t n_tokens;
    lv_answer_end end;
} lv_answer;

/* lv_session_ask: a question; its prompt is run at once.
 * out    answer, without a token yet
 * fails  LV_ERR_IO, LV_ERR_FORMAT naming the image; as lv_template_encode_question and
 *        lv_generator_add. Then nothing was asked, and the others go on */
int lv_session_ask(lv_session *session, const lv_answer **answer, const lv_question *question);

/* lv_session_count: answers that are not at their end. */
int64_t lv_session_count(const lv_session *session);

/* lv_session_step: a token for each of them.
 * fails  as lv_generator_step; after that the session can only be closed */
int lv_session_step(lv_session *session);

/* lv_session_cancel: end an answer where it is, with all its text; none if it is at its end.
 * fails  LV_ERR_MEMORY */
int lv_session_cancel(lv_session *session, const lv_answer *answer);

/* lv_session_release: free an answer, which ends it, and set it to NULL. */
void lv_session_release(lv_session *session, const lv_answer **answer);

#endif
