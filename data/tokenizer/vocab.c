/* SPDX-License-Identifier: Apache-2.0
 *
 * Pieces by id and by text, and merges by pair: hash tables with linear probing, at most half
 * full, sized once.
 */
#include "data/tokenizer/vocab.h"

#include "autograd/error.h"
#include "data/base/text.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

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

/* ---- pieces ---- */

int lv_vocab_create(lv_vocab *v, int32_t n_ids, size_t n_pieces)
{
    v->n_ids = n_ids;
    v->unk = -1;
    v->n_slots = slots_for(n_pieces);
    v->pieces = calloc((size_t)n_ids, sizeof *v->pieces);
    v->slots = malloc(v->n_slots * sizeof *v->slots);
    if (!v->pieces || !v->slots) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a vocabulary of %zu pieces", n_pieces);
    }
    for (size_t i = 0; i < v->n_slots; i++) {
        v->slots[i].id = -1;
    }
    for (int b = 0; b < 256; b++) {
        v->byte_ids[b] = -1;
    }
    return LV_OK;
}

void lv_vocab_free(lv_vocab *v)
{
    for (int32_t id = 0; v->pieces && id < v->n_ids; id++) {
        if (v->pieces[id].text != v->pieces[id].name) {
            free(v->pieces[id].text);
        }
        free(v->pieces[id].name);
    }
    free(v->pieces);
    free(v->slots);
}

/* The slot that holds the text, or the empty one where it would go. */
static lv_vocab_slot *slot_of(const lv_vocab *v, const char *text, size_t n, uint32_t hash)
{
    size_t mask = v->n_slots - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        lv_vocab_slot *slot = &v->slots[i];
        if (slot->id < 0) {
            return slot;
        }
        const lv_vocab_piece *p = &v->pieces[slot->id];
        if (slot->hash == hash && p->text_bytes == n && memcmp(p->text, text, n) == 0) {
            return slot;
        }
    }
}

/* Bytes that are printable in Latin-1 stand for themselves, the others are U+0100 and following. */
static int byte_of_character(uint32_t c)
{
    if (c < 0x100) {
        bool for_itself = (c >= '!' && c <= '~') || (c >= 0xA1 && c <= 0xAC) || c >= 0xAE;
        return for_itself ? (int)c : -1;
    }
    /* the others in order: 0 to 32, 127 to 160, 173 */
    uint32_t i = c - 0x100;
    return i < 33 ? (int)i : i < 67 ? (int)i - 33 + 127 : i == 67 ? 173 : -1;
}

bool lv_bytes_of_name(char *text, size_t *n, const char *name, size_t n_name)
{
    *n = 0;
    for (size_t at = 0; at < n_name;) {
        bool valid = false;
        size_t step = lv_utf8_step(name + at, n_name - at, &valid);
        int byte = valid ? byte_of_character(lv_utf8_code(name + at, step)) : -1;
        if (byte < 0) {
            return false;
        }
        text[(*n)++] = (char)byte;
        at += step;
    }
    return true;
}

/* Sets what a model's piece stands for. *has_one false: it never stands in a text. */
static int set_text(const lv_vocab *v, lv_vocab_piece *p, bool *has_one)
{
    size_t n = p->text_bytes;
    *has_one = true;
    if (!v->byte_level) {
        return LV_OK;
    }
    char *text = malloc(n + 1);
    if (!text) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the vocabulary");
    }
    *has_one = lv_bytes_of_name(text, &n, p->name, n);
    p->text = text;
    p->text_bytes = (uint32_t)n;
    return LV_OK;
}

