/* SPDX-License-Identifier: Apache-2.0
 *
 * What only a tokenizer.json has: a normalizer, a pre_tokenizer that cuts words, a decoder. There
 * are two kinds: LLaMA's, with a marker for spaces, and byte-level (vocab.byte_level).
 */
#ifndef LV_DATA_TOKENIZER_PIPELINE_H
#define LV_DATA_TOKENIZER_PIPELINE_H

#include "data/tokenizer/internal.h"

#include <oniguruma.h>

enum { LV_MAX_SPLITS = 16 };

typedef struct {
    bool restores_spaces;   /* Replace: marker to space */
    bool joins_bytes;       /* ByteFallback: <0x..> pieces to bytes */
    bool joins_with_spaces; /* no decoder at all */
    bool drops_markers;     /* Metaspace: the first piece's markers vanish */
    bool byte_level;        /* ByteLevel: pieces are bytes written as characters */
    int64_t strip_start;    /* Strip: so many leading spaces */
} lv_decoder;

/* A step that cuts a text at the matches of a pattern. */
typedef struct {
    OnigRegex regex;
    bool keeps_matches, keeps_gaps;
} lv_split;

/* What a text may take: steps of all its long searches, and CPU time. */
typedef struct {
    int64_t free_steps; /* of each search, at most; longer ones are paid for */
    int64_t steps, steps_per_byte;
    double s, s_per_byte;
} lv_split_limits;

typedef struct lv_pipeline {
    bool normalizes_spaces; /* before added tokens are searched for the second time */
    bool adds_space;        /* ByteLevel add_prefix_space */
    lv_unicode_form form;
    lv_split splits[LV_MAX_SPLITS];
    int n_splits;
    lv_split_limits limits;
    lv_decoder decoder;
} lv_pipeline;

extern const lv_tokenizer_kind lv_pipeline_kind;

/* For the components of a tokenizer.json: a refusal by name (returns LV_ERR_UNSUPPORTED); the
 * "type"; whether only the known keys, a list that ends with NULL, have a value. */
int lv_component_unsupported(const char *part, const char *what);
int lv_component_type(const cJSON *component, const char *part, const char **type);
int lv_component_check_keys(const cJSON *component, const char *part, const char *const *known);

/* lv_pipeline_model_read: vocabulary, merges and added tokens; sets crc. */
int lv_pipeline_model_read(lv_tokenizer *tokenizer, const cJSON *model, const cJSON *added);

extern const lv_split_limits lv_split_default_limits;

/* lv_split_add: a step after the others. The parts between matches are dropped if not keeps_gaps.
 * literal: the pattern is no regular expression.
 * fails  LV_ERR_UNSUPPORTED with the library's message */
int lv_split_add(lv_pipeline *pipeline, const char *pattern, bool literal, bool keeps_matches,
                 bool keeps_gaps);
void lv_splits_free(lv_pipeline *pipeline);

#endif
