/* SPDX-License-Identifier: Apache-2.0
 *
 * Unicode normalisation forms (UAX #15) by utf8proc's tables. Its own functions know nothing of
 * offsets, and sort long runs of combining marks in quadratic time.
 */
#include "data/tokenizer/text.h"

#include "autograd/error.h"
#include "data/base/text.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

typedef struct {
    int32_t code;
    int32_t class; /* canonical combining class; 0: a starter */
    size_t begin;  /* in the original text */
    size_t place;
} code_mark;

/* A starter and the marks after it, which may change places or become one character. */
typedef struct {
    code_mark *marks;
    size_t n, capacity;
} cluster;

static int add_mark(cluster *c, int32_t code, size_t begin)
{
    if (c->n == c->capacity) {
        size_t capacity = 2 * c->capacity + 64;
        code_mark *marks = realloc(c->marks, capacity * sizeof *marks);
        if (!marks) {
            return lv_fail(LV_ERR_MEMORY, "no memory to normalise %zu characters", capacity);
        }
        c->marks = marks;
        c->capacity = capacity;
    }
    int32_t class = utf8proc_get_property(code)->combining_class;
    c->marks[c->n] = (code_mark){.code = code, .class = class, .begin = begin, .place = c->n};
    c->n++;
    return LV_OK;
}

static int by_class(const void *a, const void *b)
{
    const code_mark *x = a, *y = b;
    return x->class != y->class ? (x->class > y->class) - (x->class < y->class)
                                : (x->place > y->place) - (x->place < y->place);
}

/* Canonical ordering: each run of non-starters by class. */
static void order_marks(cluster *c)
{
    for (size_t i = 0; i < c->n;) {
        size_t end = i;
        bool in_order = true;
        while (end < c->n && c->marks[end].class > 0) {
            in_order = in_order && (end == i || c->marks[end - 1].class <= c->marks[end].class);
            end++;
        }
        if (!in_order) {
            qsort(c->marks + i, end - i, sizeof *c->marks, by_class);
        }
        /* from the right: nothing begins after what follows it */
        for (size_t k = end; !in_order && k-- > i + 1;) {
            if (c->marks[k - 1].begin > c->marks[k].begin) {
                c->marks[k - 1].begin = c->marks[k].begin;
            }
        }
        i = end > i ? end : i + 1;
    }
}

/* The character that two become, -1 if they stay two. Starters that join another are Hangul jamo
 * and some vowel signs of Indic scripts. */
static int32_t composed(int32_t left, const code_mark *right)
{
    int32_t pair[] = {left, right->code};
    if (right->class == 0 && (pair[1] < 0x9BE || (pair[1] > 0x1B35 && pair[1] < 0x11127))) {
        return -1;
    }
    if (pair[1] == 0x11A7) { /* utf8proc 2.6 takes it for a final consonant and loses it */
        return -1;
    }
    return utf8proc_normalize_utf32(pair, 2, UTF8PROC_STABLE | UTF8PROC_COMPOSE) == 1 ? pair[0]
                                                                                      : -1;
}

/* Canonical composition: a mark joins the last starter if nothing of its class or above, and no
 * starter, stands between. */
static void compose(cluster *c)
{
    size_t n = 0, starter = SIZE_MAX;
    int32_t last_class = 0;
    for (size_t i = 0; i < c->n; i++) {
        const code_mark m = c->marks[i];
        bool adjacent = starter != SIZE_MAX && n == starter + 1;
        bool blocked = starter == SIZE_MAX || (!adjacent && last_class >= m.class);
        int32_t joined = blocked ? -1 : composed(c->marks[starter].code, &m);
        if (joined >= 0) {
            c->marks[starter].code = joined;
            continue;
        }
        if (m.class == 0) {
            starter = n;
        }
        last_class = m.class;
        c->marks[n++] = m;
    }
    c->n = n;
}

static int put_cluster(lv_mapped *out, const cluster *c)
{
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < c->n; i++) {
        char bytes[4];
        size_t n = lv_utf8_put(bytes, (uint32_t)c->marks[i].code);
        rc = lv_mapped_add(out, bytes, n, c->marks[i].begin);
    }
    return rc;
}

/* Whether a form leaves all characters below a bound alone: those before the first combining mark,
 * which a form with K has from U+00A0 on, a decomposed one from U+00C0 on. */
static bool is_inert(uint32_t code, lv_unicode_form form)
{
    return code < (form == LV_FORM_NFC ? 0x300 : 0x80);
}

static bool is_ascii(const lv_span *text, size_t at)
{
    return (unsigned char)text->bytes[at] < 0x80;
}

static int add_character(cluster *c, const char *s, size_t step, size_t begin, int options)
{
    /* U+FDFA, the longest, becomes 18 */
    int32_t codes[64];
    int boundary = 0;
    utf8proc_ssize_t n =
        utf8proc_decompose_char((int32_t)lv_utf8_code(s, step), codes, 64, options, &boundary);
    int rc = n > 0 && n <= 64 ? LV_OK : lv_fail(LV_ERR_FORMAT, "a character can not be normalised");
    for (utf8proc_ssize_t i = 0; rc == LV_OK && i < n; i++) {
        rc = add_mark(c, codes[i], begin);
    }
    return rc;
}

int lv_unicode_normalize(lv_mapped *out, const lv_span *text, lv_unicode_form form)
{
    cluster c = {0};
    bool composes = form == LV_FORM_NFC || form == LV_FORM_NFKC;
    int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                  (form == LV_FORM_NFKC || form == LV_FORM_NFKD ? UTF8PROC_COMPAT : 0);
    int rc = LV_OK;
    if (form == LV_FORM_NONE) {
        return lv_mapped_add_span(out, text);
    }
    for (size_t at = 0; rc == LV_OK && at < text->n;) {
        size_t first = at;
        /* ASCII that nothing but ASCII follows stays itself, whatever the form */
        while (at < text->n && is_ascii(text, at) &&
               (at + 1 == text->n || is_ascii(text, at + 1))) {
            at++;
        }
        if (at > first) {
            lv_span part = lv_span_part(text, first, at);
            rc = lv_mapped_add_span(out, &part);
            continue;
        }
        bool valid = false, starts_anew = true;
        c.n = 0;
        /* up to the next character that nothing before it can change */
        while (rc == LV_OK && at < text->n && (at == first || !starts_anew)) {
            size_t step = lv_utf8_step(text->bytes + at, text->n - at, &valid);
            rc = valid ? add_character(&c, text->bytes + at, step, lv_span_begin(text, at), options)
                       : lv_fail(LV_ERR_FORMAT, "a text that is not UTF-8 can not be normalised");
            at += step;
            if (at < text->n) {
                step = lv_utf8_step(text->bytes + at, text->n - at, &valid);
                starts_anew = valid && is_inert(lv_utf8_code(text->bytes + at, step), form);
            }
        }
        if (rc == LV_OK) {
            order_marks(&c);
            if (composes) {
                compose(&c);
            }
            rc = put_cluster(out, &c);
        }
    }
    free(c.marks);
    return rc;
}
