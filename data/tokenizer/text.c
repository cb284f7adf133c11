/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts with the place of each byte in the original, and the longest of many strings at a place.
 */
#include "data/tokenizer/text.h"

#include "autograd/error.h"

#include <stdlib.h>
#include <string.h>

static int reserve(lv_mapped *m, size_t more)
{
    if (more <= m->capacity - m->n) {
        return LV_OK;
    }
    size_t capacity = m->n + more + m->capacity / 2 + 64;
    char *bytes = realloc(m->bytes, capacity);
    m->bytes = bytes ? bytes : m->bytes;
    size_t *begin = bytes ? realloc(m->begin, capacity * sizeof *begin) : NULL;
    m->begin = begin ? begin : m->begin;
    if (!begin) {
        return lv_fail(LV_ERR_MEMORY, "no memory to tokenise a text of %zu bytes", capacity);
    }
    m->capacity = capacity;
    return LV_OK;
}

int lv_mapped_add(lv_mapped *m, const char *bytes, size_t n, size_t begin)
{
    int rc = reserve(m, n);
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        m->bytes[m->n] = bytes[i];
        m->begin[m->n++] = begin;
    }
    return rc;
}

int lv_mapped_add_marker(lv_mapped *m, size_t begin)
{
    return lv_mapped_add(m, LV_SPACE_MARKER, LV_SPACE_MARKER_BYTES, begin);
}

int lv_mapped_add_span(lv_mapped *m, const lv_span *s)
{
    int rc = reserve(m, s->n);
    for (size_t i = 0; rc == LV_OK && i < s->n; i++) {
        m->bytes[m->n] = s->bytes[i];
        m->begin[m->n++] = lv_span_begin(s, i);
    }
    return rc;
}

void lv_mapped_free(lv_mapped *m)
{
    free(m->bytes);
    free(m->begin);
    *m = (lv_mapped){0};
}

lv_span lv_mapped_or(const lv_mapped *m, const lv_span *other)
{
    return m->bytes ? (lv_span){.bytes = m->bytes, .n = m->n, .begin = m->begin} : *other;
}

lv_span lv_span_part(const lv_span *s, size_t from, size_t to)
{
    return (lv_span){.bytes = s->bytes + from,
                     .n = to - from,
                     .begin = s->begin ? s->begin + from : NULL,
                     .base = s->base + from};
}

size_t lv_span_begin(const lv_span *s, size_t at)
{
    return s->begin ? s->begin[at] : s->base + at;
}

bool lv_marker_at(const lv_span *s, size_t at)
{
    return s->n - at >= LV_SPACE_MARKER_BYTES &&
           memcmp(s->bytes + at, LV_SPACE_MARKER, LV_SPACE_MARKER_BYTES) == 0;
}

size_t lv_character_bytes(const char *s, size_t n)
{
    static const unsigned char bytes[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    size_t length = bytes[(unsigned char)*s >> 4];
    return length < n ? length : n;
}

/* ---- the longest entry at a place ---- */

int lv_matcher_add(lv_matcher *m, const char *text, size_t n, int32_t value)
{
    if (n == 0 || n > LV_MATCHER_MAX_BYTES) {
        return lv_fail(LV_ERR_UNSUPPORTED,
                       "an added token of %zu bytes (\"%.40s\"...) is not implemented, only of 1 "
                       "to %d",
                       n, text, LV_MATCHER_MAX_BYTES);
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
