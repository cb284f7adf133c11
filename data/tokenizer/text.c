/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts whose bytes know their place in the original, and parts of them.
 */
#include "data/tokenizer/internal.h"

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

lv_span lv_span_of(const lv_mapped *m)
{
    return (lv_span){.bytes = m->bytes ? m->bytes : "", .n = m->n, .begin = m->begin};
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
