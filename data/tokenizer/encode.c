/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_tokenizer_encode: from a text to parts between added tokens, from those, by the kind of
 * tokenizer, to words, and from the words' symbols to tokens.
 */
#include "data/tokenizer/internal.h"

#include "autograd/error.h"

#include <stdlib.h>
#include <string.h>

/* ---- tokens ---- */

int lv_encoder_emit(lv_encoder *e, int32_t id, size_t begin)
{
    lv_tokens *tokens = e->out;
    if (tokens->n == tokens->capacity) {
        size_t capacity = 2 * tokens->capacity + 64;
        int32_t *ids = realloc(tokens->ids, capacity * sizeof *ids);
        tokens->ids = ids ? ids : tokens->ids;
        size_t *begins = ids ? realloc(tokens->begin, capacity * sizeof *begins) : NULL;
        tokens->begin = begins ? begins : tokens->begin;
        if (!begins) {
            return lv_fail(LV_ERR_MEMORY, "no memory for %zu tokens", capacity);
        }
        tokens->capacity = capacity;
    }
    tokens->ids[tokens->n] = id;
    tokens->begin[tokens->n++] = begin;
    return LV_OK;
}

void lv_tokens_free(lv_tokens *tokens)
{
    free(tokens->ids);
    free(tokens->begin);
    *tokens = (lv_tokens){0};
}

/* A character that is no piece: its bytes, or unk, one for a run of them. */
static int emit_unknown(lv_encoder *e, const lv_span *word, size_t at, size_t n)
{
    const lv_vocab *v = &e->tokenizer->vocab;
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && v->byte_fallback && i < n; i++) {
        rc = lv_encoder_emit(e, v->byte_ids[(unsigned char)word->bytes[at + i]],
                             lv_span_begin(word, at + i));
    }
    if (!v->byte_fallback && !e->after_unk) {
        rc = lv_encoder_emit(e, v->unk, lv_span_begin(word, at));
    }
    e->after_unk = true;
    return rc;
}

/* A sentencepiece model's unused pieces are merged, and then taken apart where they were joined. */
static int emit_piece(lv_encoder *e, const lv_span *word, int32_t id, size_t at, size_t n)
{
    const lv_tokenizer *t = e->tokenizer;
    if (id == LV_SYMBOL_UNKNOWN) {
        return emit_unknown(e, word, at, n);
    }
    if (e->bpe.unused_left && t->merges.unused[id] && e->bpe.unused_left[id] > 0) {
        size_t left = (size_t)e->bpe.unused_left[id];
        int32_t ids[2] = {lv_vocab_find(&t->vocab, word->bytes + at, left),
                          lv_vocab_find(&t->vocab, word->bytes + at + left, n - left)};
        int rc = emit_piece(e, word, ids[0], at, left);
        return rc < 0 ? rc : emit_piece(e, word, ids[1], at + left, n - left);
    }
    e->after_unk = false;
    return lv_encoder_emit(e, id, lv_span_begin(word, at));
}

/* ---- words ---- */

int lv_encoder_word(lv_encoder *e, const lv_span *word)
{
    const lv_vocab *v = &e->tokenizer->vocab;
    int32_t id = lv_vocab_find(v, word->bytes, word->n);
    if (id >= 0 && v->pieces[id].whole && !e->bpe.unused_left) {
        e->after_unk = false;
        return lv_encoder_emit(e, id, lv_span_begin(word, 0));
    }
    int rc = lv_bpe_merge(&e->bpe, word->bytes, word->n);
    for (int32_t i = e->bpe.n > 0 ? 0 : LV_SYMBOL_NONE; rc == LV_OK && i != LV_SYMBOL_NONE;
         i = e->bpe.symbols[i].next) {
        const lv_symbol *s = &e->bpe.symbols[i];
        if (s->id == LV_SYMBOL_UNKNOWN || e->bpe.unused_left) {
            rc = emit_piece(e, word, s->id, s->begin, s->n);
        } else {
            e->after_unk = false;
            rc = lv_encoder_emit(e, s->id, lv_span_begin(word, s->begin));
        }
    }
    return rc;
}

/* Whether a marker stands after, and before, another character. */
static void find_markers(const char *piece, bool *after, bool *before)
{
    for (const char *at = piece; (at = strstr(at, LV_SPACE_MARKER)); at += LV_SPACE_MARKER_BYTES) {
        const char *end = at + LV_SPACE_MARKER_BYTES;
        bool follows_one =
            at - piece >= LV_SPACE_MARKER_BYTES &&
            memcmp(at - LV_SPACE_MARKER_BYTES, LV_SPACE_MARKER, LV_SPACE_MARKER_BYTES) == 0;
        *after = *after || (at > piece && !follows_one);
        *before = *before || (*end && strncmp(end, LV_SPACE_MARKER, LV_SPACE_MARKER_BYTES) != 0);
    }
}

