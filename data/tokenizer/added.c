/* SPDX-License-Identifier: Apache-2.0
 *
 * Added tokens in a text, as the tokenizers library finds them: leftmost, longest, not
 * overlapping. Special ones are found, too, and passed over as text (its encode_special_tokens).
 */
#include "data/tokenizer/internal.h"

#include "autograd/error.h"
#include "data/base/text.h"

#include <stdlib.h>
#include <string.h>

#include <oniguruma.h>

/* ---- the longest entry at a place ---- */

int lv_matcher_add(lv_matcher *m, const char *text, size_t n, int32_t value)
{
    if (n == 0 || n > LV_TOKENIZER_MAX_ADDED_BYTES) {
        return lv_fail(LV_ERR_UNSUPPORTED,
                       "an added token of %zu bytes (\"%.40s\"...) is not implemented, only of 1 "
                       "to %d",
                       n, text, LV_TOKENIZER_MAX_ADDED_BYTES);
    }
    if (m->n == m->capacity) {
        size_t capacity = 2 * m->capacity + 16;
        lv_matcher_entry *entries = realloc(m->entries, capacity * sizeof *entries);
        if (!entries) {
            return lv_fail(LV_ERR_MEMORY, "no memory for %zu added tokens", capacity);
        }
        m->entries = entries;
        m->capacity = capacity;
    }
    char *copy = malloc(n);
    if (!copy) {
        return lv_fail(LV_ERR_MEMORY, "no memory for an added token");
    }
    memcpy(copy, text, n);
    m->entries[m->n++] = (lv_matcher_entry){.text = copy, .n = n, .value = value};
    m->begins[(unsigned char)*text] = true;
    return LV_OK;
}

