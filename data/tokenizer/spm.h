/* SPDX-License-Identifier: Apache-2.0
 *
 * What only a sentencepiece model has. Format: sentencepiece_model.proto of sentencepiece 0.1.97;
 * normalisation, merging and decoding as its library does them.
 */
#ifndef LV_DATA_TOKENIZER_SPM_H
#define LV_DATA_TOKENIZER_SPM_H

#include "data/tokenizer/internal.h"

/* The normaliser's rules: the longest that a text begins with applies. The trie is a Darts double
 * array; a value is an offset into texts, where a string ends with a zero byte. */
typedef struct {
    uint32_t *units;
    size_t n_units; /* 0: no rules */
    char *texts;
    size_t n_texts;
} lv_spm_rules;

typedef struct lv_spm {
    int32_t n_pieces; /* of the model; ids from there on are added tokens */
    float *scores;    /* [n_pieces] */
    bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, whitespace_as_suffix;
    bool legacy, add_prefix_space; /* transformers' LlamaTokenizer */
    bool adds_bos;
    char *unk_token;     /* before a text that begins with a space, if not legacy.. */
    size_t n_unk_tokens; /* ..and so many of whose tokens are dropped */
    int32_t bos, eos;    /* of the trainer_spec, -1: none */
    char *unk_surface;
    lv_spm_rules rules;
    lv_matcher user_defined;
} lv_spm;

extern const lv_tokenizer_kind lv_spm_kind;

/* lv_spm_parse: a ModelProto's bytes into pieces, merges and spm, checked; with room for added ids
 * up to min_ids - 1.
 * fails  LV_ERR_FORMAT, LV_ERR_UNSUPPORTED, LV_ERR_MEMORY */
int lv_spm_parse(lv_tokenizer *tokenizer, const char *data, size_t n, int32_t min_ids);

#endif