int lv_vocab_add(lv_vocab *v, int32_t id, const char *name, bool in_model)
{
    lv_vocab_piece *p = &v->pieces[id];
    bool has_text = false;
    size_t n = strlen(name);
    if (p->name) {
        return lv_fail(LV_ERR_FORMAT, "the pieces \"%s\" and \"%s\" have the same id %d", p->name,
                       name, id);
    }
    if (n > INT32_MAX) {
        return lv_fail(LV_ERR_FORMAT, "the piece with the id %d has more than 2^31 bytes", id);
    }
    p->name = p->text = strdup(name);
    if (!p->name) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the vocabulary");
    }
    p->text_bytes = (uint32_t)n;
    p->in_model = in_model;
    int rc = in_model ? set_text(v, p, &has_text) : LV_OK;
    if (rc < 0 || !has_text) {
        return rc;
    }
    uint32_t hash = hash_bytes(p->text, p->text_bytes);
    lv_vocab_slot *slot = slot_of(v, p->text, p->text_bytes, hash);
    if (slot->id >= 0) {
        return lv_fail(LV_ERR_FORMAT, "the piece \"%s\" has two ids, %d and %d", name, slot->id,
                       id);
    }
    *slot = (lv_vocab_slot){.hash = hash, .id = id};
    v->longest = p->text_bytes > v->longest ? p->text_bytes : v->longest;
    return LV_OK;
}

int32_t lv_vocab_find(const lv_vocab *v, const char *text, size_t n)
{
    return n > v->longest ? -1 : slot_of(v, text, n, hash_bytes(text, n))->id;
}

int32_t lv_vocab_find_name(const lv_vocab *v, const char *name, size_t n)
{
    if (!v->byte_level) {
        return lv_vocab_find(v, name, n);
    }
    char *text = malloc(n + 1);
    size_t n_text = 0;
    int32_t id =
        text && lv_bytes_of_name(text, &n_text, name, n) ? lv_vocab_find(v, text, n_text) : -1;
    free(text);
    return id;
}

int32_t lv_vocab_id(const lv_vocab *v, const char *name)
{
    int32_t id = lv_vocab_find_name(v, name, strlen(name));
    for (int32_t i = 0; id < 0 && i < v->n_ids; i++) {
        if (v->pieces[i].name && strcmp(v->pieces[i].name, name) == 0) {
            id = i;
        }
    }
    return id;
}

bool lv_vocab_has(const lv_vocab *v, double id)
{
    return id >= 0 && id < v->n_ids && id == (int32_t)id && v->pieces[(int32_t)id].name;
}

/* ---- their checksum ---- */

uint32_t lv_crc_add(uint32_t crc, const void *data, size_t n)
{
    return (uint32_t)crc32_z(crc, data, n);
}

uint32_t lv_crc_add_id(uint32_t crc, int32_t id)
{
    uint32_t v = (uint32_t)id;
    unsigned char bytes[4] = {v & 0xFF, v >> 8 & 0xFF, v >> 16 & 0xFF, v >> 24};
    return lv_crc_add(crc, bytes, sizeof bytes);
}

uint32_t lv_crc_add_pieces(uint32_t crc, const lv_vocab *v)
{
    for (int32_t id = 0; id < v->n_ids; id++) {
        const char *name = v->pieces[id].name;
        if (name && strcmp(name, "<image>") != 0) {
            crc = lv_crc_add(lv_crc_add_id(crc, id), name, strlen(name) + 1);
        }
    }
    return crc;
}

/* ---- merges ---- */

int lv_merges_create(lv_merges *m, size_t n)
{
    m->n_slots = slots_for(n);
    m->slots = malloc(m->n_slots * sizeof *m->slots);
    if (!m->slots) {
        return lv_fail(LV_ERR_MEMORY, "no memory for %zu merges", n);
    }
    for (size_t i = 0; i < m->n_slots; i++) {
        m->slots[i].rank = -1;
    }
    return LV_OK;
}

void lv_merges_free(lv_merges *m)
{
    free(m->slots);
    free(m->ranks);
    free(m->unused);
}

static lv_merge *merge_slot(const lv_merges *m, uint64_t pair)
{
    size_t mask = m->n_slots - 1;
    size_t i = mix(pair) & mask;
    while (m->slots[i].rank >= 0 && m->slots[i].pair != pair) {
        i = (i + 1) & mask;
    }
    return &m->slots[i];
}

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

void lv_merges_add(lv_merges *m, int32_t left, int32_t right, lv_merge merge)
{
    merge.pair = pair_of(left, right);
    *merge_slot(m, merge.pair) = merge;
}

const lv_merge *lv_merges_find(const lv_merges *m, int32_t left, int32_t right)
{
    const lv_merge *slot = merge_slot(m, pair_of(left, right));
    return slot->rank >= 0 ? slot : NULL;
}
