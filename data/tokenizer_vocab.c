/* SPDX-License-Identifier: Apache-2.0
 *
 * Pieces by id and by text, and merges by pair: hash tables with linear probing, at most half
 * full, sized once.
 */
#include "data/tokenizer_internal.h"

#include "autograd/error.h"

#include <stdlib.h>
#include <string.h>

static size_t slots_for(size_t n)
{
    size_t slots = 16;
    while (slots < 2 * n) {
        slots *= 2;
    }
    return slots;
}

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

static uint64_t hash_bytes(const char *s, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u; /* FNV-1a */
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (unsigned char)s[i]) * 0x100000001B3u;
    }
    return mix(h);
}

int lv_vocab_create(lv_tokenizer *t, int32_t n_ids, size_t n_pieces, size_t n_merges)
{
    size_t n = (size_t)n_ids;
    t->n_ids = n_ids;
    t->n_piece_slots = slots_for(n_pieces);
    t->n_merge_slots = slots_for(n_merges);
    t->pieces = calloc(n, sizeof *t->pieces);
    t->in_model = calloc(n, sizeof *t->in_model);
    t->special = calloc(n, sizeof *t->special);
    t->piece_slots = malloc(t->n_piece_slots * sizeof *t->piece_slots);
    t->merge_slots = malloc(t->n_merge_slots * sizeof *t->merge_slots);
    if (!t->pieces || !t->in_model || !t->special || !t->piece_slots || !t->merge_slots) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a vocabulary of %zu pieces", n_pieces);
    }
    for (size_t i = 0; i < t->n_piece_slots; i++) {
        t->piece_slots[i] = -1;
    }
    for (size_t i = 0; i < t->n_merge_slots; i++) {
        t->merge_slots[i].rank = -1;
    }
    return LV_OK;
}

void lv_vocab_destroy(lv_tokenizer *t)
{
    for (int32_t id = 0; t->pieces && id < t->n_ids; id++) {
        free(t->pieces[id]);
    }
    free(t->pieces);
    free(t->in_model);
    free(t->special);
    free(t->piece_slots);
    free(t->merge_slots);
}

/* The slot that holds the piece, or the empty one where it would go. */
static int32_t *piece_slot(const lv_tokenizer *t, const char *piece, size_t n)
{
    size_t mask = t->n_piece_slots - 1;
    size_t i = hash_bytes(piece, n) & mask;
    for (;; i = (i + 1) & mask) {
        int32_t id = t->piece_slots[i];
        if (id < 0 || (strlen(t->pieces[id]) == n && memcmp(t->pieces[id], piece, n) == 0)) {
            return &t->piece_slots[i];
        }
    }
}

int lv_vocab_add(lv_tokenizer *t, int32_t id, const char *piece, bool in_model)
{
    size_t n = strlen(piece);
    if (t->pieces[id]) {
        return lv_fail(LV_ERR_FORMAT, "the pieces \"%s\" and \"%s\" have the same id %d",
                       t->pieces[id], piece, id);
    }
    t->pieces[id] = strdup(piece);
    if (!t->pieces[id]) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the vocabulary");
    }
    t->in_model[id] = in_model;
    if (in_model) {
        *piece_slot(t, piece, n) = id;
        t->longest_piece = n > t->longest_piece ? n : t->longest_piece;
    }
    return LV_OK;
}

int32_t lv_vocab_find(const lv_tokenizer *t, const char *piece, size_t n)
{
    return *piece_slot(t, piece, n);
}

static lv_merge *merge_slot(const lv_tokenizer *t, uint64_t pair)
{
    size_t mask = t->n_merge_slots - 1;
    size_t i = mix(pair) & mask;
    while (t->merge_slots[i].rank >= 0 && t->merge_slots[i].pair != pair) {
        i = (i + 1) & mask;
    }
    return &t->merge_slots[i];
}

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

void lv_merge_add(lv_tokenizer *t, int32_t left, int32_t right, lv_merge merge)
{
    merge.pair = pair_of(left, right);
    *merge_slot(t, merge.pair) = merge;
}

const lv_merge *lv_merge_find(const lv_tokenizer *t, int32_t left, int32_t right)
{
    const lv_merge *slot = merge_slot(t, pair_of(left, right));
    return slot->rank >= 0 ? slot : NULL;
}
