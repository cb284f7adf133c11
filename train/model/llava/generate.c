/* SPDX-License-Identifier: Apache-2.0
 *
 * V vocabulary, B sequences. A prompt runs once and fills its part of the cache; each new token is
 * then one row, and the rows of all sequences go through the model together.
 */
#include "train/model/llava/generate.h"

#include "autograd/error.h"
#include "autograd/rng.h"
#include "train/model/llava/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double p;
    int32_t token;
} token_choice;

typedef struct {
    int cached; /* its number, which is the cache's */
    lv_generate_options options;
    int64_t n_new; /* tokens given out */
    int32_t next;  /* the token that follows what the cache has of it */
    bool is_given; /* next is the last one given out; what follows it is not known yet */
} live_sequence;

struct lv_generator {
    lv_llava *model;
    lv_tape *tape;
    lv_llama_cache *cache;
    token_choice *choices;    /* [V] */
    live_sequence *sequences; /* [n], as they came */
    int64_t n, capacity;
};

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
    double u = kept * lv_random_uniform(options->seed, options->key, (uint64_t)step);
    int64_t pick = 0;
    while (pick < n - 1 && u >= choices[pick].p) {
        u -= choices[pick++].p;
    }
    return choices[pick].token;
}

/* What follows in a sequence. in  values[V] */
static int choose_token(live_sequence *s, const lv_real *values, int64_t V, token_choice *choices)
{
    const int64_t step = s->n_new;
    for (int64_t v = 0; v < V; v++) {
        if (!isfinite(values[v])) {
            return lv_fail(LV_ERR_DIVERGED,
                           "the model's score for token %" PRId64 " is not finite, after %" PRId64
                           " new tokens; its weights are damaged or its training diverged",
                           v, step);
        }
    }
    s->next = s->options.temperature > 0 ? sample(values, V, &s->options, step, choices)
                                         : largest(values, V);
    s->is_given = false;
    return LV_OK;
}

int lv_generator_create(lv_generator **out, lv_llava *model)
{
    const int64_t V = model->config.text.vocab_size;
    lv_generator *g = calloc(1, sizeof *g);
    token_choice *choices = calloc((size_t)V, sizeof *choices);
    if (!g || !choices) {
        free(g);
        free(choices);
        return lv_fail(LV_ERR_MEMORY, "no memory for %" PRId64 " probabilities", V);
    }
    g->model = model;
    g->choices = choices;
    int rc = lv_tape_create(&g->tape, 0);
    if (rc == LV_OK) rc = lv_llama_cache_create(&g->cache, &model->config.text, model->dtype);
    if (rc < 0) {
        lv_generator_destroy(&g);
        return rc;
    }
    lv_tape_recording_set(g->tape, false);
    lv_tape_dtype_set(g->tape, model->dtype);
    *out = g;
    return LV_OK;
}

void lv_generator_destroy(lv_generator **generator)
{
    if (*generator) {
        lv_llama_cache_destroy(&(*generator)->cache);
        lv_tape_destroy(&(*generator)->tape);
        free((*generator)->choices);
        free((*generator)->sequences);
        free(*generator);
        *generator = NULL;
    }
}

static int check_options(const lv_generate_options *o)
{
    return o->temperature >= 0 && isfinite(o->temperature) && o->top_p > 0 && o->top_p <= 1 &&
                   o->max_new_tokens >= 1
               ? LV_OK
               : lv_fail(LV_ERR_CONFIG,
                         "temperature %g (0 or more), top_p %g (above 0, at most 1), new tokens "
                         "%" PRId64 " (1 or more)",
                         o->temperature, o->top_p, o->max_new_tokens);
}

/* in     source[T] of one sequence */
static int check_prompt(const lv_llama_config *config, const int32_t *source, int64_t T)
{
    if (T == 0) {
        return lv_fail(LV_ERR_CONFIG, "an empty prompt has nothing to continue");
    }
    if (T >= config->max_positions) {
        return lv_fail(LV_ERR_CONFIG,
                       "a prompt of %" PRId64 " rows, but the model has %" PRId64
                       " positions: none is left for an answer",
                       T, config->max_positions);
    }
    for (int64_t t = 0; t < T; t++) {
        if (source[t] >= config->vocab_size) {
            return lv_fail(LV_ERR_CONFIG,
                           "the prompt has the token id %d, but the model's vocabulary has %" PRId64
                           "; its tokenizer belongs to another model",
                           (int)source[t], config->vocab_size);
        }
    }
    return LV_OK;
}

/* Run the next rows of sequences, which x is, and choose what follows in each.
 * in     B sequences; seq_start[B+1]; x and position (seq_start[B]) in the step arena */
static int run_rows(lv_generator *g, live_sequence *const *sequences, int64_t B, lv_tensor *x,
                    const int64_t *seq_start, const int32_t *position)
{
    const int64_t V = g->model->config.text.vocab_size;
    int32_t *last = lv_tape_alloc(g->tape, (size_t)B * sizeof *last);
    int *cached = lv_tape_alloc(g->tape, (size_t)B * sizeof *cached);
    int rc = LV_OK;
    for (int64_t b = 0; b < B; b++) {
        last[b] = (int32_t)(seq_start[b + 1] - 1);
        cached[b] = sequences[b]->cached;
    }
    const lv_llama_rows rows = {
        .n_sequences = B,
        .seq_start = seq_start,
        .position = position,
        .wanted = last,
        .n_wanted = B,
        .cache = g->cache,
        .cached = cached,
    };
    lv_llama *llama = g->model->llama;
    const lv_tensor *logits =
        lv_llama_logits(llama, g->tape, lv_llama_hidden(llama, g->tape, x, &rows));
    for (int64_t b = 0; rc == LV_OK && b < B; b++) {
        rc = choose_token(sequences[b], lv_tensor_real(logits) + b * V, V, g->choices);
    }
    return rc;
}

