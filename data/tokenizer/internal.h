/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of the tokenizer share. Reading: tokenizer_file.c (tokenizer.json by component),
 * tokenizer_model.c (its vocabulary), tokenizer_spm*.c (tokenizer.model), tokenizer_special.c (BOS
 * and EOS). Encoding: tokenizer_encode.c splits a text by tokenizer_added.c, normalises it by
 * tokenizer_unicode.c or tokenizer_spm_normalize.c, cuts it into words by tokenizer_split.c, and
 * merges those in tokenizer_bpe.c. Decoding: tokenizer_decode.c.
 */
#ifndef LV_DATA_TOKENIZER_INTERNAL_H
#define LV_DATA_TOKENIZER_INTERNAL_H

#include "data/tokenizer/tokenizer.h"

#include <cjson/cJSON.h>

enum {
    LV_TOKENIZER_MAX_FILES = 8,
    LV_TOKENIZER_MAX_IDS = 1 << 24,
    LV_TOKENIZER_MAX_ADDED_BYTES = 512, /* of one added or user-defined piece */
    LV_TOKENIZER_MAX_SPLITS = 16,
};

#define LV_SPACE_MARKER "\xE2\x96\x81" /* U+2581, stands for a space */
enum { LV_SPACE_MARKER_BYTES = 3 };
#define LV_REPLACEMENT_CHARACTER "\xEF\xBF\xBD" /* U+FFFD */

/* ---- text that remembers where it comes from ---- */

/* A text of its own; begin[i] is the offset in the original text that byte i stands for. */
typedef struct {
    char *bytes;
    size_t *begin;
    size_t n, capacity;
} lv_mapped;
/* lv_mapped_add: n bytes that all stand for the offset begin; fails LV_ERR_MEMORY. */
int lv_mapped_add(lv_mapped *m, const char *bytes, size_t n, size_t begin);
void lv_mapped_free(lv_mapped *m);

/* A borrowed part of a text; begin NULL: byte i stands for base + i. */
typedef struct {
    const char *bytes;
    size_t n;
    const size_t *begin;
    size_t base;
} lv_span;
lv_span lv_span_of(const lv_mapped *m);
lv_span lv_span_part(const lv_span *s, size_t from, size_t to);
size_t lv_span_begin(const lv_span *s, size_t at);
/* lv_mapped_add_span: bytes and their offsets. */
int lv_mapped_add_span(lv_mapped *m, const lv_span *s);

/* ---- strings that are looked for in a text ---- */

typedef struct {
    char *text;
    size_t n;
    int32_t value;
} lv_matcher_entry;

typedef struct {
    lv_matcher_entry *entries; /* sorted by lv_matcher_finish */
    size_t n, capacity;
    bool begins[256]; /* bytes that an entry begins with */
} lv_matcher;
/* lv_matcher_add: text of 1 to LV_TOKENIZER_MAX_ADDED_BYTES bytes, copied.
 * fails  LV_ERR_MEMORY, LV_ERR_UNSUPPORTED */
int lv_matcher_add(lv_matcher *m, const char *text, size_t n, int32_t value);
void lv_matcher_finish(lv_matcher *m);
/* lv_matcher_longest: bytes of the longest entry that the text begins with, 0 if there is none. */
size_t lv_matcher_longest(const lv_matcher *m, const char *text, size_t n, int32_t *value);
void lv_matcher_free(lv_matcher *m);

/* ---- the tokenizer ---- */

typedef enum {
    LV_KIND_MARKER, /* tokenizer.json of the LLaMA kind: a marker for spaces */
    LV_KIND_BYTES,  /* tokenizer.json, byte-level */
    LV_KIND_SPM,    /* tokenizer.model */
} lv_tokenizer_kind;

/* When a marker is put in front of a chunk of text. */
typedef enum {
    LV_MARKER_LEGACY, /* every chunk that is not empty */
    LV_MARKER_ALWAYS, /* every chunk that does not begin with a space */
    LV_MARKER_FIRST,  /* the same, at the beginning of a call only */
    LV_MARKER_CALL,   /* at the beginning of a call, also in front of a space */
    LV_MARKER_NEVER,
} lv_marker_rule;

