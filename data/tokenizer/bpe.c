/* SPDX-License-Identifier: Apache-2.0
 *
 * A word becomes a list of symbols, a character each (or its bytes), and the adjacent pair of
 * lowest rank, leftmost first, is replaced until no merge applies. A heap of candidate pairs over a
 * doubly linked list makes that O(n log n).
 */
#include "data/tokenizer/vocab.h"

#include "autograd/error.h"
#include "data/tokenizer/text.h"

#include <stdlib.h>

enum { DEAD = -2, NONE = LV_SYMBOL_NONE };

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

/* ---- symbols ---- */

static int add_symbol(lv_bpe *w, int32_t id, size_t begin, size_t n)
{
    int rc = grow(&w->symbols, &w->capacity, w->n, sizeof *w->symbols);
    if (rc == LV_OK) {
        w->symbols[w->n] = (lv_symbol){.id = id,
                                       .prev = (int32_t)w->n - 1,
                                       .next = (int32_t)w->n + 1,
                                       .begin = (uint32_t)begin,
                                       .n = (uint32_t)n};
        w->n++;
    }
    return rc;
}

static bool has_byte_pieces(const lv_vocab *v, const char *s, size_t n)
{
    bool all = v->byte_fallback;
    for (size_t i = 0; all && i < n; i++) {
        all = v->byte_ids[(unsigned char)s[i]] >= 0;
    }
    return all;
}

/* One symbol a character that is a piece; otherwise its bytes; otherwise unk, a run of which may
 * be one symbol. As in the tokenizers library, byte pieces do not end such a run. With ranks, as in
 * sentencepiece, what is no piece may become part of one, and has its bytes or unk only then. */
static int add_characters(lv_bpe *w, const char *word, size_t n)
{
    const lv_vocab *v = w->vocab;
    const bool byte_level = v->byte_level, by_rank = w->merges->ranks;
    bool unk_due = false;
    size_t unk_begin = 0;
    int rc = LV_OK;
    for (size_t at = 0, step; rc == LV_OK && at < n; at += step) {
        unsigned char byte = (unsigned char)word[at];
        step = byte_level || byte < 0x80 ? 1 : lv_character_bytes(word + at, n - at);
        int32_t id = byte_level ? v->byte_ids[byte] : lv_vocab_find(v, word + at, step);
        if (by_rank) {
            rc = add_symbol(w, id >= 0 ? id : LV_SYMBOL_UNKNOWN, at, step);
            continue;
        }
        if (id < 0 && has_byte_pieces(v, word + at, step)) {
            for (size_t i = 0; rc == LV_OK && i < step; i++) {
                rc = add_symbol(w, v->byte_ids[(unsigned char)word[at + i]], at + i, 1);
            }
            continue;
        }
        if (unk_due && (id >= 0 || !v->fuse_unk)) {
            rc = add_symbol(w, v->unk, unk_begin, 1);
            unk_due = false;
        }
        if (id >= 0) {
            if (rc == LV_OK) rc = add_symbol(w, id, at, step);
        } else if (!unk_due && v->unk >= 0) {
            unk_due = true;
            unk_begin = at;
        }
    }
    return rc == LV_OK && unk_due ? add_symbol(w, v->unk, unk_begin, 1) : rc;
}

/* ---- merging ---- */

static bool find_merge(const lv_bpe *w, const char *word, const lv_symbol *left,
                       const lv_symbol *right, int32_t *rank, int32_t *id)
{
    if (w->merges->ranks) {
        *id = lv_vocab_find(w->vocab, word + left->begin, (size_t)left->n + right->n);
        *rank = *id >= 0 ? w->merges->ranks[*id] : 0;
        return *id >= 0;
    }
    const lv_merge *merge = lv_merges_find(w->merges, left->id, right->id);
    if (merge) {
        *rank = merge->rank;
        *id = merge->id;
    }
    return merge != NULL;
}

