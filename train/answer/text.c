/* SPDX-License-Identifier: Apache-2.0 */
#include "train/answer/text.h"

#include "autograd/error.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    char *text;
    size_t n_bytes;
    int32_t id; /* of the piece of that name, which may have no text; -1: none */
} answer_stop;

struct lv_answer_text {
    const lv_tokenizer *tokenizer;
    answer_stop *stops;
    size_t n_stops;
    int32_t *ids; /* those with a piece */
    size_t n_ids, capacity;
    char *bytes; /* NULL: none yet */
    size_t n_certain;
    bool stopped;
};

int lv_answer_text_create(lv_answer_text **out, const lv_tokenizer *tokenizer,
                          const char *const *stops, size_t n)
{
    lv_answer_text *t = calloc(1, sizeof *t);
    bool complete = t && (n == 0 || (t->stops = calloc(n, sizeof *t->stops)));
    for (size_t i = 0; complete && i < n; i++) {
        answer_stop *stop = &t->stops[t->n_stops++];
        stop->n_bytes = strlen(stops[i]);
        stop->id = lv_tokenizer_id(tokenizer, stops[i]);
        complete = (stop->text = strdup(stops[i]));
    }
    if (!complete) {
        lv_answer_text_destroy(&t);
        return lv_fail(LV_ERR_MEMORY, "no memory for an answer");
    }
    t->tokenizer = tokenizer;
    *out = t;
    return LV_OK;
}

void lv_answer_text_destroy(lv_answer_text **text)
{
    if (*text) {
        for (size_t i = 0; i < (*text)->n_stops; i++) {
            free((*text)->stops[i].text);
        }
        free((*text)->stops);
        free((*text)->ids);
        free((*text)->bytes);
        free(*text);
        *text = NULL;
    }
}

/* Where the first stop begins in a text of n bytes; n: nowhere. */
static size_t find_stop(const lv_answer_text *t, const char *text, size_t n)
{
    size_t first = n;
    for (size_t i = 0; i < t->n_stops; i++) {
        const char *at = memmem(text, n, t->stops[i].text, t->stops[i].n_bytes);
        first = at && (size_t)(at - text) < first ? (size_t)(at - text) : first;
    }
    return first;
}

/* How many of the last of n bytes may be the beginning of a stop. */
static size_t begun_bytes(const lv_answer_text *t, const char *text, size_t n)
{
    size_t most = 0;
    for (size_t i = 0; i < t->n_stops; i++) {
        const answer_stop *stop = &t->stops[i];
        size_t held = stop->n_bytes - 1 < n ? stop->n_bytes - 1 : n;
        while (held > 0 && memcmp(text + n - held, stop->text, held) != 0) {
            held--;
        }
        most = held > most ? held : most;
    }
    return most;
}

static int decode_again(lv_answer_text *t, bool is_last)
{
    char *text = NULL;
    size_t n_bytes = 0, n = 0;
    int rc = lv_tokenizer_decode_begun(t->tokenizer, t->ids, t->n_ids, &text, &n_bytes, &n);
    if (rc < 0) {
        return rc;
    }
    const size_t stop = find_stop(t, text, n_bytes);
    t->stopped = stop < n_bytes;
    if (t->stopped || is_last) {
        n = stop;
    } else {
        n -= begun_bytes(t, text, n);
    }
    LV_CHECK(n >= t->n_certain, "certain text of %zu bytes became %zu", t->n_certain, n);
    free(t->bytes);
    t->bytes = text;
    t->bytes[n] = '\0';
    t->n_certain = n;
    return LV_OK;
}

static int append_id(lv_answer_text *t, int32_t id)
{
    if (t->n_ids == t->capacity) {
        size_t capacity = 2 * t->capacity + 64;
        int32_t *more = realloc(t->ids, capacity * sizeof *more);
        if (!more) {
            return lv_fail(LV_ERR_MEMORY, "no memory for %zu tokens", capacity);
        }
        t->ids = more;
        t->capacity = capacity;
    }
    t->ids[t->n_ids++] = id;
    return LV_OK;
}

int lv_answer_text_add(lv_answer_text *t, int32_t token, bool *stopped)
{
    *stopped = false;
    for (size_t i = 0; i < t->n_stops; i++) {
        if (t->stops[i].id >= 0 && t->stops[i].id == token) {
            *stopped = true;
            return lv_answer_text_finish(t);
        }
    }
    if (!lv_tokenizer_has(t->tokenizer, token)) {
        return LV_OK;
    }
    int rc = append_id(t, token);
    if (rc == LV_OK) rc = decode_again(t, false);
    *stopped = t->stopped;
    return rc;
}

int lv_answer_text_finish(lv_answer_text *t)
{
    return t->stopped || t->n_ids == 0 ? LV_OK : decode_again(t, true);
}

const char *lv_answer_text_certain(const lv_answer_text *t, size_t *n)
{
    *n = t->n_certain;
    return t->bytes ? t->bytes : "";
}