typedef struct {
    uint64_t pair; /* left id << 32 | right id */
    int32_t rank;  /* < 0: an empty slot */
    int32_t id;    /* of the merged piece */
} lv_merge;

typedef struct {
    uint32_t hash;
    int32_t id; /* -1: an empty slot */
} lv_piece_slot;

typedef struct {
    bool restores_spaces;   /* Replace: marker to space */
    bool joins_bytes;       /* ByteFallback: <0x..> pieces to bytes */
    bool joins_with_spaces; /* no decoder at all */
    bool drops_markers;     /* Metaspace: the first piece's markers vanish */
    bool byte_level;        /* ByteLevel: pieces are bytes written as characters */
    int64_t strip_start;    /* Strip: so many leading spaces */
} lv_decoder;

/* An added token that is looked for in texts, or (special) passed over as a whole. */
typedef struct {
    int32_t id;
    bool special, single_word, lstrip, rstrip, normalized;
} lv_added_token;

typedef enum { LV_FORM_NONE, LV_FORM_NFC, LV_FORM_NFD, LV_FORM_NFKC, LV_FORM_NFKD } lv_unicode_form;

typedef struct lv_split lv_split; /* a step that cuts words: tokenizer_split.c */
typedef struct lv_spm lv_spm;     /* what only a tokenizer.model has: tokenizer_spm.h */

struct lv_tokenizer {
    lv_tokenizer_kind kind;
    int32_t n_ids;        /* largest id + 1 */
    char **pieces;        /* [n_ids], NULL: no piece has this id */
    char **texts;         /* [n_ids] what it stands for in a text; the piece itself or its own */
    uint32_t *text_bytes; /* [n_ids] */
    bool *in_model;       /* [n_ids] in the model's vocabulary: text may become it */
    bool *special;        /* [n_ids] left out when decoding */
    bool *whole;          /* [n_ids] its text, as a word, becomes this one token */

    lv_piece_slot *piece_slots; /* hash table of the model's pieces by text */
    size_t n_piece_slots;       /* a power of two, as the next */
    lv_merge *merge_slots;
    size_t n_merge_slots;
    size_t longest_piece; /* bytes of text */

    int32_t byte_ids[256]; /* of <0x00>.., or of the byte-level characters; -1: none */
    int32_t unk;           /* -1: unknown characters vanish */
    bool fuse_unk, byte_fallback, ignore_merges;
    bool replaces_spaces;   /* by markers */
    bool normalizes_spaces; /* already before added tokens are looked for the second time */
    /* A piece never has a marker behind (before) another character: so merges never cross the
     * place in front of (behind) a run of markers, and what is between such places is a word. */
    bool cuts_before_markers, cuts_behind_markers;
    lv_marker_rule marker;
    lv_unicode_form form;
    lv_split *splits[LV_TOKENIZER_MAX_SPLITS];
    int n_splits;
    bool adds_space; /* ByteLevel add_prefix_space */
    lv_decoder decoder;
    lv_spm *spm; /* LV_KIND_SPM */

    lv_added_token *added;
    int32_t n_added;
    lv_matcher added_in_text, added_in_normalized; /* value: index in added */

    char *files[LV_TOKENIZER_MAX_FILES]; /* paths of all that was read */
    int n_files;
    int32_t bos, eos;
    int32_t template_bos; /* what is put in front of a text, -1: nothing */
    uint32_t crc;         /* of pieces, merges, and rules that not all kinds have */
    char fingerprint[64];
};

/* ---- reading ---- */

/* lv_tokenizer_file_read, lv_tokenizer_spm_read: everything but bos, eos and fingerprint from text
 * of n bytes, into a zeroed tokenizer, which lv_tokenizer_close frees also after a failure.
 * dir: where the files beside a tokenizer.model are, NULL: there are none. */
