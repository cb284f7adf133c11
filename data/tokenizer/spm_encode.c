/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts of a tokenizer.model. The normaliser, character rules from a precompiled table and white
 * space by its flags, is that of normalizer.cc of sentencepiece 0.1.97; the table's format is that
 * of Darts-clone 0.32. Around it is what transformers' (4.57) LlamaTokenizer does.
 */
#include "data/tokenizer/spm.h"

#include "autograd/error.h"
#include "data/base/text.h"

#include <string.h>

enum { MAX_RULE_BYTES = 1024 };

/* ---- rules ---- */

static size_t unit_offset(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The longest rule that s begins with: its bytes (0: there is none) and its text.
 * A damaged trie may lead anywhere, or in a circle: LV_ERR_FORMAT. */
static int longest_rule(const lv_spm_rules *rules, const char *s, size_t n, size_t *length,
                        const char **text)
{
    const uint32_t has_leaf = 1u << 8, label = 1u << 31 | 0xFF, value = (1u << 31) - 1;
    *length = 0;
    if (rules->n_units == 0) {
        return LV_OK;
    }
    size_t node = unit_offset(rules->units[0]);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        node ^= c;
        if (node >= rules->n_units || i >= MAX_RULE_BYTES) {
            break;
        }
        uint32_t unit = rules->units[node];
        if ((unit & label) != c) {
            return LV_OK;
        }
        node ^= unit_offset(unit);
        if (unit & has_leaf) {
            size_t at = node < rules->n_units ? rules->units[node] & value : SIZE_MAX;
            if (at >= rules->n_texts) {
                break;
            }
            *length = i + 1;
            *text = rules->texts + at;
        }
        if (i + 1 == n) {
            return LV_OK;
        }
    }
    return n == 0 ? LV_OK
                  : lv_fail(LV_ERR_FORMAT, "the rules of the tokenizer.model's normaliser "
                                           "(precompiled_charsmap) are damaged");
}

/* ---- one character, or what a rule or a user-defined piece takes ---- */

typedef struct {
    const char *bytes;
    size_t n;
    size_t taken; /* bytes of the text */
    bool own;     /* they are themselves the text's */
} prefix;

static int next_prefix(const lv_spm *spm, const char *s, size_t n, prefix *p)
{
    int32_t id;
    bool valid = false;
    size_t length = lv_matcher_longest(&spm->user_defined, s, n, &id);
    if (length > 0) {
        *p = (prefix){.bytes = s, .n = length, .taken = length, .own = true};
        return LV_OK;
    }
    const char *text = NULL;
    int rc = longest_rule(&spm->rules, s, n, &length, &text);
    if (rc < 0) {
        return rc;
    }
    if (length > 0) {
        *p = (prefix){.bytes = text, .n = strlen(text), .taken = length};
        return LV_OK;
    }
    length = lv_utf8_step(s, n, &valid);
    *p = valid ? (prefix){.bytes = s, .n = length, .taken = length, .own = true}
               : (prefix){.bytes = LV_REPLACEMENT_CHARACTER, .n = 3, .taken = 1};
    return LV_OK;
}

/* ---- the text ---- */

static int add_space(const lv_spm *spm, lv_mapped *out, size_t begin)
{
    return spm->escape_whitespaces ? lv_mapped_add_marker(out, begin)
                                   : lv_mapped_add(out, " ", 1, begin);
}

/* What a prefix of the text at `at` becomes, less its first bytes. A byte that stays itself keeps
 * its own place. */
static int add_prefix(const lv_spm *spm, const lv_span *text, size_t at, const prefix *p,
                      size_t skipped, lv_mapped *out)
{
    int rc = LV_OK;
    for (size_t i = skipped; rc == LV_OK && i < p->n; i++) {
        size_t begin = lv_span_begin(text, at + (p->own ? i : 0));
        rc = p->bytes[i] == ' ' ? add_space(spm, out, begin)
                                : lv_mapped_add(out, p->bytes + i, 1, begin);
    }
    return rc;
}

/* Past the white space that the text begins with. */
static int skip_leading_spaces(const lv_spm *spm, const lv_span *text, size_t *at)
{
    while (*at < text->n) {
        prefix p;
        int rc = next_prefix(spm, text->bytes + *at, text->n - *at, &p);
        if (rc < 0 || p.n != 1 || *p.bytes != ' ') {
            return rc;
        }
        *at += p.taken;
    }
    return LV_OK;
}

/* Takes off the space at the end; *end becomes the offset of its beginning. */
static void strip_end(const lv_spm *spm, lv_mapped *out, size_t begin, size_t *end)
{
    const char *space = spm->escape_whitespaces ? LV_SPACE_MARKER : " ";
    size_t n = strlen(space);
    while (out->n - begin >= n && memcmp(out->bytes + out->n - n, space, n) == 0) {
        out->n -= n;
        *end = out->begin[out->n];
    }
}

/* The text as the model's normaliser has it, appended to out. dummy: whether the model's dummy prefix
 * is put. fails LV_ERR_FORMAT on damaged rules, LV_ERR_MEMORY */
