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

/* ---- the list ---- */

int lv_added_add(lv_tokenizer *t, lv_added_token token)
{
    enum { STEP = 64 };
    lv_added_list *list = &t->added;
    lv_vocab_piece *piece = &t->vocab.pieces[token.id];
    piece->special = piece->special || token.special;
    if (strcmp(piece->name, "<image>") == 0) {
        return LV_OK;
    }
    if (list->n % STEP == 0) {
        lv_added_token *tokens =
            realloc(list->tokens, ((size_t)list->n + STEP) * sizeof *list->tokens);
        if (!tokens) {
            return lv_fail(LV_ERR_MEMORY, "no memory for the added tokens");
        }
        list->tokens = tokens;
    }
    list->tokens[list->n++] = token;
    return LV_OK;
}

/* The fingerprint is only of what changes the ids of a text: so not of a list of special tokens. */
static void add_to_crc(lv_tokenizer *t, const lv_added_token *a, const char *name)
{
    char flags[] = {a->single_word, a->lstrip, a->rstrip, a->normalized};
    t->crc = lv_crc_add(lv_crc_add_id(t->crc, a->id), name, strlen(name) + 1);
    t->crc = lv_crc_add(t->crc, flags, sizeof flags);
}

/* A token that is found in the normalised text stands there in normalised form. */
static int add_normalized(lv_tokenizer *t, int32_t index, const lv_span *name)
{
    lv_mapped changed = {0};
    int rc = t->kind->normalize ? t->kind->normalize(t, name, true, &changed) : LV_OK;
    lv_span form = lv_mapped_or(&changed, name);
    if (rc == LV_OK) rc = lv_matcher_add(&t->added.in_normalized, form.bytes, form.n, index);
    lv_mapped_free(&changed);
    return rc;
}

int lv_added_finish(lv_tokenizer *t)
{
    lv_added_list *list = &t->added;
    bool any = false;
    for (int32_t i = 0; i < list->n; i++) {
        any = any || !list->tokens[i].special;
    }
    for (int32_t i = 0; any && i < list->n; i++) {
        const lv_added_token *a = &list->tokens[i];
        lv_span name = {.bytes = t->vocab.pieces[a->id].name};
        name.n = strlen(name.bytes);
        int rc = a->normalized ? add_normalized(t, i, &name)
                               : lv_matcher_add(&list->in_text, name.bytes, name.n, i);
        if (rc < 0) {
            return rc;
        }
        if (!a->special) {
            add_to_crc(t, a, name.bytes);
        }
    }
    lv_matcher_finish(&list->in_text);
    lv_matcher_finish(&list->in_normalized);
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

/* Bytes of the white space at `at`: Python's, or Unicode's, which does not have U+001C to U+001F. */
static size_t space_at(const lv_added_list *list, const char *text, size_t n)
{
    bool python_only = n > 0 && *text >= 0x1C && *text <= 0x1F;
    return n == 0 || (python_only && !list->python_spaces) ? 0 : lv_text_space_bytes(text, n);
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
static size_t end_of_spaces(lv_added_iterator *it, size_t at)
{
    if (at >= it->spaces_end) {
        it->spaces_end = at;
        for (size_t step; (step = space_at(it->list, it->text->bytes + it->spaces_end,
                                           it->text->n - it->spaces_end));) {
            it->spaces_end += step;
        }
    }
    return it->spaces_end;
}

/* Finds the next token from it->scanned on; with the white space that the token takes in. */
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
        const lv_added_token *token = &it->list->tokens[index];
        size_t end = begin + length;
        if (token->special || (token->single_word && !stands_alone(it->text, begin, end))) {
            continue;
        }
        while (token->lstrip && begin > it->done) {
            size_t left = character_before(bytes, begin);
            if (space_at(it->list, bytes + left, begin - left) != begin - left) {
                break;
            }
            begin = left;
        }
        if (token->rstrip) {
            end = end_of_spaces(it, end);
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