int lv_tokenizer_file_read(lv_tokenizer *tokenizer, const char *text, size_t n);
int lv_tokenizer_spm_read(lv_tokenizer *tokenizer, const char *text, size_t n, const char *dir);

/* lv_tokenizer_add_file: to the list of what was read, once; path is copied. */
void lv_tokenizer_add_file(lv_tokenizer *tokenizer, const char *path);

/* lv_tokenizer_read_beside: the JSON file in dir, listed; *root stays NULL if there is none. */
int lv_tokenizer_read_beside(cJSON **root, lv_tokenizer *tokenizer, const char *dir,
                             const char *name);

/* lv_tokenizer_model_read: vocabulary, merges and added tokens; sets crc. */
int lv_tokenizer_model_read(lv_tokenizer *tokenizer, const cJSON *model, const cJSON *added);

/* lv_tokenizer_crc_add: the CRC-32 of what crc stands for and n more bytes. */
uint32_t lv_tokenizer_crc_add(uint32_t crc, const void *data, size_t n);
uint32_t lv_tokenizer_crc_add_id(uint32_t crc, int32_t id);
void lv_tokenizer_crc_pieces(lv_tokenizer *tokenizer); /* all that are there by now */

/* For the components of a tokenizer.json: a refusal by name (returns LV_ERR_UNSUPPORTED); the
 * "type"; whether only the known keys, a list that ends with NULL, have a value. */
int lv_tokenizer_unsupported(const char *part, const char *what);
int lv_component_type(const cJSON *component, const char *part, const char **type);
int lv_component_check_keys(const cJSON *component, const char *part, const char *const *known);
/* lv_component_steps: the array under key, which a Sequence must have. */
int lv_component_steps(const cJSON *component, const char *key, const cJSON **steps);

/* lv_bytes_pre_tokenizer_read: the pre_tokenizer of a byte-level file, which it makes the
 * tokenizer; *is_one false and nothing done if it is of another kind. */
int lv_bytes_pre_tokenizer_read(lv_tokenizer *tokenizer, const cJSON *component, bool *is_one);

/* lv_tokenizer_special_read: bos and eos, from the files beside the tokenizer's in dir (NULL: there
 * are none) or from what it says itself. */
int lv_tokenizer_special_read(lv_tokenizer *tokenizer, const char *dir);

/* lv_added_finish: the matchers from the list of added tokens; after all else is read. */
int lv_added_finish(lv_tokenizer *tokenizer);
int lv_added_add(lv_tokenizer *tokenizer, lv_added_token token);

/* lv_byte_of_character: the byte that a character of a byte-level piece stands for (as GPT-2 has
 * it), -1: none. */
int lv_byte_of_character(uint32_t character);

/* The tables: created for so many ids, model pieces and merges. piece is copied. */
int lv_vocab_create(lv_tokenizer *tokenizer, int32_t n_ids, size_t n_pieces, size_t n_merges);
void lv_vocab_destroy(lv_tokenizer *tokenizer);
int lv_vocab_add(lv_tokenizer *tokenizer, int32_t id, const char *piece, bool in_model);
/* lv_vocab_finish: what encoding needs to know of all pieces and merges together. */
int lv_vocab_finish(lv_tokenizer *tokenizer);
/* lv_vocab_find: the model's piece for a text, lv_vocab_find_piece for its name; -1: none. */
int32_t lv_vocab_find(const lv_tokenizer *tokenizer, const char *text, size_t n);
int32_t lv_vocab_find_piece(const lv_tokenizer *tokenizer, const char *piece, size_t n);
void lv_merge_add(lv_tokenizer *tokenizer, int32_t left, int32_t right, lv_merge merge);
const lv_merge *lv_merge_find(const lv_tokenizer *tokenizer, int32_t left, int32_t right);

/* ---- encoding ---- */

/* One symbol of a word while pairs are merged; n bytes from begin in the word. */
typedef struct {
    int32_t id; /* LV_SYMBOL_UNKNOWN: a character that is no piece (LV_KIND_SPM) */
    int32_t prev, next;
    uint32_t begin, n;
} lv_symbol;
enum { LV_SYMBOL_NONE = -1, LV_SYMBOL_UNKNOWN = -1 };

