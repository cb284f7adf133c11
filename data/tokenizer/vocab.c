/* SPDX-License-Identifier: Apache-2.0
 *
 * Pieces by id and by text, and merges by pair: hash tables with linear probing, at most half
 * full, sized once.
 */
#include "data/tokenizer/internal.h"

#include "autograd/error.h"
#include "data/base/text.h"
#include "data/tokenizer/spm.h"

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

static uint32_t hash_bytes(const char *s, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u ^ n;
    for (; n >= 8; n -= 8, s += 8) {
        uint64_t word;
        memcpy(&word, s, 8);
        h = (h ^ word) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (unsigned char)s[i]) * 0x100000001B3u;
    }
    return (uint32_t)mix(h);
}

int lv_vocab_create(lv_tokenizer *t, int32_t n_ids, size_t n_pieces, size_t n_merges)
{
    size_t n = (size_t)n_ids;
    t->n_ids = n_ids;
    t->n_piece_slots = slots_for(n_pieces);
    t->n_merge_slots = slots_for(n_merges);
    t->pieces = calloc(n, sizeof *t->pieces);
    t->texts = calloc(n, sizeof *t->texts);
    t->text_bytes = calloc(n, sizeof *t->text_bytes);
    t->in_model = calloc(n, sizeof *t->in_model);
    t->special = calloc(n, sizeof *t->special);
    t->whole = calloc(n, sizeof *t->whole);
    t->piece_slots = malloc(t->n_piece_slots * sizeof *t->piece_slots);
    t->merge_slots = malloc(t->n_merge_slots * sizeof *t->merge_slots);
    if (!t->pieces || !t->texts || !t->text_bytes || !t->in_model || !t->special || !t->whole ||
        !t->piece_slots || !t->merge_slots) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a vocabulary of %zu pieces", n_pieces);
    }
    for (size_t i = 0; i < t->n_piece_slots; i++) {
        t->piece_slots[i].id = -1;
    }
    for (size_t i = 0; i < t->n_merge_slots; i++) {
        t->merge_slots[i].rank = -1;
    }
    return LV_OK;
}

void lv_vocab_destroy(lv_tokenizer *t)
{
    for (int32_t id = 0; t->pieces && t->texts && id < t->n_ids; id++) {
        if (t->texts[id] != t->pieces[id]) {
            free(t->texts[id]);
        }
        free(t->pieces[id]);
    }
    free(t->pieces);
    free(t->texts);
    free(t->text_bytes);
    free(t->in_model);
    free(t->special);
    free(t->whole);
    free(t->piece_slots);
    free(t->merge_slots);
}

/* ---- pieces ---- */

/* The slot that holds the text, or the empty one where it would go. */
static lv_piece_slot *piece_slot(const lv_tokenizer *t, const char *text, size_t n, uint32_t hash)
{
    size_t mask = t->n_piece_slots - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        lv_piece_slot *slot = &t->piece_slots[i];
        if (slot->id < 0 || (slot->hash == hash && t->text_bytes[slot->id] == n &&
                             memcmp(t->texts[slot->id], text, n) == 0)) {
            return slot;
        }
    }
}

/* The bytes that a byte-level piece's characters stand for into text, which has room for strlen
 * (piece); false if one stands for none. */
static bool bytes_of_piece(char *text, size_t *n, const char *piece, size_t n_piece)
{
    *n = 0;
    for (size_t at = 0; at < n_piece;) {
        bool valid = false;
        size_t step = lv_utf8_step(piece + at, n_piece - at, &valid);
        int byte = valid ? lv_byte_of_character(lv_utf8_code(piece + at, step)) : -1;
        if (byte < 0) {
            return false;
        }
        text[(*n)++] = (char)byte;
        at += step;
    }
    return true;
}

/* Sets what the piece stands for in a text. *has_one false: it never stands in one. */
static int set_text(lv_tokenizer *t, int32_t id, bool *has_one)
{
    size_t n = strlen(t->pieces[id]);
    *has_one = true;
    t->texts[id] = t->pieces[id];
    if (t->kind == LV_KIND_BYTES) {
        char *text = malloc(n + 1);
        if (!text) {
            return lv_fail(LV_ERR_MEMORY, "out of memory for the vocabulary");
        }
        *has_one = bytes_of_piece(text, &n, t->pieces[id], n);
        t->texts[id] = text;
    }
    t->text_bytes[id] = (uint32_t)n;
    return LV_OK;
}

