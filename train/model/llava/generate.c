/* SPDX-License-Identifier: Apache-2.0
 *
 * V vocabulary. The prompt runs once and fills the cache; each new token is then one row.
 */
#include "train/model/llava/generate.h"

#include "autograd/error.h"
#include "autograd/rng.h"
#include "train/model/llava/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

typedef struct {
    double p;
    int32_t token;
} token_choice;

/* Decreasing probability; equal ones by id, so that the order is one. */
static int by_probability(const void *a, const void *b)
{
    const token_choice *x = a, *y = b;
    if (x->p != y->p) {
        return x->p < y->p ? 1 : -1;
    }
    return (x->token > y->token) - (x->token < y->token);
}

static int32_t largest(const lv_real *logits, int64_t V)
{
    int64_t best = 0;
    for (int64_t v = 1; v < V; v++) {
        best = logits[v] > logits[best] ? v : best;
    }
    return (int32_t)best;
}

/* One of the fewest tokens that together have top_p of the probability. */
static int32_t sample(const lv_real *logits, int64_t V, const lv_generate_options *options,
                      int64_t step, token_choice *choices)
{
    const double highest = (double)logits[largest(logits, V)];
    double sum = 0;
    for (int64_t v = 0; v < V; v++) {
        double p = exp(((double)logits[v] - highest) / options->temperature);
        choices[v] = (token_choice){p, (int32_t)v};
        sum += p;
    }
    qsort(choices, (size_t)V, sizeof *choices, by_probability);
    double kept = 0;
    int64_t n = 0;
    while (n < V && (n == 0 || kept < options->top_p * sum)) {
        kept += choices[n++].p;
    }
    double u = kept * lv_random_uniform(options->seed, 0, (uint64_t)step);
    int64_t pick = 0;
    while (pick < n - 1 && u >= choices[pick].p) {
        u -= choices[pick++].p;
    }
    return choices[pick].token;
}

static int choose_token(int32_t *token, const lv_tensor *logits, const lv_generate_options *options,
                        int64_t step, token_choice *choices)
{
    const int64_t V = logits->shape[1];
    const lv_real *values = lv_tensor_real(logits);
    for (int64_t v = 0; v < V; v++) {
        if (!isfinite(values[v])) {
            return lv_fail(LV_ERR_DIVERGED,
                           "the model's score for token %" PRId64 " is not finite, after %" PRId64
                           " new tokens; its weights are damaged or its training diverged",
                           v, step);
        }
    }
    *token =
        options->temperature > 0 ? sample(values, V, options, step, choices) : largest(values, V);
    return LV_OK;
}

static int check_options(const lv_llava *model, const lv_batch *prompt,
                         const lv_generate_options *o)
{
    const int64_t T = prompt->seq_start[prompt->n_samples];
    const int64_t limit = model->config.text.max_positions;
    LV_CHECK(prompt->n_samples == 1, "generation from %d sequences", prompt->n_samples);
    if (!(o->temperature >= 0) || !isfinite(o->temperature) || !(o->top_p > 0 && o->top_p <= 1) ||
        o->max_new_tokens < 1) {
        return lv_fail(LV_ERR_CONFIG,
                       "temperature %g (0 or more), top_p %g (above 0, at most 1), new tokens "
                       "%" PRId64 " (1 or more)",
                       o->temperature, o->top_p, o->max_new_tokens);
    }
    if (T == 0) {
        return lv_fail(LV_ERR_CONFIG, "an empty prompt has nothing to continue");
    }
    if (T >= limit) {
        return lv_fail(LV_ERR_CONFIG,
                       "a prompt of %" PRId64 " rows, but the model has %" PRId64
                       " positions: none is left for an answer",
                       T, limit);
    }
    for (int64_t t = 0; t < T; t++) {
        if (prompt->source[t] >= model->config.text.vocab_size) {
            return lv_fail(LV_ERR_CONFIG,
                           "the prompt has the token id %d, but the model's vocabulary has %" PRId64
                           "; its tokenizer belongs to another model",
                           (int)prompt->source[t], model->config.text.vocab_size);
        }
    }
    return LV_OK;
}

static bool is_stop(const lv_generate_options *options, int32_t token)
{
    for (int i = 0; i < options->n_stops; i++) {
        if (options->stops[i] == token) {
            return true;
        }
    }
    return false;
}

/* The logits that follow the last row of x. */
static lv_tensor *next_logits(lv_llava *model, lv_tape *tape, lv_tensor *x,
                              const int64_t seq_start[2], const int32_t *position,
                              lv_llama_cache *cache)
{
    int32_t *last = lv_tape_alloc(tape, sizeof *last);
    *last = (int32_t)(seq_start[1] - 1);
    const lv_llama_rows rows = {
        .n_sequences = 1,
        .seq_start = seq_start,
        .position = position,
        .wanted = last,
        .n_wanted = 1,
        .cache = cache,
    };
    return lv_llama_logits(model->llama, tape, lv_llama_hidden(model->llama, tape, x, &rows));
}

int lv_generate(lv_llava *model, const lv_batch *prompt, const lv_generate_options *options,
                bool (*on_token)(void *context, int32_t token), void *context, int32_t *tokens,
                int64_t *n)
{
    static const int64_t ONE_ROW[2] = {0, 1};
    const int64_t V = model->config.text.vocab_size;
    lv_tape *tape = NULL;
    lv_llama_cache *cache = NULL;
    token_choice *choices = NULL;
    int64_t n_new = 0;
    int rc = check_options(model, prompt, options);
    if (rc) {
        return rc;
    }
    const int64_t T = prompt->seq_start[1];
    const int64_t room = model->config.text.max_positions - T;
    const int64_t max_new = options->max_new_tokens < room ? options->max_new_tokens : room;
    choices = calloc((size_t)V, sizeof *choices);
    rc = choices ? lv_tape_create(&tape, 0)
                 : lv_fail(LV_ERR_MEMORY, "no memory for %" PRId64 " probabilities", V);
    if (rc == LV_OK)
        rc = lv_llama_cache_create(&cache, &model->config.text, model->dtype, T + max_new);
    if (rc) {
        goto done;
    }
    lv_tape_recording_set(tape, false);
    lv_tape_dtype_set(tape, model->dtype);
    lv_tensor *logits = next_logits(model, tape, lv_llava_embed(model, tape, prompt),
                                    prompt->seq_start, prompt->position, cache);
    while (true) {
        int32_t token = 0;
        rc = choose_token(&token, logits, options, n_new, choices);
        if (rc) {
            goto done;
        }
        if (is_stop(options, token)) {
            break;
        }
        tokens[n_new++] = token;
        if ((on_token && !on_token(context, token)) || n_new == max_new) {
            break;
        }
        int32_t position = (int32_t)(T + n_new - 1);
        lv_tape_reset(tape);
        logits = next_logits(model, tape, lv_llama_embed(model->llama, tape, &token, 1), ONE_ROW,
                             &position, cache);
    }
    *n = n_new;

done:
    lv_llama_cache_destroy(&cache);
    lv_tape_destroy(&tape);
    free(choices);
    return rc;
}