static int by_text(const void *a, const void *b)
{
    const lv_matcher_entry *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

void lv_matcher_finish(lv_matcher *m)
{
    if (m->n > 0) {
        qsort(m->entries, m->n, sizeof *m->entries, by_text);
    }
}

static int byte_at(const lv_matcher *m, size_t entry, size_t depth)
{
    return (unsigned char)m->entries[entry].text[depth];
}

/* The first entry of [low, high), all of the same first `depth` bytes and longer, whose next byte
 * is at least `byte`. */
static size_t lower_bound(const lv_matcher *m, size_t low, size_t high, size_t depth, int byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (byte_at(m, middle, depth) < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

size_t lv_matcher_longest(const lv_matcher *m, const char *text, size_t n, int32_t *value)
{
    size_t low = 0, high = m->n, longest = 0;
    if (n == 0 || !m->begins[(unsigned char)*text]) {
        return 0;
    }
    for (size_t depth = 0; low < high; depth++) {
        while (low < high && m->entries[low].n == depth) {
            longest = depth;
            *value = m->entries[low++].value;
        }
        if (low == high || depth == n) {
            break;
        }
        int byte = (unsigned char)text[depth];
        if (byte_at(m, low, depth) < byte) {
            low = lower_bound(m, low, high, depth, byte);
        }
        if (low < high && byte_at(m, high - 1, depth) > byte) {
            high = lower_bound(m, low, high, depth, byte + 1);
        }
    }
    return longest;
}

void lv_matcher_free(lv_matcher *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free(m->entries[i].text);
    }
    free(m->entries);
    *m = (lv_matcher){0};
}

/* ---- the list ---- */

int lv_added_add(lv_tokenizer *t, lv_added_token token)
{
    enum { STEP = 64 };
    if (t->n_added % STEP == 0) {
        lv_added_token *added = realloc(t->added, ((size_t)t->n_added + STEP) * sizeof *t->added);
        if (!added) {
            return lv_fail(LV_ERR_MEMORY, "no memory for the added tokens");
        }
        t->added = added;
    }
    t->added[t->n_added++] = token;
    return LV_OK;
}

/* The fingerprint is only of what changes the ids of a text: so not of a list of special tokens. */
static void add_to_crc(lv_tokenizer *t, const lv_added_token *a)
{
    char flags[] = {a->single_word, a->lstrip, a->rstrip, a->normalized};
    t->crc = lv_tokenizer_crc_add_id(t->crc, a->id);
    t->crc = lv_tokenizer_crc_add(t->crc, t->pieces[a->id], strlen(t->pieces[a->id]) + 1);
    t->crc = lv_tokenizer_crc_add(t->crc, flags, sizeof flags);
}

/* A token that is found in the normalised text stands there in normalised form. */
static int add_normalized(lv_tokenizer *t, int32_t index, const char *piece)
{
    lv_mapped form = {0};
    lv_span text = {.bytes = piece, .n = strlen(piece)};
    int rc = LV_OK;
    if (t->marker == LV_MARKER_LEGACY) {
        rc = lv_mapped_add(&form, LV_SPACE_MARKER, LV_SPACE_MARKER_BYTES, 0);
    }
    for (size_t i = 0; rc == LV_OK && t->normalizes_spaces && i < text.n; i++) {
        bool space = piece[i] == ' ';
        rc = lv_mapped_add(&form, space ? LV_SPACE_MARKER : piece + i,
                           space ? LV_SPACE_MARKER_BYTES : 1, 0);
    }
    if (rc == LV_OK && !t->normalizes_spaces) {
        rc = lv_unicode_normalize(&form, &text, t->form);
    }
    if (rc == LV_OK) rc = lv_matcher_add(&t->added_in_normalized, form.bytes, form.n, index);
    lv_mapped_free(&form);
    return rc;
}

int lv_added_finish(lv_tokenizer *t)
{
    bool any = false;
    for (int32_t i = 0; i < t->n_added; i++) {
        any = any || !t->added[i].special;
    }
    for (int32_t i = 0; any && i < t->n_added; i++) {
        const lv_added_token *a = &t->added[i];
        const char *piece = t->pieces[a->id];
        int rc = a->normalized ? add_normalized(t, i, piece)
                               : lv_matcher_add(&t->added_in_text, piece, strlen(piece), i);
        if (rc < 0) {
            return rc;
        }
        if (!a->special) {
            add_to_crc(t, a);
        }
    }
    lv_matcher_finish(&t->added_in_text);
    lv_matcher_finish(&t->added_in_normalized);
    return LV_OK;
}

/* ---- in a text ---- */

/* The beginning of the character that ends at `at`. */
static size_t character_before(const char *text, size_t at)
{
    size_t begin = at - 1;
    while (begin > 0 && at - begin < 4 && ((unsigned char)text[begin] & 0xC0) == 0x80) {
        begin--;
    }
    return begin;
}

/* Bytes of the white space at `at`: Python's for a tokenizer.model, otherwise Unicode's, which
 * does not have U+001C to U+001F. */
static size_t space_at(const lv_tokenizer *t, const char *text, size_t n)
{
    bool python_only = n > 0 && *text >= 0x1C && *text <= 0x1F;
    return n == 0 || (python_only && t->kind != LV_KIND_SPM) ? 0 : lv_text_space_bytes(text, n);
}

/* \w of the regex crate. */
static bool is_word_character(const char *text, size_t n)
{
    bool valid = false;
    size_t step = lv_utf8_step(text, n, &valid);
    uint32_t code = valid ? lv_utf8_code(text, step) : 0;
    return valid &&
           (ONIGENC_IS_CODE_WORD(ONIG_ENCODING_UTF8, code) || code == 0x200C || code == 0x200D);
}

static bool stands_alone(const lv_span *text, size_t begin, size_t end)
{
    size_t left = begin > 0 ? character_before(text->bytes, begin) : 0;
    return (begin == 0 || !is_word_character(text->bytes + left, begin - left)) &&
           (end == text->n || !is_word_character(text->bytes + end, text->n - end));
}

/* The end of the white space at `at`. A token may stand in the white space that the one before it
 * took in: that is not gone through again. */
static size_t skip_spaces(lv_added_iterator *it, size_t at)
{
    if (at >= it->spaces_end) {
        it->spaces_end = at;
        for (size_t step; (step = space_at(it->tokenizer, it->text->bytes + it->spaces_end,
                                           it->text->n - it->spaces_end));) {
            it->spaces_end += step;
        }
    }
    return it->spaces_end;
}

/* Finds the next token from it->scanned on; takes white space in where the token wants it. */
static bool find_token(lv_added_iterator *it)
{
    const char *bytes = it->text->bytes;
    const size_t n = it->text->n;
    while (it->scanned < n) {
        int32_t index = 0;
        size_t begin = it->scanned;
        size_t length = lv_matcher_longest(it->matcher, bytes + begin, n - begin, &index);
        it->scanned += length > 0 ? length : 1;
        if (length == 0) {
            continue;
        }
        const lv_added_token *token = &it->tokenizer->added[index];
        size_t end = begin + length;
        if (token->special || (token->single_word && !stands_alone(it->text, begin, end))) {
            continue;
        }
        while (token->lstrip && begin > it->done) {
            size_t left = character_before(bytes, begin);
            if (space_at(it->tokenizer, bytes + left, begin - left) != begin - left) {
                break;
            }
            begin = left;
        }
        if (token->rstrip) {
            end = skip_spaces(it, end);
        }
        it->found = (lv_added_part){.token = token, .begin = begin, .end = end};
        return true;
    }
    return false;
}

bool lv_added_next(lv_added_iterator *it, lv_added_part *part)
{
    if (!it->has_found && it->matcher->n > 0) {
        it->has_found = find_token(it);
    }
    size_t text_end = it->has_found ? it->found.begin : it->text->n;
    if (it->done < text_end) {
        *part = (lv_added_part){.begin = it->done, .end = text_end};
        it->done = text_end;
        return true;
    }
    if (it->has_found) {
        *part = it->found;
        it->done = it->found.end > it->done ? it->found.end : it->done;
        it->has_found = false;
        return true;
    }
    return false;
}
