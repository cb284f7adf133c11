/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_tokenizer_encode: from a text to words, and from the words' symbols to tokens.
 */
#include "data/tokenizer/internal.h"

#include "autograd/error.h"
#include "data/base/text.h"
#include "data/tokenizer/spm.h"

#include <stdlib.h>
#include <string.h>

/* Steps of a pattern for a text: a character takes some, an honest pattern about one. */
enum { REGEX_STEPS = 1 << 22, REGEX_STEPS_PER_BYTE = 256 };

/* ---- tokens ---- */

int lv_encoder_prepare(lv_encoder *e)
{
    const lv_tokenizer *t = e->tokenizer;
    if (t->kind == LV_KIND_SPM && t->spm->has_unused) {
        e->bpe.unused_left = calloc((size_t)t->n_ids, sizeof *e->bpe.unused_left);
        return e->bpe.unused_left ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    return LV_OK;
}

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
    const lv_tokenizer *t = e->tokenizer;
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && t->byte_fallback && i < n; i++) {
        rc = lv_encoder_emit(e, t->byte_ids[(unsigned char)word->bytes[at + i]],
                             lv_span_begin(word, at + i));
    }
    if (!t->byte_fallback) {
        rc = e->after_unk ? LV_OK : lv_encoder_emit(e, t->unk, lv_span_begin(word, at));
    }
    e->after_unk = true;
    return rc;
}

/* A sentencepiece model's unused pieces are merged, and then taken apart where they were joined. */
static int emit_piece(lv_encoder *e, const lv_span *word, int32_t id, size_t at, size_t n)
{
    const lv_tokenizer *t = e->tokenizer;
    if (id < 0) {
        return emit_unknown(e, word, at, n);
    }
    if (e->bpe.unused_left && t->spm->unused[id] && e->bpe.unused_left[id] > 0) {
        size_t left = (size_t)e->bpe.unused_left[id];
        int rc = emit_piece(e, word, lv_vocab_find(t, word->bytes + at, left), at, left);
        return rc < 0 ? rc
                      : emit_piece(e, word, lv_vocab_find(t, word->bytes + at + left, n - left),
                                   at + left, n - left);
    }
    e->after_unk = false;
    return lv_encoder_emit(e, id, lv_span_begin(word, at));
}

int lv_encoder_word(lv_encoder *e, const lv_span *word)
{
    const lv_tokenizer *t = e->tokenizer;
    int32_t id = lv_vocab_find(t, word->bytes, word->n);
    if (id >= 0 && t->whole[id] && !e->bpe.unused_left) {
        e->after_unk = false;
        return lv_encoder_emit(e, id, lv_span_begin(word, 0));
    }
    int rc = lv_bpe_merge(&e->bpe, t, word->bytes, word->n);
    for (int32_t i = e->bpe.n > 0 ? 0 : LV_SYMBOL_NONE; rc == LV_OK && i != LV_SYMBOL_NONE;
         i = e->bpe.symbols[i].next) {
        const lv_symbol *s = &e->bpe.symbols[i];
        rc = t->kind == LV_KIND_SPM ? emit_piece(e, word, s->id, s->begin, s->n)
                                    : lv_encoder_emit(e, s->id, lv_span_begin(word, s->begin));
    }
    return rc;
}

static bool marker_at(const lv_span *text, size_t at)
{
    return text->n - at >= LV_SPACE_MARKER_BYTES &&
           memcmp(text->bytes + at, LV_SPACE_MARKER, LV_SPACE_MARKER_BYTES) == 0;
}

/* The end of the word that begins at `from`: the next place where a run of markers begins, or
 * ends. */