typedef struct {
    int32_t rank, at; /* of the pair (at, next of at); ordered by rank, then place */
    int32_t id;       /* of what it becomes */
    int32_t left, right;
} lv_candidate;

/* Buffers that are used again for each word; start with {0}. */
typedef struct {
    lv_symbol *symbols;
    size_t n, capacity;
    lv_candidate *heap;
    size_t n_heap, heap_capacity;
    int32_t *unused_left; /* [n_ids] bytes of the left part of an unused piece (LV_KIND_SPM) */
} lv_bpe;
/* lv_bpe_merge: the symbols of a word, merged; walk them from 0 by next (if n > 0).
 * fails  LV_ERR_MEMORY */
int lv_bpe_merge(lv_bpe *bpe, const lv_tokenizer *tokenizer, const char *word, size_t n);
void lv_bpe_free(lv_bpe *bpe);

/* What encoding a text needs beside the tokenizer. */
typedef struct {
    const lv_tokenizer *tokenizer;
    lv_bpe bpe;
    lv_tokens *out;
    bool after_unk;       /* the last token is unk and takes what follows it, too */
    size_t n_bytes;       /* of the text */
    int64_t regex_budget; /* steps of long searches that are left */
    double regex_end_s;   /* of the thread's CPU time; 0: not begun */
} lv_encoder;

/* lv_encoder_prepare: for a tokenizer's first text. */
int lv_encoder_prepare(lv_encoder *e);
int lv_encoder_emit(lv_encoder *e, int32_t id, size_t begin);
/* lv_encoder_word: the tokens of a word, which is merged by itself. */
int lv_encoder_word(lv_encoder *e, const lv_span *word);
/* lv_encoder_cut_words: the same for a normalised text, cut where markers allow it. */
int lv_encoder_cut_words(lv_encoder *e, const lv_span *text);
/* lv_split_words: the same for a text cut by the tokenizer's splits.
 * fails  LV_ERR_FORMAT on a regular expression that takes too many steps, LV_ERR_UNSUPPORTED on one
 *        that takes too much time; both name the tokenizer's file */
int lv_split_words(lv_encoder *e, const lv_span *text);
/* lv_spm_encode: the tokens of a text that no added token is in. */
int lv_spm_encode(lv_encoder *e, const lv_span *text);
/* lv_spm_finish: what encoding needs of all that is read. */
int lv_spm_finish(lv_tokenizer *tokenizer);
/* lv_spm_prepare: what transformers does to a text before it is searched for added tokens. */
int lv_spm_prepare(const lv_tokenizer *t, const lv_span *text, bool first, lv_mapped *out);

/* lv_split_create: a step that cuts a text at the matches of a pattern; the parts between matches
 * are dropped if not keeps_gaps. literal: the pattern is no regular expression.
 * fails  LV_ERR_UNSUPPORTED with the library's message */
int lv_split_create(lv_split **out, const char *pattern, bool literal, bool keeps_matches,
                    bool keeps_gaps);
void lv_split_destroy(lv_split **split);

/* lv_unicode_normalize: the text, which is valid UTF-8, in a form, appended to out. */
int lv_unicode_normalize(lv_mapped *out, const lv_span *text, lv_unicode_form form);

/* Parts of a text: token NULL: text from begin to end, in which no added token is. A token may
 * begin in white space that the one before it took in, but never at the text's end. */
typedef struct {
    const lv_added_token *token;
    size_t begin, end;
} lv_added_part;

typedef struct {
    const lv_tokenizer *tokenizer;
    const lv_matcher *matcher;
    const lv_span *text;
    size_t done, scanned; /* bytes that are in parts; that were searched */
    size_t spaces_end;    /* of the white space behind the last token that takes it in */
    lv_added_part found;  /* behind the text before it */
    bool has_found;
} lv_added_iterator;
bool lv_added_next(lv_added_iterator *it, lv_added_part *part);

#endif
