/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "golden.h"
#include "train/model/llava/generate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_NEW = 16, TWO_IMAGES = 2, VOCAB = 48, POSITIONS = 64 };

static const lv_generate_options greedy = {
    .max_new_tokens = MAX_NEW, .top_p = 1, .eos_token_id = -1};

typedef struct {
    golden g;
    lv_llava *model;
    lv_batch prompt;
} fixture;

static int open_fixture(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    const int sample = TWO_IMAGES;
    golden_open(&f->g, "gqa");
    f->model = golden_model(&f->g, NULL, 0, false, LV_PRECISION_F32);
    golden_batch(&f->prompt, &f->g, f->model, &sample, 1);
    *state = f;
    return 0;
}

static int close_fixture(void **state)
{
    fixture *f = *state;
    golden_batch_free(&f->prompt);
    lv_llava_close(&f->model);
    golden_close(&f->g);
    free(f);
    return 0;
}

/* Logits after the prompt and n more tokens, everything run again from the start. */
static void logits_after(fixture *f, const int32_t *tokens, int64_t n, lv_real *out)
{
    golden_sample sample = f->g.samples[TWO_IMAGES];
    int32_t *all = calloc((size_t)(sample.n + n), sizeof *all);
    lv_tape *tape = NULL;
    lv_batch batch;
    memcpy(all, sample.tokens, (size_t)sample.n * sizeof *all);
    for (int64_t i = 0; i < n; i++) {
        all[sample.n + i] = tokens[i];
    }
    sample.tokens = all;
    sample.n += (int)n;
    sample.supervised = calloc((size_t)sample.n, 1);
    golden_batch_of(&batch, &f->g, f->model, &sample, 1);
    golden_ok(lv_tape_create(&tape, 0));
    lv_tape_dtype_set(tape, lv_llava_dtype(f->model));
    int32_t last = (int32_t)(batch.seq_start[1] - 1);
    memcpy(out, lv_tensor_real(golden_logits(f->model, tape, &batch, &last, 1)),
           VOCAB * sizeof *out);
    lv_tape_destroy(&tape);
    golden_batch_free(&batch);
    free(sample.supervised);
    free(all);
}

static void greedy_with_the_cache_is_greedy_without_it(void **state)
{
    fixture *f = *state;
    int32_t tokens[MAX_NEW];
    int64_t n = 0;
    golden_ok(golden_generate(f->model, &f->prompt, &greedy, tokens, &n));
    assert_int_equal(n, MAX_NEW);
    for (int64_t i = 0; i < n; i++) {
        lv_real logits[VOCAB];
        int32_t best = 0;
        logits_after(f, tokens, i, logits);
        for (int32_t v = 1; v < VOCAB; v++) {
            best = logits[v] > logits[best] ? v : best;
        }
        assert_int_equal(tokens[i], best);
    }
}

/* In bf16 the cache holds rounded keys, as the run without it has them, but sums are cut otherwise:
 * what is chosen is the largest up to a few steps of bf16. */
static void in_bf16_the_cache_chooses_as_well_as_without_it(void **state)
{
    fixture *f = *state;
    lv_llava *f32 = f->model;
    int32_t tokens[MAX_NEW], of_f32[MAX_NEW];
    int64_t n = 0;
    f->model = golden_model(&f->g, NULL, 0, false, LV_PRECISION_BF16);
    golden_ok(golden_generate(f->model, &f->prompt, &greedy, tokens, &n));
    assert_int_equal(n, MAX_NEW);
    for (int64_t i = 0; i < n; i++) {
        lv_real logits[VOCAB], most = -INFINITY, size = 0;
        logits_after(f, tokens, i, logits);
        for (int32_t v = 0; v < VOCAB; v++) {
            most = fmaxf(most, logits[v]);
            size = fmaxf(size, fabsf(logits[v]));
        }
        assert_true(logits[tokens[i]] >= most - size / 64);
    }
    lv_llava_close(&f->model);
    f->model = f32;
    golden_ok(golden_generate(f->model, &f->prompt, &greedy, of_f32, &n));
    assert_int_equal(tokens[0], of_f32[0]);
}