int lv_vocab_add(lv_tokenizer *t, int32_t id, const char *piece, bool in_model)
{
    bool has_text = false;
    if (t->pieces[id]) {
        return lv_fail(LV_ERR_FORMAT, "the pieces \"%s\" and \"%s\" have the same id %d",
                       t->pieces[id], piece, id);
    }
    if (strlen(piece) > INT32_MAX) {
        return lv_fail(LV_ERR_FORMAT, "the piece with the id %d has more than 2^31 bytes", id);
    }
    t->pieces[id] = strdup(piece);
    if (!t->pieces[id]) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the vocabulary");
    }
    t->in_model[id] = in_model;
    if (!in_model) {
        t->texts[id] = t->pieces[id];
        t->text_bytes[id] = (uint32_t)strlen(piece);
        return LV_OK;
    }
    int rc = set_text(t, id, &has_text);
    if (rc == LV_OK && has_text) {
        uint32_t hash = hash_bytes(t->texts[id], t->text_bytes[id]);
        lv_piece_slot *slot = piece_slot(t, t->texts[id], t->text_bytes[id], hash);
        if (slot->id >= 0) {
            return lv_fail(LV_ERR_FORMAT, "the piece \"%s\" has two ids, %d and %d", piece,
                           slot->id, id);
        }
        *slot = (lv_piece_slot){.hash = hash, .id = id};
        t->longest_piece =
            t->text_bytes[id] > t->longest_piece ? t->text_bytes[id] : t->longest_piece;
    }
    return rc;
}

int32_t lv_vocab_find(const lv_tokenizer *t, const char *text, size_t n)
{
    return n > t->longest_piece ? -1 : piece_slot(t, text, n, hash_bytes(text, n))->id;
}

int32_t lv_vocab_find_piece(const lv_tokenizer *t, const char *piece, size_t n)
{
    if (t->kind != LV_KIND_BYTES) {
        return lv_vocab_find(t, piece, n);
    }
    char *text = malloc(n + 1);
    size_t n_text = 0;
    int32_t id =
        text && bytes_of_piece(text, &n_text, piece, n) ? lv_vocab_find(t, text, n_text) : -1;
    free(text);
    return id;
}

/* ---- merges ---- */

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

/* ---- all of them together ---- */

/* Whether a marker stands behind, and in front of, another character. */
static void see_markers(const char *piece, bool *behind, bool *before)
{
    for (const char *at = piece; (at = strstr(at, LV_SPACE_MARKER)); at += LV_SPACE_MARKER_BYTES) {
        const char *end = at + LV_SPACE_MARKER_BYTES;
        bool follows_one =
            at - piece >= LV_SPACE_MARKER_BYTES &&
            memcmp(at - LV_SPACE_MARKER_BYTES, LV_SPACE_MARKER, LV_SPACE_MARKER_BYTES) == 0;
        *behind = *behind || (at > piece && !follows_one);
        *before = *before || (*end && strncmp(end, LV_SPACE_MARKER, LV_SPACE_MARKER_BYTES) != 0);
    }
}

static void find_cuts(lv_tokenizer *t)
{
    bool behind = false, before = false;
    /* Runs of unknown characters become one token across words, and unused pieces are taken apart
     * as their last like was joined: then there is only one word. */
    bool has_words =
        t->kind == LV_KIND_SPM ? !t->spm->has_unused : t->byte_fallback && !t->ignore_merges;
    for (int b = 0; has_words && t->kind == LV_KIND_MARKER && b < 256; b++) {
        has_words = t->byte_ids[b] >= 0;
    }
    for (int32_t id = 0; has_words && id < t->n_ids; id++) {
        if (t->in_model[id]) {
            see_markers(t->pieces[id], &behind, &before);
        }
    }
    t->cuts_before_markers = has_words && !behind;
    t->cuts_behind_markers = has_words && behind && !before;
}

int lv_vocab_finish(lv_tokenizer *t)
{
    lv_bpe bpe = {0};
    int rc = LV_OK;
    find_cuts(t);
    for (int32_t id = 0; rc == LV_OK && id < t->n_ids; id++) {
        if (!t->in_model[id] || t->ignore_merges) {
            t->whole[id] = t->in_model[id];
            continue;
        }
        rc = lv_bpe_merge(&bpe, t, t->texts[id], t->text_bytes[id]);
        t->whole[id] =
            bpe.n > 0 && bpe.symbols[0].next == LV_SYMBOL_NONE && bpe.symbols[0].id == id;
    }
    lv_bpe_free(&bpe);
    return rc;
}
