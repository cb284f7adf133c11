/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_tokenizer_encode: a chunk becomes a list of symbols, a character each (or its bytes), and the
 * adjacent pair of lowest merge rank, leftmost first, is replaced until no merge applies. A heap
 * of candidate pairs over a doubly linked list makes that O(n log n).
 */
#include "data/tokenizer_internal.h"

#include "autograd/error.h"
#include "data/text.h"

#include <stdlib.h>
#include <string.h>

enum { DEAD = -1, NONE = -1 };

typedef struct {
    int32_t id; /* DEAD: merged into its left neighbour */
    int32_t prev, next;
    size_t begin;
} symbol;

typedef struct {
    int32_t rank, at; /* of the pair (at, next of at); ordered by rank, then place */
    int32_t id;
} candidate;

typedef struct {
    symbol *symbols;
    size_t n, capacity;
    candidate *heap;
    size_t n_heap, heap_capacity;
} word;

static const char replacement_character[] = "\xEF\xBF\xBD";

/* ---- characters of the normalised chunk ---- */

typedef struct {
    const lv_tokenizer *tokenizer;
    const char *text;
    size_t n, at;
    bool marker_due;
} reader;

typedef struct {
    const char *bytes;
    size_t n;
    size_t begin;
    bool replaced; /* the bytes are not those of the text */
} character;

static bool gets_marker(const lv_tokenizer *t, const char *text, size_t n, bool first)
{
    size_t marker_bytes = strlen(LV_SPACE_MARKER);
    bool has_one =
        n > 0 && ((text[0] == ' ' && t->replaces_spaces) ||
                  (n >= marker_bytes && memcmp(text, LV_SPACE_MARKER, marker_bytes) == 0));
    return n > 0 && (t->marker == LV_MARKER_LEGACY ||
                     (!has_one &&
                      (t->marker == LV_MARKER_ALWAYS || (t->marker == LV_MARKER_FIRST && first))));
}

static bool next_character(reader *r, character *c)
{
    bool valid = false;
    c->begin = r->at;
    c->replaced = true;
    if (r->marker_due) {
        r->marker_due = false;
        c->bytes = LV_SPACE_MARKER;
        c->n = strlen(LV_SPACE_MARKER);
        return true;
    }
    if (r->at >= r->n) {
        return false;
    }
    c->bytes = r->text + r->at;
    c->n = lv_utf8_step(c->bytes, r->n - r->at, &valid);
    r->at += c->n;
    if (!valid) {
        c->bytes = replacement_character;
        c->n = strlen(replacement_character);
    } else if (*c->bytes == ' ' && r->tokenizer->replaces_spaces) {
        c->bytes = LV_SPACE_MARKER;
        c->n = strlen(LV_SPACE_MARKER);
    } else {
        c->replaced = false;
    }
    return true;
}

/* ---- symbols ---- */

static int grow(void *array, size_t *capacity, size_t n, size_t element_bytes)
{
    if (n < *capacity) {
        return LV_OK;
    }
    size_t wanted = *capacity ? *capacity * 2 : 256;
    void *grown = n < INT32_MAX ? realloc(*(void **)array, wanted * element_bytes) : NULL;
    if (!grown) {
        return lv_fail(LV_ERR_MEMORY, "no memory to tokenise a text of %zu characters", n);
    }
    *(void **)array = grown;
    *capacity = wanted;
    return LV_OK;
}

static int add_symbol(word *w, int32_t id, size_t begin)
{
    int rc = grow(&w->symbols, &w->capacity, w->n, sizeof *w->symbols);
    if (rc < 0) {
        return rc;
    }
    w->symbols[w->n] =
        (symbol){.id = id, .prev = (int32_t)w->n - 1, .next = (int32_t)w->n + 1, .begin = begin};
    w->n++;
    return LV_OK;
}

static bool has_byte_pieces(const lv_tokenizer *t, const character *c)
{
    bool all = t->byte_fallback;
    for (size_t i = 0; all && i < c->n; i++) {
        all = t->byte_ids[(unsigned char)c->bytes[i]] >= 0;
    }
    return all;
}

/* One symbol a character that is a piece; otherwise its bytes; otherwise unk, a run of which may
 * be one symbol. As in the tokenizers library, byte pieces do not end such a run. */
static int add_characters(word *w, reader *r)
{
    const lv_tokenizer *t = r->tokenizer;
    bool unk_due = false;
    size_t unk_begin = 0;
    character c;
    int rc = LV_OK;
    while (rc == LV_OK && next_character(r, &c)) {
        int32_t id = lv_vocab_find(t, c.bytes, c.n);
        if (id < 0 && has_byte_pieces(t, &c)) {
            for (size_t i = 0; rc == LV_OK && i < c.n; i++) {
                rc = add_symbol(w, t->byte_ids[(unsigned char)c.bytes[i]],
                                c.begin + (c.replaced ? 0 : i));
            }
            continue;
        }
        if (unk_due && (id >= 0 || !t->fuse_unk)) {
            rc = add_symbol(w, t->unk, unk_begin);
            unk_due = false;
        }
        if (id >= 0) {
            rc = rc < 0 ? rc : add_symbol(w, id, c.begin);
        } else if (!unk_due && t->unk >= 0) {
            unk_due = true;
            unk_begin = c.begin;
        }
    }
    return rc == LV_OK && unk_due ? add_symbol(w, t->unk, unk_begin) : rc;
}

