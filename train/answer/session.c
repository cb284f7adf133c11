/* SPDX-License-Identifier: Apache-2.0 */
#include "train/answer/session.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "train/answer/text.h"

#include <stdlib.h>
#include <string.h>

/* An answer as the session knows it; the first member is what the caller sees. */
typedef struct session_answer {
    lv_answer seen;
    int sequence; /* of the generator; -1: it has ended */
    lv_answer_text *text;
    int32_t *tokens;
    size_t capacity;
    void (*on_text)(void *context, const char *text, size_t n);
    void *context;
    struct session_answer *next;
} session_answer;

struct lv_session {
    lv_template *template;
    lv_llava *model;
    lv_tokenizer *tokenizer;
    lv_generator *generator;
    lv_vision_input vision;
    session_answer *answers;
    lv_new_token *new_tokens; /* [n_new_tokens] */
    size_t n_new_tokens;
};

static lv_aspect aspect_of(const lv_llava *model, const lv_aspect *wanted)
{
    const lv_aspect own = lv_llava_config_of(model)->aspect_pad ? LV_ASPECT_PAD : LV_ASPECT_SQUARE;
    return wanted ? *wanted : own;
}

int lv_session_open(lv_session **out, const lv_session_options *options)
{
    lv_session *s = calloc(1, sizeof *s);
    if (!s) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a session");
    }
    int rc = lv_template_open(&s->template, options->template_name);
    if (rc == LV_OK) rc = lv_llava_open(&s->model, &options->model);
    if (rc == LV_OK) rc = lv_tokenizer_open(&s->tokenizer, lv_llava_tokenizer_dir(s->model));
    if (rc == LV_OK) rc = lv_generator_create(&s->generator, s->model);
    if (rc < 0) {
        lv_session_close(&s);
        return rc;
    }
    lv_llava_vision_input(s->model, aspect_of(s->model, options->aspect), &s->vision);
    *out = s;
    return LV_OK;
}

static void answer_destroy(session_answer *a)
{
    lv_answer_text_destroy(&a->text);
    free(a->tokens);
    free(a);
}

void lv_session_close(lv_session **session)
{
    lv_session *s = *session;
    if (!s) {
        return;
    }
    while (s->answers) {
        session_answer *a = s->answers;
        s->answers = a->next;
        answer_destroy(a);
    }
    free(s->new_tokens);
    lv_generator_destroy(&s->generator);
    lv_template_close(&s->template);
    lv_tokenizer_close(&s->tokenizer);
    lv_llava_close(&s->model);
    free(s);
    *session = NULL;
}

const lv_tokenizer *lv_session_tokenizer(const lv_session *s)
{
    return s->tokenizer;
}

const lv_template *lv_session_template(const lv_session *s)
{
    return s->template;
}

/* ---- asking ---- */

static int read_image_file(lv_image *out, const char *path)
{
    char *bytes = NULL;
    size_t n = 0;
    int rc = lv_file_read(&bytes, &n, path);
    if (rc == LV_OK) {
        rc = lv_image_decode(out, (const uint8_t *)bytes, n);
        rc = rc < 0 ? lv_fail_within("%s", path) : rc;
        free(bytes);
    }
    return rc;
}

static int make_prompt(lv_batch *batch, const lv_session *s, const lv_question *q)
{
    lv_prompt prompt = {0};
    lv_image *images = calloc(q->n_images + 1, sizeof *images);
    int rc = images ? LV_OK : lv_fail(LV_ERR_MEMORY, "no memory for %zu images", q->n_images);
    for (size_t i = 0; rc == LV_OK && i < q->n_images; i++) {
        rc = read_image_file(&images[i], q->images[i]);
    }
    if (rc == LV_OK) {
        rc = lv_template_encode_question(&prompt, s->template, s->tokenizer, q->text, q->n_images);
    }
    if (rc == LV_OK) {
        rc = lv_batch_from_prompt(batch, prompt.tokens, prompt.n_tokens, images, (int)q->n_images,
                                  &s->vision);
    }
    lv_prompt_free(&prompt);
    for (size_t i = 0; images && i < q->n_images; i++) {
        lv_image_free(&images[i]);
    }
    free(images);
    return rc;
}

/* The question's stops and the template's. */
static int begin_text(lv_answer_text **text, const lv_session *s, const lv_question *q)
{
    const char *of_template = lv_template_stop(s->template);
    const char **stops = calloc(q->n_stops + 1, sizeof *stops);
    size_t n = 0;
    int rc = stops ? LV_OK : lv_fail(LV_ERR_MEMORY, "no memory for %zu stops", q->n_stops);
    for (size_t i = 0; rc == LV_OK && i < q->n_stops; i++) {
        stops[n++] = q->stops[i];
        rc = *q->stops[i] ? LV_OK : lv_fail(LV_ERR_CONFIG, "stop %zu is empty", i + 1);
    }
    if (rc == LV_OK && of_template) {
        stops[n++] = of_template;
    }
    if (rc == LV_OK) rc = lv_answer_text_create(text, s->tokenizer, stops, n);
    free(stops);
    return rc;
}

