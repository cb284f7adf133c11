/* SPDX-License-Identifier: Apache-2.0
 *
 * Text from a model, a token at a time, with a KV cache.
 */
#ifndef LV_TRAIN_MODEL_LLAVA_GENERATE_H
#define LV_TRAIN_MODEL_LLAVA_GENERATE_H

#include "train/model/llava/llava.h"

typedef struct {
    int64_t max_new_tokens;
    double temperature; /* 0: greedy */
    double top_p;       /* 1: no cut */
    uint64_t seed;
    const int32_t *stops; /* n_stops ids of which each ends the text */
    int n_stops;
} lv_generate_options;

/* lv_generate: continue the batch's one sequence.
 * in     on_token, may be NULL: called for each new token (not for a stop); returning false ends it
 * out    tokens[max_new_tokens], *n of them
 * fails  LV_ERR_CONFIG (options; the model has fewer positions, or fewer ids than the prompt uses),
 *        LV_ERR_DIVERGED if the logits are not finite, LV_ERR_MEMORY */
int lv_generate(lv_llava *model, const lv_batch *prompt, const lv_generate_options *options,
                bool (*on_token)(void *context, int32_t token), void *context, int32_t *tokens,
                int64_t *n);

#endif