static int normalize(const lv_spm *spm, const lv_span *text, bool dummy, lv_mapped *out)
{
    size_t at = 0, begin = out->n;
    bool removes = spm->remove_extra_whitespaces, after_space = removes;
    int rc = removes ? skip_leading_spaces(spm, text, &at) : LV_OK;
    if (rc < 0 || at == text->n) {
        return rc;
    }
    if (dummy && !spm->whitespace_as_suffix) {
        rc = add_space(spm, out, lv_span_begin(text, at));
    }
    for (prefix p; rc == LV_OK && at < text->n; at += p.taken) {
        rc = next_prefix(spm, text->bytes + at, text->n - at, &p);
        size_t skipped = 0;
        while (rc == LV_OK && after_space && skipped < p.n && p.bytes[skipped] == ' ') {
            skipped++;
        }
        if (rc == LV_OK && skipped < p.n) {
            rc = add_prefix(spm, text, at, &p, skipped, out);
            after_space = p.bytes[p.n - 1] == ' ';
        }
        after_space = after_space && removes;
    }
    size_t end = lv_span_begin(text, text->n - 1);
    if (rc == LV_OK && removes) {
        strip_end(spm, out, begin, &end);
    }
    if (rc == LV_OK && dummy && spm->whitespace_as_suffix) {
        rc = add_space(spm, out, end);
    }
    return rc;
}

/* ---- tokens ---- */

/* What transformers does to a text before it is searched for added tokens. */
static int prepare(const lv_tokenizer *t, const lv_span *text, bool first, lv_mapped *out)
{
    int rc = LV_OK;
    if (t->spm->legacy) {
        return LV_OK;
    }
    if (first && t->marker == LV_MARKER_CALL) {
        rc = lv_mapped_add_marker(out, lv_span_begin(text, 0));
    }
    for (size_t at = 0; rc == LV_OK && at < text->n;) {
        bool marker = lv_marker_at(text, at);
        rc = lv_mapped_add(out, marker ? " " : text->bytes + at, 1, lv_span_begin(text, at));
        at += marker ? LV_SPACE_MARKER_BYTES : 1;
    }
    return rc;
}

/* The tokens of what sentencepiece's encode() is given. */
static int encode_given(lv_encoder *e, const lv_span *given)
{
    const lv_spm *spm = e->tokenizer->spm;
    lv_mapped normal = {0};
    int rc = normalize(spm, given, spm->legacy && spm->add_dummy_prefix, &normal);
    lv_span text = lv_mapped_or(&normal, &(lv_span){.bytes = ""});
    size_t begin = 0, at = spm->user_defined.n > 0 ? 0 : text.n;
    e->after_unk = false;
    while (rc == LV_OK && at < text.n) {
        int32_t id = 0;
        size_t length = lv_matcher_longest(&spm->user_defined, text.bytes + at, text.n - at, &id);
        if (length == 0) {
            at += lv_character_bytes(text.bytes + at, text.n - at);
            continue;
        }
        lv_span part = lv_span_part(&text, begin, at);
        rc = lv_encoder_cut_words(e, &part);
        if (rc == LV_OK) {
            e->after_unk = false;
            rc = lv_encoder_emit(e, id, lv_span_begin(&text, at));
        }
        begin = at += length;
    }
    if (rc == LV_OK) {
        lv_span part = lv_span_part(&text, begin, text.n);
        rc = lv_encoder_cut_words(e, &part);
    }
    lv_mapped_free(&normal);
    return rc;
}

/* Not legacy, a text that begins with a space is encoded after the text of unk, whose tokens are
 * then dropped, so that the space is not. */
static int encode(lv_encoder *e, const lv_span *text, bool first)
{
    const lv_spm *spm = e->tokenizer->spm;
    lv_tokens *out = e->out;
    size_t n_before = out->n;
    lv_mapped longer = {0};
    (void)first;
    if (spm->legacy || (*text->bytes != ' ' && !lv_marker_at(text, 0))) {
        return encode_given(e, text);
    }
    int rc = lv_mapped_add(&longer, spm->unk_token, strlen(spm->unk_token), lv_span_begin(text, 0));
    if (rc == LV_OK) rc = lv_mapped_add_span(&longer, text);
    lv_span whole = lv_mapped_or(&longer, text);
    if (rc == LV_OK) rc = encode_given(e, &whole);
    if (rc == LV_OK && out->n > n_before && out->n - n_before >= spm->n_unk_tokens) {
        size_t from = n_before + spm->n_unk_tokens, n = out->n - from;
        memmove(out->ids + n_before, out->ids + from, n * sizeof *out->ids);
        memmove(out->begin + n_before, out->begin + from, n * sizeof *out->begin);
        out->n = n_before + n;
    }
    lv_mapped_free(&longer);
    return rc;
}

int lv_spm_finish(lv_tokenizer *t)
{
    lv_tokens tokens = {0};
    lv_encoder e = {.tokenizer = t, .out = &tokens};
    lv_span unk = {.bytes = t->spm->unk_token, .n = strlen(t->spm->unk_token)};
    int rc = t->spm->legacy ? LV_OK : lv_bpe_create(&e.bpe, &t->vocab, &t->merges);
    if (rc == LV_OK && !t->spm->legacy) rc = encode_given(&e, &unk);
    t->spm->n_unk_tokens = tokens.n;
    lv_tokens_free(&tokens);
    lv_bpe_free(&e.bpe);
    return rc;
}

const lv_tokenizer_kind lv_spm_kind = {
    .file_name = "tokenizer.model", .prepare = prepare, .encode = encode};