static void the_precision_of_the_weights_is_that_of_the_embedding(void **state)
{
    fixture *f = *state;
    golden bf16;
    assert_int_equal(lv_llava_dtype(f->model), LV_F32);
    lv_llava *model = golden_model(&f->g, NULL, 0, false, LV_PRECISION_OF_WEIGHTS);
    assert_int_equal(lv_llava_dtype(model), LV_F32);
    lv_llava_close(&model);
    golden_open(&bf16, "llava_bf16");
    model = golden_model(&bf16, NULL, 0, false, LV_PRECISION_OF_WEIGHTS);
    assert_int_equal(lv_llava_dtype(model), LV_BF16);
    lv_llava_close(&model);
    golden_close(&bf16);
}

static void text_ends_before_eos(void **state)
{
    fixture *f = *state;
    int32_t all[MAX_NEW], tokens[MAX_NEW];
    int64_t n = 0, first = 0;
    golden_ok(golden_generate(f->model, &f->prompt, &greedy, all, &n));
    lv_generate_options options = greedy;
    options.eos_token_id = all[3];
    while (all[first] != options.eos_token_id) {
        first++;
    }
    golden_ok(golden_generate(f->model, &f->prompt, &options, tokens, &n));
    assert_int_equal(n, first);
    assert_memory_equal(tokens, all, (size_t)n * sizeof *all);
}

static void a_tiny_top_p_is_greedy(void **state)
{
    fixture *f = *state;
    int32_t want[MAX_NEW], tokens[MAX_NEW];
    int64_t n = 0;
    lv_generate_options options = greedy;
    options.temperature = 1;
    options.top_p = 1e-9;
    golden_ok(golden_generate(f->model, &f->prompt, &greedy, want, &n));
    golden_ok(golden_generate(f->model, &f->prompt, &options, tokens, &n));
    assert_memory_equal(tokens, want, sizeof want);
}

static int decreasing(const void *a, const void *b)
{
    return (*(const double *)a < *(const double *)b) - (*(const double *)a > *(const double *)b);
}

/* Frequencies of the first token over many seeds, against softmax(logits / temperature) cut to
 * its largest tokens with a sum of at least top_p. */
static void sampling_follows_the_cut_softmax(fixture *f, double temperature, double top_p)
{
    enum { DRAWS = 3000 };
    lv_real logits[VOCAB];
    double p[VOCAB], sorted[VOCAB], sum = 0, kept = 0, smallest = 1;
    int count[VOCAB] = {0};
    logits_after(f, NULL, 0, logits);
    for (int v = 0; v < VOCAB; v++) {
        p[v] = exp((double)logits[v] / temperature);
        sum += p[v];
    }
    for (int v = 0; v < VOCAB; v++) {
        sorted[v] = p[v] /= sum;
    }
    qsort(sorted, VOCAB, sizeof *sorted, decreasing);
    for (int v = 0; v < VOCAB && kept < top_p; v++) {
        kept += smallest = sorted[v];
    }
    lv_generate_options options = {
        .max_new_tokens = 1, .temperature = temperature, .top_p = top_p, .eos_token_id = -1};
    for (options.seed = 0; options.seed < DRAWS; options.seed++) {
        int32_t token = 0;
        int64_t n = 0;
        golden_ok(golden_generate(f->model, &f->prompt, &options, &token, &n));
        count[token]++;
    }
    for (int v = 0; v < VOCAB; v++) {
        double want = p[v] >= smallest ? p[v] / kept : 0;
        double sigma = sqrt(want * (1 - want) / DRAWS);
        assert_true(fabs((double)count[v] / DRAWS - want) <= 5 * sigma);
    }
}

static void sampling_draws_from_the_softmax(void **state)
{
    sampling_follows_the_cut_softmax(*state, 1, 1);
    sampling_follows_the_cut_softmax(*state, 2.5, 1);
}

static void top_p_draws_from_the_most_likely_tokens_only(void **state)
{
    sampling_follows_the_cut_softmax(*state, 1.5, 0.6);
}

static void the_answer_ends_where_the_positions_do(void **state)
{
    fixture *f = *state;
    int32_t tokens[POSITIONS];
    int64_t n = 0, T = f->prompt.seq_start[1];
    lv_generate_options options = greedy;
    options.max_new_tokens = POSITIONS;
    golden_ok(golden_generate(f->model, &f->prompt, &options, tokens, &n));
    assert_int_equal(n, POSITIONS - T);
}

