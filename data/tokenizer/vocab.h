/* SPDX-License-Identifier: Apache-2.0
 *
 * Pieces, the merges of their pairs, and byte pair encoding by both.
 */
#ifndef LV_DATA_TOKENIZER_VOCAB_H
#define LV_DATA_TOKENIZER_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LV_TOKENIZER_MAX_IDS = 1 << 24 };

typedef struct {
    char *name;          /* NULL: no piece has this id */
    char *text;          /* what it stands for in a text: the name, or bytes of its own */
    uint32_t text_bytes; /* may hold zeros */
    bool in_model;       /* in the model's vocabulary: text may become it */
    bool special;        /* left out when decoding */
    bool whole;          /* its text, as a word, becomes this one token */
} lv_vocab_piece;

typedef struct {
    uint32_t hash;
    int32_t id; /* -1: an empty slot */
} lv_vocab_slot;

typedef struct {
    lv_vocab_piece *pieces; /* [n_ids] */
    int32_t n_ids;          /* largest id + 1 */
    lv_vocab_slot *slots;   /* hash table of the model's pieces by text */
    size_t n_slots;         /* a power of two */
    size_t longest;         /* bytes of a model piece's text */
    int32_t byte_ids[256];  /* of <0x00>.., or of the byte-level characters; -1: none */
    int32_t unk;            /* -1: unknown characters vanish */
    bool byte_level;        /* names are bytes written as characters, as GPT-2 has it */
    bool fuse_unk, byte_fallback;
} lv_vocab;

/* lv_vocab_create: for so many ids and model pieces; byte_ids and unk -1. Free it also after a failure.
 * fails  LV_ERR_MEMORY */
int lv_vocab_create(lv_vocab *v, int32_t n_ids, size_t n_pieces);
void lv_vocab_free(lv_vocab *v);
/* lv_vocab_add: fails LV_ERR_FORMAT on an id or, in the model, a text that is there already */
int lv_vocab_add(lv_vocab *v, int32_t id, const char *name, bool in_model);
/* lv_vocab_find: the model's piece for a text; lv_vocab_find_name: for its name; lv_vocab_id: the
 * piece of that name in the model or outside. -1: there is none. */
int32_t lv_vocab_find(const lv_vocab *v, const char *text, size_t n);
int32_t lv_vocab_find_name(const lv_vocab *v, const char *name, size_t n);
int32_t lv_vocab_id(const lv_vocab *v, const char *name);
bool lv_vocab_has(const lv_vocab *v, double id); /* a whole number that is the id of a piece */

/* lv_bytes_of_name: the bytes that the characters of a byte-level name stand for into text, which has
 * room for n_name; false if one stands for none. */
bool lv_bytes_of_name(char *text, size_t *n, const char *name, size_t n_name);

/* The CRC-32 of what crc stands for and n more bytes; an id; all pieces but <image>. */
uint32_t lv_crc_add(uint32_t crc, const void *data, size_t n);
uint32_t lv_crc_add_id(uint32_t crc, int32_t id);
uint32_t lv_crc_add_pieces(uint32_t crc, const lv_vocab *v);

typedef struct {
    uint64_t pair; /* left id << 32 | right id */
    int32_t rank;  /* < 0: an empty slot */
    int32_t id;    /* of the merged piece */
} lv_merge;

/* Which pairs become one piece: those of a list or, with ranks, all whose joined text is one. */
typedef struct {
    lv_merge *slots; /* hash table by pair */
    size_t n_slots;  /* a power of two */
    bool ignored;    /* for a word that is a piece */
    int32_t *ranks;  /* [n_ids] of pieces, 0 is merged first; NULL: by the list */
    bool *unused;    /* [n_ids] is merged, but then taken apart again; NULL: there is none */
} lv_merges;

int lv_merges_create(lv_merges *m, size_t n); /* the list; fails LV_ERR_MEMORY */
void lv_merges_free(lv_merges *m);
void lv_merges_add(lv_merges *m, int32_t left, int32_t right, lv_merge merge);
const lv_merge *lv_merges_find(const lv_merges *m, int32_t left, int32_t right);

/* One symbol of a word while pairs are merged; n bytes from begin in the word. */
typedef struct {
    int32_t id; /* LV_SYMBOL_UNKNOWN: a character that is no piece (only with ranks) */
    int32_t prev, next;
    uint32_t begin, n;
} lv_symbol;
enum { LV_SYMBOL_NONE = -1, LV_SYMBOL_UNKNOWN = -1 };

typedef struct {
    int32_t rank, at; /* of the pair (at, next of at); ordered by rank, then place */
    int32_t id;       /* of what it becomes */
    int32_t left, right;
} lv_candidate;

/* Buffers that are used again for each word. */
typedef struct {
    const lv_vocab *vocab;
    const lv_merges *merges;
    lv_symbol *symbols;
    size_t n, capacity;
    lv_candidate *heap;
    size_t n_heap, heap_capacity;
    int32_t *unused_left; /* [n_ids] bytes of an unused piece's left part; NULL: there is none */
} lv_bpe;
/* lv_bpe_create: vocab and merges are borrowed; lv_bpe_free it also after a failure.
 * lv_bpe_merge: the symbols of a word, merged; walk them from 0 by next (if n > 0).
 * fails  LV_ERR_MEMORY */
int lv_bpe_create(lv_bpe *bpe, const lv_vocab *vocab, const lv_merges *merges);
int lv_bpe_merge(lv_bpe *bpe, const char *word, size_t n);
void lv_bpe_free(lv_bpe *bpe);

/* lv_bpe_find_whole: sets `whole` of all pieces. */
int lv_bpe_find_whole(lv_vocab *vocab, const lv_merges *merges);

#endif
