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

static const lv_generate_options greedy = {.max_new_tokens = MAX_NEW, .top_p = 1};

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
    golden_ok(lv_generate(f->model, &f->prompt, &greedy, NULL, NULL, tokens, &n));
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
    golden_ok(lv_generate(f->model, &f->prompt, &greedy, NULL, NULL, tokens, &n));
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
    golden_ok(lv_generate(f->model, &f->prompt, &greedy, NULL, NULL, of_f32, &n));
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

static void text_ends_before_any_id_that_stops_it(void **state)
{
    fixture *f = *state;
    int32_t all[MAX_NEW], tokens[MAX_NEW];
    int64_t n = 0, first = 0;
    golden_ok(lv_generate(f->model, &f->prompt, &greedy, NULL, NULL, all, &n));
    lv_generate_options options = greedy;
    const int32_t stops[] = {VOCAB + 7, all[3]}; /* an id without a row, too */
    options.stops = stops;
    options.n_stops = 2;
    while (all[first] != all[3]) {
        first++;
    }
    golden_ok(lv_generate(f->model, &f->prompt, &options, NULL, NULL, tokens, &n));
    assert_int_equal(n, first);
    assert_memory_equal(tokens, all, (size_t)n * sizeof *all);
}

static bool stop_at_the_third(void *context, int32_t token)
{
    (void)token;
    return ++*(int *)context < 3;
}

static void the_caller_can_stop(void **state)
{
    fixture *f = *state;
    int32_t tokens[MAX_NEW];
    int64_t n = 0;
    int calls = 0;
    golden_ok(lv_generate(f->model, &f->prompt, &greedy, stop_at_the_third, &calls, tokens, &n));
    assert_int_equal(calls, 3);
    assert_int_equal(n, 3);
}

static void a_tiny_top_p_is_greedy(void **state)
{
    fixture *f = *state;
    int32_t want[MAX_NEW], tokens[MAX_NEW];
    int64_t n = 0;
    lv_generate_options options = greedy;
    options.temperature = 1;
    options.top_p = 1e-9;
    golden_ok(lv_generate(f->model, &f->prompt, &greedy, NULL, NULL, want, &n));
    golden_ok(lv_generate(f->model, &f->prompt, &options, NULL, NULL, tokens, &n));
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
    lv_generate_options options = {.max_new_tokens = 1, .temperature = temperature, .top_p = top_p};
    for (options.seed = 0; options.seed < DRAWS; options.seed++) {
        int32_t token = 0;
        int64_t n = 0;
        golden_ok(lv_generate(f->model, &f->prompt, &options, NULL, NULL, &token, &n));
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
    golden_ok(lv_generate(f->model, &f->prompt, &options, NULL, NULL, tokens, &n));
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
    assert_int_equal(lv_generate(f->model, &batch, &greedy, NULL, NULL, tokens, &n), LV_ERR_CONFIG);
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
    assert_int_equal(lv_generate(f->model, &f->prompt, &options, NULL, NULL, tokens, &n),
                     LV_ERR_CONFIG);
    options = greedy;
    options.top_p = 0;
    assert_int_equal(lv_generate(f->model, &f->prompt, &options, NULL, NULL, tokens, &n),
                     LV_ERR_CONFIG);
    assert_int_equal(n, 77);
}

static void an_id_beyond_the_vocabulary_is_refused(void **state)
{
    fixture *f = *state;
    int32_t tokens[MAX_NEW], *source = f->prompt.source, kept = source[0];
    int64_t n = 0;
    source[0] = VOCAB;
    assert_int_equal(lv_generate(f->model, &f->prompt, &greedy, NULL, NULL, tokens, &n),
                     LV_ERR_CONFIG);
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
    assert_int_equal(lv_generate(f->model, &f->prompt, &greedy, NULL, NULL, tokens, &n),
                     LV_ERR_DIVERGED);
    values[0] = first;
    golden_ok(lv_params_fill(params, norm, value_at, values));
    free(values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_with_the_cache_is_greedy_without_it),
        cmocka_unit_test(in_bf16_the_cache_chooses_as_well_as_without_it),
        cmocka_unit_test(the_precision_of_the_weights_is_that_of_the_embedding),
        cmocka_unit_test(text_ends_before_any_id_that_stops_it),
        cmocka_unit_test(the_caller_can_stop),
        cmocka_unit_test(a_tiny_top_p_is_greedy),
        cmocka_unit_test(sampling_draws_from_the_softmax),
        cmocka_unit_test(top_p_draws_from_the_most_likely_tokens_only),
        cmocka_unit_test(the_answer_ends_where_the_positions_do),
        cmocka_unit_test(a_prompt_that_leaves_no_position_is_refused),
        cmocka_unit_test(what_can_not_be_generated_is_refused),
        cmocka_unit_test(an_id_beyond_the_vocabulary_is_refused),
        cmocka_unit_test(scores_that_are_not_finite_are_an_error),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