/* Runs of unknown characters become one token across words, and unused pieces are taken apart as
 * their last like was joined: then there is only one word. */
static bool has_words(const lv_vocab *v, const lv_merges *merges)
{
    bool any = merges->ranks ? !merges->unused : v->byte_fallback && !merges->ignored;
    for (int b = 0; any && !merges->ranks && b < 256; b++) {
        any = v->byte_ids[b] >= 0;
    }
    return any;
}

int lv_words_find(lv_tokenizer *t)
{
    bool after = false, before = false;
    bool cuts = has_words(&t->vocab, &t->merges);
    for (int32_t id = 0; cuts && id < t->vocab.n_ids; id++) {
        if (t->vocab.pieces[id].in_model) {
            find_markers(t->vocab.pieces[id].name, &after, &before);
        }
    }
    t->cuts_before_markers = cuts && !after;
    t->cuts_after_markers = cuts && after && !before;
    return lv_bpe_find_whole(&t->vocab, &t->merges);
}

/* The end of the word that begins at `from`: the next place where a run of markers begins, or
 * ends. */
static size_t word_end(const lv_tokenizer *t, const lv_span *text, size_t from)
{
    bool after_marker = false;
    if (!t->cuts_before_markers && !t->cuts_after_markers) {
        return text->n;
    }
    for (size_t at = from; at < text->n;) {
        bool marker = lv_marker_at(text, at);
        if (at > from && marker != after_marker && marker == t->cuts_before_markers) {
            return at;
        }
        after_marker = marker;
        if (marker) {
            at += LV_SPACE_MARKER_BYTES;
            continue;
        }
        const char *next = memchr(text->bytes + at + 1, LV_SPACE_MARKER[0], text->n - at - 1);
        at = next ? (size_t)(next - text->bytes) : text->n;
    }
    return text->n;
}

int lv_encoder_cut_words(lv_encoder *e, const lv_span *text)
{
    int rc = LV_OK;
    for (size_t at = 0, end; rc == LV_OK && at < text->n; at = end) {
        end = word_end(e->tokenizer, text, at);
        lv_span word = lv_span_part(text, at, end);
        rc = lv_encoder_word(e, &word);
    }
    return rc;
}

/* ---- texts ---- */

static int encode_parts(lv_encoder *e, const lv_span *text, bool first, bool normalized);

/* A text in which the tokens that are found before normalisation are not. */
static int normalize_and_encode(lv_encoder *e, const lv_span *text, bool first)
{
    const lv_tokenizer *t = e->tokenizer;
    lv_mapped changed = {0};
    if (!t->kind->normalize) {
        return t->kind->encode(e, text, first);
    }
    int rc = t->kind->normalize(t, text, first, &changed);
    lv_span normal = lv_mapped_or(&changed, text);
    if (rc == LV_OK) rc = encode_parts(e, &normal, first, true);
    lv_mapped_free(&changed);
    return rc;
}

static int encode_parts(lv_encoder *e, const lv_span *text, bool first, bool normalized)
{
    const lv_tokenizer *t = e->tokenizer;
    lv_added_iterator it = {.list = &t->added,
                            .matcher = normalized ? &t->added.in_normalized : &t->added.in_text,
                            .text = text};
    lv_added_part part;
    int rc = LV_OK;
    while (rc == LV_OK && lv_added_next(&it, &part)) {
        if (part.token) {
            e->after_unk = false;
            rc = lv_encoder_emit(e, part.token->id, lv_span_begin(text, part.begin));
            continue;
        }
        lv_span piece = lv_span_part(text, part.begin, part.end);
        bool at_start = first && part.begin == 0;
        rc = normalized ? t->kind->encode(e, &piece, at_start)
                        : normalize_and_encode(e, &piece, at_start);
    }
    return rc;
}

int lv_tokenizer_encode(const lv_tokenizer *t, const char *text, size_t n, bool first,
                        lv_tokens *out)
{
    lv_span given = {.bytes = text, .n = n};
    lv_mapped changed = {0};
    lv_encoder e = {.tokenizer = t, .out = out, .split = {.file = t->files[0], .n_bytes = n}};
    size_t n_before = out->n;
    if (n >= INT32_MAX / 4) {
        return lv_fail(LV_ERR_MEMORY, "a text of %zu bytes is too long to tokenise", n);
    }
    if (n == 0) {
        return LV_OK;
    }
    int rc = lv_bpe_create(&e.bpe, &t->vocab, &t->merges);
    if (rc == LV_OK) rc = t->kind->prepare(t, &given, first, &changed);
    if (rc == LV_OK) {
        lv_span whole = lv_mapped_or(&changed, &given);
        rc = encode_parts(&e, &whole, first, false);
    }
    out->n = rc < 0 ? n_before : out->n;
    lv_mapped_free(&changed);
    lv_bpe_free(&e.bpe);
    return rc;
}
