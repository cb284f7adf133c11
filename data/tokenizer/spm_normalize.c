/* SPDX-License-Identifier: Apache-2.0
 *
 * The normaliser of a sentencepiece model: character rules from a precompiled table, white space
 * by its flags. As normalizer.cc of sentencepiece 0.1.97; the table's format is that of Darts-clone
 * 0.32.
 */
#include "data/tokenizer/spm.h"

#include "autograd/error.h"
#include "data/base/text.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_RULE_BYTES = 1024 };

/* ---- rules ---- */

static uint32_t read_u32(const char *at)
{
    const uint8_t *b = (const uint8_t *)at;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* The blob: bytes of the trie, little-endian; the trie; the strings. */
int lv_spm_rules_read(lv_spm_rules *rules, const char *blob, size_t n)
{
    size_t trie_bytes = n >= 4 ? read_u32(blob) : 0;
    if (n < 4 || trie_bytes % 4 != 0 || trie_bytes == 0 || trie_bytes >= n - 4 ||
        blob[n - 1] != '\0') {
        return lv_fail(LV_ERR_FORMAT, "the normaliser's precompiled_charsmap is damaged");
    }
    rules->n_units = trie_bytes / 4;
    rules->n_texts = n - 4 - trie_bytes;
    rules->units = malloc(trie_bytes);
    rules->texts = malloc(rules->n_texts);
    if (!rules->units || !rules->texts) {
        return lv_fail(LV_ERR_MEMORY, "no memory for the normaliser's rules");
    }
    for (size_t i = 0; i < rules->n_units; i++) {
        rules->units[i] = read_u32(blob + 4 + 4 * i);
    }
    memcpy(rules->texts, blob + 4 + trie_bytes, rules->n_texts);
    return LV_OK;
}

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
    return spm->escape_whitespaces ? lv_mapped_add(out, LV_SPACE_MARKER, 3, begin)
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
static int skip_spaces(const lv_spm *spm, const lv_span *text, size_t *at)
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

int lv_spm_normalize(const lv_spm *spm, const lv_span *text, bool dummy, lv_mapped *out)
{
    size_t at = 0, begin = out->n;
    bool removes = spm->remove_extra_whitespaces, after_space = removes;
    int rc = removes ? skip_spaces(spm, text, &at) : LV_OK;
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

size_t lv_spm_character_bytes(const char *s, size_t n)
{
    static const unsigned char bytes[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    size_t length = bytes[(unsigned char)*s >> 4];
    return length < n ? length : n;
}
