/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts of a tokenizer.json: UTF-8, the normalizer, the pre_tokenizer.
 */
#include "data/tokenizer/pipeline.h"

#include "autograd/error.h"
#include "data/base/text.h"

#include <string.h>

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
static int prepare(const lv_tokenizer *t, const lv_span *text, bool first, lv_mapped *out)
{
    (void)t;
    (void)first;
    int rc = LV_OK;
    if (is_valid(text)) {
        return LV_OK;
    }
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
    bool has_one = (text->bytes[0] == ' ' && t->replaces_spaces) || lv_marker_at(text, 0);
    return t->marker == LV_MARKER_LEGACY ||
           (!has_one && (t->marker == LV_MARKER_ALWAYS || (t->marker == LV_MARKER_FIRST && first)));
}

static int put_markers(lv_mapped *out, const lv_tokenizer *t, const lv_span *text, bool first)
{
    int rc =
        gets_marker(t, text, first) ? lv_mapped_add_marker(out, lv_span_begin(text, 0)) : LV_OK;
    for (size_t at = 0, end; rc == LV_OK && at < text->n; at = end) {
        const char *space = t->replaces_spaces ? memchr(text->bytes + at, ' ', text->n - at) : NULL;
        end = space ? (size_t)(space - text->bytes) : text->n;
        lv_span part = lv_span_part(text, at, end);
        rc = lv_mapped_add_span(out, &part);
        if (rc == LV_OK && space) rc = lv_mapped_add_marker(out, lv_span_begin(text, end++));
    }
    return rc;
}

static int normalize(const lv_tokenizer *t, const lv_span *text, bool first, lv_mapped *out)
{
    if (t->pipeline->normalizes_spaces) {
        return put_markers(out, t, text, first);
    }
    return t->pipeline->form != LV_FORM_NONE ? lv_unicode_normalize(out, text, t->pipeline->form)
                                             : LV_OK;
}

static int encode_words(lv_encoder *e, const lv_span *text)
{
    const lv_tokenizer *t = e->tokenizer;
    lv_split_iterator it;
    lv_span word;
    if (!t->vocab.byte_level) {
        return lv_encoder_cut_words(e, text);
    }
    if (t->pipeline->n_splits == 0) {
        return lv_encoder_word(e, text);
    }
    int rc = lv_split_begin(&it, t->pipeline, text, &e->split);
    while (rc >= 0 && (rc = lv_split_next(&it, &word)) > 0) {
        rc = lv_encoder_word(e, &word);
    }
    lv_split_end(&it);
    return rc;
}

static int encode(lv_encoder *e, const lv_span *text, bool first)
{
    const lv_tokenizer *t = e->tokenizer;
    lv_mapped changed = {0};
    int rc = LV_OK;
    if (!t->vocab.byte_level && !t->pipeline->normalizes_spaces) {
        rc = put_markers(&changed, t, text, first);
    } else if (t->pipeline->adds_space && text->bytes[0] != ' ') {
        rc = lv_mapped_add(&changed, " ", 1, lv_span_begin(text, 0));
        if (rc == LV_OK) rc = lv_mapped_add_span(&changed, text);
    }
    lv_span whole = lv_mapped_or(&changed, text);
    if (rc == LV_OK) rc = encode_words(e, &whole);
    lv_mapped_free(&changed);
    return rc;
}

const lv_tokenizer_kind lv_pipeline_kind = {
    .file_name = "tokenizer.json", .prepare = prepare, .normalize = normalize, .encode = encode};