static size_t word_end(const lv_tokenizer *t, const lv_span *text, size_t from)
{
    bool after_marker = false;
    if (!t->cuts_before_markers && !t->cuts_behind_markers) {
        return text->n;
    }
    for (size_t at = from; at < text->n;) {
        bool marker = marker_at(text, at);
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

/* ---- the tokenizer.json kinds' texts ---- */

static bool is_valid(const lv_span *text)
{
    bool valid = true;
    for (size_t at = 0; valid && at < text->n;) {
        at += (unsigned char)text->bytes[at] < 0x80
                  ? 1
                  : lv_utf8_step(text->bytes + at, text->n - at, &valid);
    }
    return valid;
}

/* The text with U+FFFD in place of what is not UTF-8. */
static int mend(lv_mapped *out, const lv_span *text)
{
    int rc = LV_OK;
    for (size_t at = 0, step; rc == LV_OK && at < text->n; at += step) {
        bool valid = false;
        step = lv_utf8_step(text->bytes + at, text->n - at, &valid);
        lv_span part = lv_span_part(text, at, at + step);
        rc = valid ? lv_mapped_add_span(out, &part)
                   : lv_mapped_add(out, LV_REPLACEMENT_CHARACTER, 3, lv_span_begin(text, at));
    }
    return rc;
}

static bool gets_marker(const lv_tokenizer *t, const lv_span *text, bool first)
{
    bool has_one =
        (text->n > 0 && text->bytes[0] == ' ' && t->replaces_spaces) || marker_at(text, 0);
    return text->n > 0 && (t->marker == LV_MARKER_LEGACY ||
                           (!has_one && (t->marker == LV_MARKER_ALWAYS ||
                                         (t->marker == LV_MARKER_FIRST && first))));
}

static int put_markers(lv_mapped *out, const lv_tokenizer *t, const lv_span *text, bool first)
{
    int rc = LV_OK;
    if (gets_marker(t, text, first)) {
        rc = lv_mapped_add(out, LV_SPACE_MARKER, LV_SPACE_MARKER_BYTES, lv_span_begin(text, 0));
    }
    for (size_t at = 0, end; rc == LV_OK && at < text->n; at = end) {
        const char *space = t->replaces_spaces ? memchr(text->bytes + at, ' ', text->n - at) : NULL;
        end = space ? (size_t)(space - text->bytes) : text->n;
        lv_span part = lv_span_part(text, at, end);
        rc = lv_mapped_add_span(out, &part);
        if (rc == LV_OK && space) {
            rc = lv_mapped_add(out, LV_SPACE_MARKER, LV_SPACE_MARKER_BYTES,
                               lv_span_begin(text, end++));
        }
    }
    return rc;
}

/* A text in which no more tokens are looked for. */
static int encode_part(lv_encoder *e, const lv_span *part, bool first)
{
    const lv_tokenizer *t = e->tokenizer;
    lv_mapped changed = {0};
    lv_span text = *part;
    int rc = LV_OK;
    if (t->kind == LV_KIND_SPM) {
        return lv_spm_encode(e, part);
    }
    if (t->kind == LV_KIND_MARKER && !t->normalizes_spaces) {
        rc = put_markers(&changed, t, part, first);
        text = lv_span_of(&changed);
    } else if (t->adds_space && part->n > 0 && part->bytes[0] != ' ') {
        rc = lv_mapped_add(&changed, " ", 1, lv_span_begin(part, 0));
        if (rc == LV_OK) rc = lv_mapped_add_span(&changed, part);
        text = lv_span_of(&changed);
    }
    if (rc == LV_OK) {
        rc = t->kind == LV_KIND_BYTES ? lv_split_words(e, &text) : lv_encoder_cut_words(e, &text);
    }
    lv_mapped_free(&changed);
    return rc;
}

/* ---- added tokens ---- */

static int encode_parts(lv_encoder *e, const lv_span *text, bool first, bool normalized);

/* A text in which the tokens that are found before normalisation are not. */
static int normalize_and_encode(lv_encoder *e, const lv_span *text, bool first)
{
    const lv_tokenizer *t = e->tokenizer;
    lv_mapped changed = {0};
    lv_span normal = *text;
    int rc = LV_OK;
    if (t->normalizes_spaces) {
        rc = put_markers(&changed, t, text, first);
        normal = lv_span_of(&changed);
    } else if (t->form != LV_FORM_NONE) {
        rc = lv_unicode_normalize(&changed, text, t->form);
        normal = lv_span_of(&changed);
    }
    if (rc == LV_OK) rc = encode_parts(e, &normal, first, true);
    lv_mapped_free(&changed);
    return rc;
}

static int encode_parts(lv_encoder *e, const lv_span *text, bool first, bool normalized)
{
    const lv_tokenizer *t = e->tokenizer;
    lv_added_iterator it = {.tokenizer = t,
                            .matcher = normalized ? &t->added_in_normalized : &t->added_in_text,
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
        rc = normalized ? encode_part(e, &piece, at_start)
                        : normalize_and_encode(e, &piece, at_start);
    }
    return rc;
}

int lv_tokenizer_encode(const lv_tokenizer *t, const char *text, size_t n, bool first,
                        lv_tokens *out)
{
    lv_span given = {.bytes = text, .n = n};
    lv_mapped changed = {0};
    lv_encoder e = {.tokenizer = t,
                    .out = out,
                    .n_bytes = n,
                    .regex_budget = REGEX_STEPS + REGEX_STEPS_PER_BYTE * (int64_t)n};
    size_t n_before = out->n;
    int rc = n < INT32_MAX / 4
                 ? LV_OK
                 : lv_fail(LV_ERR_MEMORY, "a text of %zu bytes is too long to tokenise", n);
    if (rc < 0 || n == 0) {
        return rc;
    }
    rc = lv_encoder_prepare(&e);
    if (rc == LV_OK && t->kind == LV_KIND_SPM) {
        rc = lv_spm_prepare(t, &given, first, &changed);
    } else if (rc == LV_OK && !is_valid(&given)) {
        rc = mend(&changed, &given);
    }
    if (rc == LV_OK) {
        lv_span whole = changed.bytes ? lv_span_of(&changed) : given;
        rc = encode_parts(&e, &whole, first, false);
    }
    out->n = rc < 0 ? n_before : out->n;
    lv_mapped_free(&changed);
    lv_bpe_free(&e.bpe);
    return rc;
}