static int reserve(lv_generator *g, int64_t n)
{
    if (n > g->capacity) {
        live_sequence *more = realloc(g->sequences, (size_t)n * sizeof *more);
        if (!more) {
            return lv_fail(LV_ERR_MEMORY, "no memory for %" PRId64 " sequences", n);
        }
        g->sequences = more;
        g->capacity = n;
    }
    return LV_OK;
}

/* A sequence of T rows with the room that its answer may take, behind the g->n that are there. */
static int begin_sequence(lv_generator *g, live_sequence *s, const int32_t *source, int64_t T,
                          const lv_generate_options *options)
{
    const lv_llama_config *config = &g->model->config.text;
    *s = (live_sequence){.options = *options};
    int rc = check_options(options);
    if (rc == LV_OK) rc = check_prompt(config, source, T);
    if (rc == LV_OK) {
        s->options.max_new_tokens = lv_min_i64(options->max_new_tokens, config->max_positions - T);
        rc = lv_llama_cache_add(g->cache, &s->cached, T + s->options.max_new_tokens);
    }
    return rc;
}

int lv_generator_add(lv_generator *g, int *sequences, const lv_batch *prompts,
                     const lv_generate_options *options)
{
    const int64_t B = prompts->n_samples, *start = prompts->seq_start;
    int64_t begun = 0;
    int rc = reserve(g, g->n + B);
    live_sequence *added = g->sequences + g->n;
    for (; rc == LV_OK && begun < B; begun += rc == LV_OK) {
        rc = begin_sequence(g, &added[begun], prompts->source + start[begun],
                            start[begun + 1] - start[begun], &options[begun]);
    }
    if (rc == LV_OK) {
        lv_tape_reset(g->tape);
        live_sequence **run = lv_tape_alloc(g->tape, (size_t)B * sizeof *run);
        for (int64_t b = 0; b < B; b++) {
            run[b] = &added[b];
        }
        rc = run_rows(g, run, B, lv_llava_embed(g->model, g->tape, prompts), start,
                      prompts->position);
    }
    for (int64_t b = 0; b < begun; b++) {
        if (rc == LV_OK) {
            sequences[b] = added[b].cached;
        } else {
            lv_llama_cache_remove(g->cache, added[b].cached);
        }
    }
    g->n += rc == LV_OK ? B : 0;
    return rc;
}

void lv_generator_remove(lv_generator *g, int sequence)
{
    int64_t i = 0;
    while (i < g->n && g->sequences[i].cached != sequence) {
        i++;
    }
    LV_CHECK(i < g->n, "no sequence %d is generated", sequence);
    lv_llama_cache_remove(g->cache, sequence);
    memmove(&g->sequences[i], &g->sequences[i + 1], (size_t)(g->n - i - 1) * sizeof *g->sequences);
    g->n--;
}

int64_t lv_generator_count(const lv_generator *g)
{
    return g->n;
}

/* Those whose last token was given out get another one, a row each. */
static int continue_given(lv_generator *g)
{
    lv_tape_reset(g->tape);
    const size_t n = (size_t)g->n;
    live_sequence **run = lv_tape_alloc(g->tape, n * sizeof *run);
    int32_t *ids = lv_tape_alloc(g->tape, n * sizeof *ids);
    int32_t *position = lv_tape_alloc(g->tape, n * sizeof *position);
    int64_t *start = lv_tape_alloc(g->tape, (n + 1) * sizeof *start);
    int64_t B = 0;
    for (int64_t i = 0; i < g->n; i++) {
        live_sequence *s = &g->sequences[i];
        if (s->is_given) {
            const lv_range rows = lv_llama_cache_rows(g->cache, s->cached);
            start[B] = B;
            position[B] = (int32_t)(rows.end - rows.begin);
            ids[B] = s->next;
            run[B++] = s;
        }
    }
    start[B] = B;
    return B > 0 ? run_rows(g, run, B, lv_llama_embed(g->model->llama, g->tape, ids, B), start,
                            position)
                 : LV_OK;
}

int lv_generator_step(lv_generator *g, lv_new_token *new_tokens)
{
    int64_t kept = 0;
    int rc = continue_given(g);
    for (int64_t i = 0; rc == LV_OK && i < g->n; i++) {
        live_sequence *s = &g->sequences[i];
        lv_new_token *to = &new_tokens[i];
        *to = (lv_new_token){
            .sequence = s->cached, .token = s->next, .is_eos = s->next == s->options.eos_token_id};
        s->is_given = true;
        s->n_new += !to->is_eos;
        to->is_last = to->is_eos || s->n_new == s->options.max_new_tokens;
        if (to->is_last) {
            lv_llama_cache_remove(g->cache, s->cached);
        } else {
            g->sequences[kept++] = *s;
        }
    }
    g->n = rc == LV_OK ? kept : g->n;
    return rc;
}