static void a_prompt_that_leaves_no_position_is_refused(void **state)
{
    fixture *f = *state;
    int32_t tokens[MAX_NEW], prompt[POSITIONS] = {1};
    int64_t n = 77;
    lv_batch batch = {0};
    lv_vision_input vision;
    lv_llava_vision_input(f->model, LV_ASPECT_SQUARE, &vision);
    golden_ok(lv_batch_from_prompt(&batch, prompt, POSITIONS, NULL, 0, &vision));
    assert_int_equal(golden_generate(f->model, &batch, &greedy, tokens, &n), LV_ERR_CONFIG);
    assert_non_null(strstr(lv_error_message(), "64 positions"));
    assert_int_equal(n, 77);
    lv_batch_free(&batch);
}

static void what_can_not_be_generated_is_refused(void **state)
{
    fixture *f = *state;
    int32_t tokens[MAX_NEW];
    int64_t n = 77;
    lv_generate_options options = greedy;
    options.temperature = -1;
    assert_int_equal(golden_generate(f->model, &f->prompt, &options, tokens, &n), LV_ERR_CONFIG);
    options = greedy;
    options.top_p = 0;
    assert_int_equal(golden_generate(f->model, &f->prompt, &options, tokens, &n), LV_ERR_CONFIG);
    assert_int_equal(n, 77);
}

static void an_id_beyond_the_vocabulary_is_refused(void **state)
{
    fixture *f = *state;
    int32_t tokens[MAX_NEW], *source = f->prompt.source, kept = source[0];
    int64_t n = 0;
    source[0] = VOCAB;
    assert_int_equal(golden_generate(f->model, &f->prompt, &greedy, tokens, &n), LV_ERR_CONFIG);
    source[0] = kept;
    assert_non_null(strstr(lv_error_message(), "token id 48, but the model's vocabulary has 48"));
}

static double value_at(const void *values, int64_t i)
{
    return ((const float *)values)[i];
}

static void scores_that_are_not_finite_are_an_error(void **state)
{
    fixture *f = *state;
    int32_t tokens[MAX_NEW];
    int64_t n = 0;
    lv_params *params = lv_llava_params(f->model);
    lv_param *norm = lv_params_find(params, "language_model.model.norm.weight");
    const int64_t count = lv_tensor_count(&norm->tensor);
    float *values = malloc((size_t)count * sizeof *values);
    assert_non_null(values);
    memcpy(values, lv_tensor_real(&norm->tensor), (size_t)count * sizeof *values);
    const float first = values[0];
    values[0] = NAN;
    golden_ok(lv_params_fill(params, norm, value_at, values));
    assert_int_equal(golden_generate(f->model, &f->prompt, &greedy, tokens, &n), LV_ERR_DIVERGED);
    values[0] = first;
    golden_ok(lv_params_fill(params, norm, value_at, values));
    free(values);
}

/* ---- several sequences ---- */

enum { N_SAMPLES = 10 };

typedef struct {
    int32_t tokens[MAX_NEW];
    int64_t n;
} continuation;

/* Every sample of the shape, greedy and sampled in turn, its length its own. */
static lv_generate_options options_of(int sample)
{
    return (lv_generate_options){.max_new_tokens = MAX_NEW - sample % 4,
                                 .temperature = sample % 2,
                                 .top_p = 0.9,
                                 .seed = 11,
                                 .key = (uint64_t)sample,
                                 .eos_token_id = -1};
}

static void continue_alone(fixture *f, lv_llava *model, continuation *alone)
{
    for (int i = 0; i < N_SAMPLES; i++) {
        lv_batch batch;
        lv_generate_options options = options_of(i);
        golden_batch(&batch, &f->g, model, &i, 1);
        golden_ok(golden_generate(model, &batch, &options, alone[i].tokens, &alone[i].n));
        golden_batch_free(&batch);
    }
}

/* The sample that each sequence continues, by its number. */
typedef struct {
    lv_generator *generator;
    continuation got[N_SAMPLES];
    int sample_of[N_SAMPLES];
} several;

static void join(several *s, const fixture *f, const lv_llava *model, const int *samples, int n)
{
    int sequences[N_SAMPLES];
    lv_batch batch;
    lv_generate_options options[N_SAMPLES];
    for (int i = 0; i < n; i++) {
        options[i] = options_of(samples[i]);
    }
    golden_batch(&batch, &f->g, model, samples, n);
    golden_ok(lv_generator_add(s->generator, sequences, &batch, options));
    golden_batch_free(&batch);
    for (int i = 0; i < n; i++) {
        s->sample_of[sequences[i]] = samples[i];
        s->got[samples[i]].n = 0;
    }
}