/* The id of the whole chunk if it is one piece, otherwise -1. */
static int32_t whole_piece(reader r)
{
    char *text = malloc(r.tokenizer->longest_piece + 1);
    size_t n = 0;
    bool fits = text != NULL;
    character c;
    while (fits && next_character(&r, &c)) {
        fits = c.n <= r.tokenizer->longest_piece - n;
        if (fits) {
            memcpy(text + n, c.bytes, c.n);
            n += c.n;
        }
    }
    int32_t id = fits && n > 0 ? lv_vocab_find(r.tokenizer, text, n) : -1;
    free(text);
    return id;
}

/* ---- merging ---- */

static bool before(const candidate *a, const candidate *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

/* Puts the pair that begins at symbol `at` on the heap, if there is a merge for it. */
static int add_candidate(word *w, const lv_tokenizer *t, int32_t at)
{
    if (at == NONE || w->symbols[at].next == NONE) {
        return LV_OK;
    }
    const lv_merge *merge = lv_merge_find(t, w->symbols[at].id, w->symbols[w->symbols[at].next].id);
    if (!merge) {
        return LV_OK;
    }
    int rc = grow(&w->heap, &w->heap_capacity, w->n_heap, sizeof *w->heap);
    if (rc < 0) {
        return rc;
    }
    candidate added = {.rank = merge->rank, .at = at, .id = merge->id};
    size_t i = w->n_heap++;
    for (; i > 0 && before(&added, &w->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        w->heap[i] = w->heap[(i - 1) / 2];
    }
    w->heap[i] = added;
    return LV_OK;
}

static candidate take_first(word *w)
{
    candidate first = w->heap[0];
    candidate last = w->heap[--w->n_heap];
    size_t i = 0;
    for (size_t child = 1; child < w->n_heap; child = 2 * i + 1) {
        child += child + 1 < w->n_heap && before(&w->heap[child + 1], &w->heap[child]);
        if (!before(&w->heap[child], &last)) {
            break;
        }
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return first;
}

/* A candidate is stale when its symbols have since been merged into something else. */
static bool is_current(const word *w, const lv_tokenizer *t, const candidate *c)
{
    const symbol *left = &w->symbols[c->at];
    if (left->id == DEAD || left->next == NONE) {
        return false;
    }
    const lv_merge *merge = lv_merge_find(t, left->id, w->symbols[left->next].id);
    return merge && merge->id == c->id;
}

static int merge_all(word *w, const lv_tokenizer *t)
{
    int rc = LV_OK;
    w->symbols[w->n - 1].next = NONE;
    for (size_t i = 0; rc == LV_OK && i + 1 < w->n; i++) {
        rc = add_candidate(w, t, (int32_t)i);
    }
    while (rc == LV_OK && w->n_heap > 0) {
        candidate c = take_first(w);
        if (!is_current(w, t, &c)) {
            continue;
        }
        symbol *left = &w->symbols[c.at];
        symbol *right = &w->symbols[left->next];
        left->id = c.id;
        left->next = right->next;
        right->id = DEAD;
        if (left->next != NONE) {
            w->symbols[left->next].prev = c.at;
        }
        rc = add_candidate(w, t, left->prev);
        rc = rc < 0 ? rc : add_candidate(w, t, c.at);
    }
    return rc;
}

/* ---- the result ---- */

static int reserve_tokens(lv_tokens *tokens, size_t more)
{
    if (more <= tokens->capacity - tokens->n) {
        return LV_OK;
    }
    size_t capacity = tokens->n + more + tokens->capacity / 2;
    int32_t *ids = realloc(tokens->ids, capacity * sizeof *ids);
    tokens->ids = ids ? ids : tokens->ids;
    size_t *begin = ids ? realloc(tokens->begin, capacity * sizeof *begin) : NULL;
    tokens->begin = begin ? begin : tokens->begin;
    if (!begin) {
        return lv_fail(LV_ERR_MEMORY, "no memory for %zu tokens", capacity);
    }
    tokens->capacity = capacity;
    return LV_OK;
}

int lv_tokenizer_encode(const lv_tokenizer *t, const char *text, size_t n, bool first,
                        lv_tokens *out)
{
    word w = {0};
    reader r = {.tokenizer = t, .text = text, .n = n, .marker_due = gets_marker(t, text, n, first)};
    int32_t whole = t->ignore_merges ? whole_piece(r) : -1;
    int rc = whole >= 0 ? add_symbol(&w, whole, 0) : add_characters(&w, &r);
    if (rc < 0 || w.n == 0) {
        goto done;
    }
    rc = merge_all(&w, t);
    if (rc == LV_OK) {
        rc = reserve_tokens(out, w.n);
    }
    for (int32_t i = 0; rc == LV_OK && i != NONE; i = w.symbols[i].next) {
        out->ids[out->n] = w.symbols[i].id;
        out->begin[out->n++] = w.symbols[i].begin;
    }
done:
    free(w.symbols);
    free(w.heap);
    return rc;
}

void lv_tokens_free(lv_tokens *tokens)
{
    free(tokens->ids);
    free(tokens->begin);
    *tokens = (lv_tokens){0};
}