static bool before(const lv_candidate *a, const lv_candidate *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

/* Puts the pair that begins at symbol `at` on the heap, if there is a merge for it. */
static int add_candidate(lv_bpe *w, const char *word, int32_t at)
{
    lv_candidate added = {.at = at};
    if (at == NONE || w->symbols[at].next == NONE) {
        return LV_OK;
    }
    const lv_symbol *left = &w->symbols[at], *right = &w->symbols[left->next];
    if (!find_merge(w, word, left, right, &added.rank, &added.id)) {
        return LV_OK;
    }
    added.left = left->id;
    added.right = right->id;
    if (w->unused_left && w->merges->unused[added.id]) {
        w->unused_left[added.id] = (int32_t)left->n;
    }
    int rc = grow(&w->heap, &w->heap_capacity, w->n_heap, sizeof *w->heap);
    if (rc < 0) {
        return rc;
    }
    size_t i = w->n_heap++;
    for (; i > 0 && before(&added, &w->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        w->heap[i] = w->heap[(i - 1) / 2];
    }
    w->heap[i] = added;
    return LV_OK;
}

static lv_candidate take_first(lv_bpe *w)
{
    lv_candidate first = w->heap[0];
    lv_candidate last = w->heap[--w->n_heap];
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

/* A candidate is stale when one of its symbols has since been merged into something longer. */
static bool is_current(const lv_bpe *w, const lv_candidate *c)
{
    const lv_symbol *left = &w->symbols[c->at];
    return left->id == c->left && left->next != NONE && w->symbols[left->next].id == c->right;
}

int lv_bpe_create(lv_bpe *w, const lv_vocab *vocab, const lv_merges *merges)
{
    *w = (lv_bpe){.vocab = vocab, .merges = merges};
    if (merges->unused) {
        w->unused_left = calloc((size_t)vocab->n_ids, sizeof *w->unused_left);
        return w->unused_left ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    return LV_OK;
}

int lv_bpe_merge(lv_bpe *w, const char *word, size_t n)
{
    w->n = w->n_heap = 0;
    int rc = n < INT32_MAX ? add_characters(w, word, n)
                           : lv_fail(LV_ERR_MEMORY, "a text of %zu bytes is too long", n);
    if (rc < 0 || w->n == 0) {
        return rc;
    }
    w->symbols[w->n - 1].next = NONE;
    for (size_t i = 0; rc == LV_OK && i + 1 < w->n; i++) {
        rc = add_candidate(w, word, (int32_t)i);
    }
    while (rc == LV_OK && w->n_heap > 0) {
        lv_candidate c = take_first(w);
        if (!is_current(w, &c)) {
            continue;
        }
        lv_symbol *left = &w->symbols[c.at];
        lv_symbol *right = &w->symbols[left->next];
        left->id = c.id;
        left->n += right->n;
        left->next = right->next;
        right->id = DEAD;
        if (left->next != NONE) {
            w->symbols[left->next].prev = c.at;
        }
        rc = add_candidate(w, word, left->prev);
        if (rc == LV_OK) rc = add_candidate(w, word, c.at);
    }
    return rc;
}

void lv_bpe_free(lv_bpe *w)
{
    free(w->symbols);
    free(w->heap);
    free(w->unused_left);
    *w = (lv_bpe){0};
}

int lv_bpe_find_whole(lv_vocab *v, const lv_merges *merges)
{
    lv_bpe w;
    int rc = lv_bpe_create(&w, v, merges);
    for (int32_t id = 0; rc == LV_OK && id < v->n_ids; id++) {
        lv_vocab_piece *p = &v->pieces[id];
        if (!p->in_model || merges->ignored) {
            p->whole = p->in_model;
            continue;
        }
        rc = lv_bpe_merge(&w, p->text, p->text_bytes);
        p->whole = w.n > 0 && w.symbols[0].next == NONE && w.symbols[0].id == id;
    }
    lv_bpe_free(&w);
    return rc;
}
