/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of the tokenizer share: tokenizer_file.c fills it from tokenizer.json,
 * tokenizer_special.c adds BOS and EOS, tokenizer_bpe.c and tokenizer_decode.c read it.
 */
#ifndef LV_DATA_TOKENIZER_INTERNAL_H
#define LV_DATA_TOKENIZER_INTERNAL_H

#include "data/tokenizer.h"

#include <cjson/cJSON.h>

enum { LV_TOKENIZER_MAX_FILES = 8 };

#define LV_SPACE_MARKER "\xE2\x96\x81" /* U+2581, stands for a space */

/* When a marker is put in front of a chunk of text. Only the first kind puts one in front of a
 * chunk that already begins with a space. */
typedef enum {
    LV_MARKER_LEGACY, /* normalizer Prepend: every chunk that is not empty */
    LV_MARKER_ALWAYS, /* pre_tokenizer Metaspace, prepend_scheme "always" */
    LV_MARKER_FIRST,  /* "first": at the beginning of a call */
    LV_MARKER_NEVER,
} lv_marker_rule;

typedef struct {
    uint64_t pair; /* left id << 32 | right id */
    int32_t rank;  /* < 0: an empty slot */
    int32_t id;    /* of the merged piece */
} lv_merge;

typedef struct {
    bool restores_spaces;   /* Replace: marker to space */
    bool joins_bytes;       /* ByteFallback: <0x..> pieces to bytes */
    bool joins_with_spaces; /* no decoder at all */
    bool drops_markers;     /* Metaspace: the first piece's markers vanish */
    int64_t strip_start;    /* Strip: so many leading spaces */
} lv_decoder;

struct lv_tokenizer {
    int32_t n_ids;  /* largest id + 1 */
    char **pieces;  /* [n_ids], NULL: no piece has this id */
    bool *in_model; /* [n_ids] in the model's vocabulary: text may become it */
    bool *special;  /* [n_ids] left out when decoding */

    int32_t *piece_slots; /* hash table of the model's pieces: ids, -1 empty */
    size_t n_piece_slots; /* a power of two, as the next */
    lv_merge *merge_slots;
    size_t n_merge_slots;
    size_t longest_piece; /* bytes */

    int32_t byte_ids[256]; /* <0x00>.., -1: none */
    int32_t unk;           /* -1: unknown characters vanish */
    bool fuse_unk, byte_fallback, ignore_merges;
    bool replaces_spaces;
    lv_marker_rule marker;
    lv_decoder decoder;

    char *files[LV_TOKENIZER_MAX_FILES]; /* paths of all that was read */
    int n_files;
    int32_t bos, eos;
    int32_t template_bos; /* what the post_processor puts in front, -1: nothing */
    uint32_t crc;         /* of pieces and merges */
    char fingerprint[64];
};

/* lv_tokenizer_file_read: everything but bos, eos and fingerprint, into a zeroed tokenizer, which
 * lv_tokenizer_close frees also after a failure. */
int lv_tokenizer_file_read(lv_tokenizer *tokenizer, const char *path);

/* lv_tokenizer_add_file: to the list of what was read; path is copied. */
void lv_tokenizer_add_file(lv_tokenizer *tokenizer, const char *path);

/* lv_tokenizer_model_read: vocabulary, merges and added tokens; sets crc. */
int lv_tokenizer_model_read(lv_tokenizer *tokenizer, const cJSON *model, const cJSON *added);

/* lv_tokenizer_crc_add: the CRC-32 of what crc stands for and n more bytes. */
uint32_t lv_tokenizer_crc_add(uint32_t crc, const void *data, size_t n);

/* For the components of a tokenizer.json: a refusal by name (returns LV_ERR_UNSUPPORTED); the
 * "type"; whether only the known keys, a list that ends with NULL, have a value. */
int lv_tokenizer_unsupported(const char *part, const char *what);
int lv_component_type(const cJSON *component, const char *part, const char **type);
int lv_component_check_keys(const cJSON *component, const char *part, const char *const *known);

/* lv_tokenizer_special_read: bos and eos, from the files beside tokenizer.json in dir (NULL: there
 * are none) or from what it says itself. */
int lv_tokenizer_special_read(lv_tokenizer *tokenizer, const char *dir);

/* The tables: created for so many ids, model pieces and merges. piece is copied. */
int lv_vocab_create(lv_tokenizer *tokenizer, int32_t n_ids, size_t n_pieces, size_t n_merges);
void lv_vocab_destroy(lv_tokenizer *tokenizer);
int lv_vocab_add(lv_tokenizer *tokenizer, int32_t id, const char *piece, bool in_model);
int32_t lv_vocab_find(const lv_tokenizer *tokenizer, const char *piece, size_t n);
void lv_merge_add(lv_tokenizer *tokenizer, int32_t left, int32_t right, lv_merge merge);
const lv_merge *lv_merge_find(const lv_tokenizer *tokenizer, int32_t left, int32_t right);

#endif