/* returns the number of a sequence that ended, -1 if none did. */
static int step(several *s)
{
    int ended = -1;
    lv_new_token tokens[N_SAMPLES];
    const int64_t n = lv_generator_count(s->generator);
    golden_ok(lv_generator_step(s->generator, tokens));
    for (int64_t i = 0; i < n; i++) {
        continuation *c = &s->got[s->sample_of[tokens[i].sequence]];
        c->tokens[c->n++] = tokens[i].token;
        ended = tokens[i].is_last ? tokens[i].sequence : ended;
    }
    return ended;
}

static void assert_as_alone(const several *s, const continuation *alone, int sample)
{
    assert_int_equal(s->got[sample].n, alone[sample].n);
    assert_memory_equal(s->got[sample].tokens, alone[sample].tokens,
                        (size_t)alone[sample].n * sizeof(int32_t));
}

static void continue_in_company(fixture *f, lv_llava *model)
{
    continuation alone[N_SAMPLES];
    several s = {0};
    continue_alone(f, model, alone);
    golden_ok(lv_generator_create(&s.generator, model));
    join(&s, f, model, (const int[]){2, 4, 7}, 3);
    step(&s);
    join(&s, f, model, (const int[]){5}, 1); /* while the others are on their way */
    step(&s);
    join(&s, f, model, (const int[]){0, 1}, 2);
    while (step(&s) < 0) {
    }
    join(&s, f, model, (const int[]){9, 8}, 2); /* where one was that has ended */
    step(&s);
    lv_generator_remove(s.generator, 1); /* sample 4, unless it has ended */
    join(&s, f, model, (const int[]){6, 3}, 2);
    while (lv_generator_count(s.generator) > 0) {
        step(&s);
    }
    for (int i = 0; i < N_SAMPLES; i++) {
        if (i != 4) {
            assert_as_alone(&s, alone, i);
        }
    }
    assert_true(s.got[4].n < alone[4].n);
    lv_generator_destroy(&s.generator);
}

static void a_sequence_is_continued_as_if_it_were_alone(void **state)
{
    fixture *f = *state;
    continue_in_company(f, f->model);
    lv_llava *bf16 = golden_model(&f->g, NULL, 0, false, LV_PRECISION_BF16);
    continue_in_company(f, bf16);
    lv_llava_close(&bf16);
}

static void one_bad_prompt_of_several_adds_none(void **state)
{
    fixture *f = *state;
    lv_generator *generator = NULL;
    lv_batch batch;
    int sequences[2] = {-1, -1};
    lv_generate_options options[2] = {options_of(0), options_of(1)};
    golden_batch(&batch, &f->g, f->model, (const int[]){0, 1}, 2);
    golden_ok(lv_generator_create(&generator, f->model));
    options[1].max_new_tokens = 0;
    assert_int_equal(lv_generator_add(generator, sequences, &batch, options), LV_ERR_CONFIG);
    assert_int_equal(lv_generator_count(generator), 0);
    options[1] = options_of(1);
    golden_ok(lv_generator_add(generator, sequences, &batch, options));
    assert_int_equal(sequences[0], 0);
    assert_int_equal(sequences[1], 1);
    lv_generator_destroy(&generator);
    golden_batch_free(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_with_the_cache_is_greedy_without_it),
        cmocka_unit_test(in_bf16_the_cache_chooses_as_well_as_without_it),
        cmocka_unit_test(the_precision_of_the_weights_is_that_of_the_embedding),
        cmocka_unit_test(text_ends_before_eos),
        cmocka_unit_test(a_tiny_top_p_is_greedy),
        cmocka_unit_test(sampling_draws_from_the_softmax),
        cmocka_unit_test(top_p_draws_from_the_most_likely_tokens_only),
        cmocka_unit_test(the_answer_ends_where_the_positions_do),
        cmocka_unit_test(a_prompt_that_leaves_no_position_is_refused),
        cmocka_unit_test(what_can_not_be_generated_is_refused),
        cmocka_unit_test(an_id_beyond_the_vocabulary_is_refused),
        cmocka_unit_test(scores_that_are_not_finite_are_an_error),
        cmocka_unit_test(a_sequence_is_continued_as_if_it_were_alone),
        cmocka_unit_test(one_bad_prompt_of_several_adds_none),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