/* Room for a token of each answer, one of them new. */
static int reserve_new_tokens(lv_session *s)
{
    size_t n = (size_t)lv_generator_count(s->generator) + 1;
    if (n > s->n_new_tokens) {
        lv_new_token *more = realloc(s->new_tokens, n * sizeof *more);
        if (!more) {
            return lv_fail(LV_ERR_MEMORY, "no memory for %zu answers", n);
        }
        s->new_tokens = more;
        s->n_new_tokens = n;
    }
    return LV_OK;
}

int lv_session_ask(lv_session *s, const lv_answer **answer, const lv_question *q)
{
    lv_batch batch = {0};
    lv_generate_options options = q->options;
    options.eos_token_id = lv_tokenizer_eos(s->tokenizer);
    session_answer *a = calloc(1, sizeof *a);
    if (!a) {
        return lv_fail(LV_ERR_MEMORY, "no memory for an answer");
    }
    int rc = begin_text(&a->text, s, q);
    if (rc == LV_OK) rc = reserve_new_tokens(s);
    if (rc == LV_OK) rc = make_prompt(&batch, s, q);
    if (rc == LV_OK) rc = lv_generator_add(s->generator, &a->sequence, &batch, &options);
    lv_batch_free(&batch);
    if (rc < 0) {
        answer_destroy(a);
        return rc;
    }
    a->on_text = q->on_text;
    a->context = q->context;
    a->seen.text = "";
    a->next = s->answers;
    s->answers = a;
    *answer = &a->seen;
    return LV_OK;
}

/* ---- answering ---- */

int64_t lv_session_count(const lv_session *s)
{
    return lv_generator_count(s->generator);
}

static session_answer *of_sequence(const lv_session *s, int sequence)
{
    session_answer *a = s->answers;
    while (a && a->sequence != sequence) {
        a = a->next;
    }
    LV_CHECK(a, "no answer has the sequence %d", sequence);
    return a;
}

/* What became certain. */
static void tell(session_answer *a)
{
    const size_t told = a->seen.n_bytes;
    a->seen.text = lv_answer_text_certain(a->text, &a->seen.n_bytes);
    if (a->on_text && a->seen.n_bytes > told) {
        a->on_text(a->context, a->seen.text + told, a->seen.n_bytes - told);
    }
}

static int end_answer(session_answer *a, lv_answer_end end)
{
    int rc = lv_answer_text_finish(a->text);
    if (rc == LV_OK) {
        tell(a);
        a->seen.end = end;
    }
    a->sequence = -1;
    return rc;
}

static int append_token(session_answer *a, int32_t token)
{
    if ((size_t)a->seen.n_tokens == a->capacity) {
        size_t capacity = 2 * a->capacity + 64;
        int32_t *more = realloc(a->tokens, capacity * sizeof *more);
        if (!more) {
            return lv_fail(LV_ERR_MEMORY, "no memory for %zu tokens", capacity);
        }
        a->tokens = more;
        a->seen.tokens = more;
        a->capacity = capacity;
    }
    a->tokens[a->seen.n_tokens++] = token;
    return LV_OK;
}

static int add_token(lv_session *s, session_answer *a, const lv_new_token *new_token)
{
    bool stopped = false;
    if (new_token->is_eos) {
        return end_answer(a, LV_ANSWER_EOS);
    }
    int rc = append_token(a, new_token->token);
    if (rc == LV_OK) rc = lv_answer_text_add(a->text, new_token->token, &stopped);
    if (rc < 0) {
        return rc;
    }
    if (stopped || new_token->is_last) {
        if (!new_token->is_last) {
            lv_generator_remove(s->generator, a->sequence);
        }
        return end_answer(a, stopped ? LV_ANSWER_STOP : LV_ANSWER_LENGTH);
    }
    tell(a);
    return LV_OK;
}

int lv_session_step(lv_session *s)
{
    const int64_t n = lv_generator_count(s->generator);
    int rc = lv_generator_step(s->generator, s->new_tokens);
    for (int64_t i = 0; rc == LV_OK && i < n; i++) {
        rc = add_token(s, of_sequence(s, s->new_tokens[i].sequence), &s->new_tokens[i]);
    }
    return rc;
}

/* The session's own of what a caller has. */
static session_answer **find(lv_session *s, const lv_answer *answer)
{
    session_answer **a = &s->answers;
    while (*a && &(*a)->seen != answer) {
        a = &(*a)->next;
    }
    LV_CHECK(*a, "an answer that is not the session's");
    return a;
}

int lv_session_cancel(lv_session *s, const lv_answer *answer)
{
    session_answer *a = *find(s, answer);
    if (a->sequence < 0) {
        return LV_OK;
    }
    lv_generator_remove(s->generator, a->sequence);
    return end_answer(a, LV_ANSWER_CANCELLED);
}

void lv_session_release(lv_session *s, const lv_answer **answer)
{
    session_answer **link = find(s, *answer), *a = *link;
    if (a->sequence >= 0) {
        lv_generator_remove(s->generator, a->sequence);
    }
    *link = a->next;
    answer_destroy(a);
    *answer = NULL;
}
