/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_generator: text from a model, a token at a time, with a cache of keys and values, for several
 * sequences at once, which join and end at any time. The tokens of a sequence follow from its
 * prompt and its options alone.
 */
#ifndef LV_TRAIN_MODEL_LLAVA_GENERATE_H
#define LV_TRAIN_MODEL_LLAVA_GENERATE_H

#include "train/model/llava/llava.h"

typedef struct lv_generator lv_generator;

typedef struct {
    int64_t max_new_tokens;
    double temperature;   /* 0: greedy */
    double top_p;         /* 1: no cut */
    uint64_t seed, key;   /* a draw is a function of seed, key and the number of the token */
    int32_t eos_token_id; /* -1: none */
} lv_generate_options;

/* lv_generator_create: in     model outlives it.  fails  LV_ERR_MEMORY */
int lv_generator_create(lv_generator **out, lv_llava *model);
void lv_generator_destroy(lv_generator **generator);

/* lv_generator_add: run the prompts, the batch's sequences, which are to be continued.
 * in     options[prompts->n_samples]
 * out    sequences[prompts->n_samples]: their numbers, the lowest that are free
 * fails  LV_ERR_CONFIG (options; the model has fewer positions, or fewer ids than a prompt uses),
 *        LV_ERR_DIVERGED if logits are not finite, LV_ERR_MEMORY; then none is added */
int lv_generator_add(lv_generator *generator, int *sequences, const lv_batch *prompts,
                     const lv_generate_options *options);

/* lv_generator_remove: end a sequence before its end. */
void lv_generator_remove(lv_generator *generator, int sequence);

/* lv_generator_count: the sequences that have not ended. */
int64_t lv_generator_count(const lv_generator *generator);

/* lv_generator_step: the next token of each sequence, in the order in which they came. One
 * that ends (by EOS, or because there may be no more tokens) is removed, its number free.
 * out    new_tokens[lv_generator_count before the call]
 * fails  LV_ERR_DIVERGED, LV_ERR_MEMORY; after that it can only be destroyed */
typedef struct {
    int sequence;
    int32_t token;
    bool is_eos;  /* token is EOS, which is not part of the text */
    bool is_last; /* the sequence has ended */
} lv_new_token;
int lv_generator_step(lv_generator *generator, lv_new_token *new_tokens);

#endif
