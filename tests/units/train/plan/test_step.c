/* SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"
#include "train/plan/step.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX_SAMPLES = 32 };

static const char *const projector_only[] = {"projector"};
static const char *const language[] = {"projector", "language_model"};

static void assert_near(double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-9 * fabs(expected))) {
        fail_msg("%.12g, expected %.12g", found, expected);
    }
}

/* ---- FLOP ---- */

static int64_t sizes_of(lv_plan_sample *samples, const lv_batch *batch, int64_t rows_per_image)
{
    for (int i = 0; i < batch->n_samples; i++) {
        samples[i] = (lv_plan_sample){.n_rows = batch->seq_start[i + 1] - batch->seq_start[i]};
        for (int64_t t = batch->seq_start[i]; t < batch->seq_start[i + 1]; t++) {
            samples[i].n_image_rows += batch->source[t] < 0;
            samples[i].n_supervised += batch->label[t] != LV_NO_LABEL;
        }
        samples[i].n_images = samples[i].n_image_rows / rows_per_image;
    }
    return batch->n_samples;
}

static double counted_by_the_tape(lv_llava *model, const lv_batch *batch)
{
    lv_tape *tape;
    double loss_sum;
    golden_ok(lv_tape_create(&tape, 0));
    lv_tape_dtype_set(tape, lv_llava_dtype(model));
    lv_params_grad_begin(lv_llava_params(model));
    lv_backward(tape, lv_llava_loss(model, tape, batch, &loss_sum));
    double flop = lv_tape_flop(tape);
    lv_tape_destroy(&tape);
    return flop;
}

static void costs_of(lv_flop_costs *out, const golden *g, const char *const *trainable, size_t n)
{
    lv_llava_options options;
    lv_llava *dry;
    lv_vision_input vision;
    golden_options(g, &options);
    options.trainable = trainable;
    options.n_trainable = n;
    options.dry = true;
    golden_ok(lv_llava_open(&dry, &options));
    lv_llava_vision_input(dry, LV_ASPECT_SQUARE, &vision);
    golden_ok(lv_flop_costs_find(out, dry, &vision));
    lv_llava_close(&dry);
}

static void costs_add_up_to_what(const char *const *trainable, size_t n_trainable, bool all)
{
    golden g;
    lv_flop_costs costs;
    lv_batch batch;
    lv_vision_input vision;
    lv_plan_sample samples[MAX_SAMPLES];
    golden_open(&g, "gqa");
    assert_in_range(g.n_samples, 2, MAX_SAMPLES);
    lv_llava *model = golden_model(&g, trainable, n_trainable, false, LV_PRECISION_F32);
    lv_llava_vision_input(model, LV_ASPECT_SQUARE, &vision);
    costs_of(&costs, &g, trainable, n_trainable);
    int n_text = 0, n_images = 0;
    for (int i = 0; i < (all ? 1 : g.n_samples); i++) {
        if (all) {
            golden_batch_all(&batch, &g, model);
        } else {
            golden_batch(&batch, &g, model, &i, 1);
        }
        int64_t n = sizes_of(samples, &batch, vision.rows_per_image);
        n_text += batch.n_images == 0;
        n_images += batch.n_images > 0;
        assert_near(lv_flop_of(&costs, samples, n), counted_by_the_tape(model, &batch));
        golden_batch_free(&batch);
    }
    assert_true(all || (n_text > 0 && n_images > 0)); /* the shape has both */
    lv_llava_close(&model);
    golden_close(&g);
}

static void flop_by_sizes_alone_are_those_of_a_mixed_micro_batch(void **state)
{
    (void)state;
    costs_add_up_to_what(projector_only, 1, true);
    costs_add_up_to_what(language, 2, true);
}

static void flop_by_sizes_alone_are_those_of_text_or_images_alone(void **state)
{
    (void)state;
    costs_add_up_to_what(projector_only, 1, false);
    costs_add_up_to_what(language, 2, false);
}

static void a_micro_batch_without_a_label_costs_nothing(void **state)
{
    (void)state;
    const lv_flop_costs costs = {.with_image = {.row = 1}, .text = {.row = 1}};
    const lv_plan_sample sample = {.n_rows = 10};
    assert_near(lv_flop_of(&costs, &sample, 1), 0);
}

/* A FLOP a row. Ranks 0 and 1 of step 0: 10 + 4 and 12; of step 3: 5 and 7 + 6. */
static void the_slowest_rank_of_each_step_counts_with_its_last_micro_batch(void **state)
{
    (void)state;
    static const struct {
        int64_t step;
        int rank;
        int64_t rows;
    } walked[] = {{0, 0, 10}, {0, 0, 4}, {0, 1, 12}, {3, 0, 5}, {3, 1, 7}, {3, 1, 6}};
    lv_step_work work = {.costs = {.with_image = {.row = 1}, .text = {.row = 1}}};
    for (size_t i = 0; i < sizeof walked / sizeof *walked; i++) {
        const lv_plan_position place = {walked[i].step, walked[i].rank};
        lv_step_work_add(&work, &place,
                         &(lv_plan_sample){.n_rows = walked[i].rows, .n_supervised = 1}, 1);
    }
    assert_int_equal(work.n_typical, 1);
    assert_int_equal(work.typical[0].n_rows, 10);
    const lv_step_mean mean = lv_step_work_mean(&work);
    assert_near(mean.slowest_flop, (14 + 13) / 2.0);
    assert_near(mean.first_flop, (10 + 7) / 2.0);
    assert_near(mean.last_flop, (4 + 6) / 2.0);
    assert_near(mean.all_flop, (26 + 18) / 2.0);
    assert_near(mean.rows, (26 + 18) / 2.0);
}

/* ---- time ---- */

static const lv_step_traffic traffic = {
    .n_params = 1000000000, .wire_bytes = 4, .weight_bytes = 2, .n_buckets = 40, .hidden = true};

static void a_single_rank_sends_nothing_and_is_its_own_measure(void **state)
{
    (void)state;
    const lv_step_mean work = {
        .slowest_flop = 4e12, .last_flop = 1e12, .all_flop = 4e12, .rows = 1000};
    const lv_machine machine = {.n_ranks = 1,
                                .ranks_per_node = 1,
                                .flop_per_s = 1e12,
                                .memory_bytes_per_s = 34e9,
                                .local_bytes_per_s = 1e9};
    const lv_step_plan p = lv_step_plan_of(&work, &traffic, &machine);
    assert_near(p.step_s, 4 + 1 + 0.002);
    assert_near(p.efficiency, 1);
    assert_near(p.tokens_per_s, 1000 / 5.002);
    assert_true(p.sent_grad_bytes == 0 && p.link_bytes == 0 && p.grads_s == 0 && p.local_s == 0);
}

/* Worked out by hand from the formulas of step_plan.h. */
static void four_ranks_two_a_node_take_what_the_formulas_say(void **state)
{
    (void)state;
    const lv_step_mean work = {.slowest_flop = 10e12,
                               .first_flop = 3.6e12,
                               .last_flop = 3e12,
                               .all_flop = 36e12,
                               .rows = 8000};
    const lv_machine machine = {.n_ranks = 4,
                                .ranks_per_node = 2,
                                .flop_per_s = 2e12,
                                .memory_bytes_per_s = 100e9,
                                .link_bytes_per_s = 1e9,
                                .latency_s = 1e-4,
                                .local_bytes_per_s = 5e9};
    const lv_step_plan p = lv_step_plan_of(&work, &traffic, &machine);
    assert_near(p.compute_s, 10);
    /* to the other node: half of 4 GB from each of two ranks at 1 GB/s; 40 buckets, 2 messages */
    assert_near(p.grads_s, 4 + 40 * 2 * 1e-4);
    assert_near(p.grads_hidden_s, 3 * 2.0 / 3 * 39 / 40);
    assert_near(p.weights_s, 2 + 40 * 2 * 1e-4);
    assert_near(p.weights_hidden_s, 3.6 / 3 * 39 / 40);
    /* a quarter of 6 GB from each at 5 GB/s; three quarters of 12 GB for each at 100 GB/s */
    assert_near(p.local_s, 3.0 / 5 + 18.0 / 100);
    assert_near(p.update_s, 0.25e9 * 34 / 50e9);
    assert_near(p.fixed_s, 0.002 + 3 * 1e-4 * 2);
    assert_near(p.step_s, 10 + 4.008 - 1.95 + 2.008 - 1.17 + 0.78 + 0.17 + 0.0026);
    assert_near(p.single_s, 36 + 34.0 / 50 + 0.002);
    assert_near(p.efficiency, p.single_s / (4 * p.step_s));
    assert_near(p.sent_grad_bytes, 3e9);
    assert_near(p.sent_weight_bytes, 1.5e9);
    assert_near(p.link_bytes, 6e9);
}

static void of_an_embedding_as_many_rows_travel_as_the_step_has_tokens(void **state)
{
    (void)state;
    const lv_machine machine = {.n_ranks = 2,
                                .ranks_per_node = 1,
                                .flop_per_s = 1e12,
                                .memory_bytes_per_s = 100e9,
                                .link_bytes_per_s = 1e9,
                                .local_bytes_per_s = 1e9};
    lv_step_mean work = {.slowest_flop = 1e12, .all_flop = 2e12, .rows = 9000, .text_rows = 2000};
    lv_step_traffic by_rows = traffic;
    by_rows.n_rows = 52000;
    by_rows.row_params = 4000;
    lv_step_plan p = lv_step_plan_of(&work, &by_rows, &machine);
    assert_near(p.grads_s, 0.8e9 * 4 / 2 / 1e9); /* 50000 rows of 4000 stay */
    assert_near(p.weights_s, 1e9 * 2 / 2 / 1e9);
    assert_near(p.sent_grad_bytes, 1.6e9);
    assert_near(p.link_bytes, 2.6e9);
    assert_near(p.local_s, 0.8e9 * 12 / 2 / 100e9);
    work.text_rows = 60000;
    p = lv_step_plan_of(&work, &by_rows, &machine);
    assert_near(p.grads_s, 2);
}

static void what_is_hidden_is_neither_one_bucket_nor_more_than_the_window(void **state)
{
    (void)state;
    lv_machine machine = {.n_ranks = 8,
                          .ranks_per_node = 1,
                          .flop_per_s = 1e12,
                          .memory_bytes_per_s = 100e9,
                          .local_bytes_per_s = 1e9};
    const lv_step_mean work = {
        .slowest_flop = 10e12, .first_flop = 9e12, .last_flop = 9e12, .all_flop = 80e12, .rows = 1};
    machine.link_bytes_per_s = 3.5e9; /* 1 s in a window of 5.85, half a second in one of 2.925 */
    lv_step_plan p = lv_step_plan_of(&work, &traffic, &machine);
    assert_near(p.grads_s, 1);
    assert_near(p.grads_hidden_s, 39.0 / 40);
    assert_near(p.weights_hidden_s, 0.5 * 39 / 40);
    machine.link_bytes_per_s = 0.35e9;
    p = lv_step_plan_of(&work, &traffic, &machine);
    assert_near(p.grads_hidden_s, 6 * 39.0 / 40);
    assert_near(p.weights_hidden_s, 3 * 39.0 / 40);
    lv_step_traffic waits = traffic;
    waits.hidden = false;
    p = lv_step_plan_of(&work, &waits, &machine);
    assert_true(p.grads_hidden_s == 0 && p.weights_hidden_s == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flop_by_sizes_alone_are_those_of_a_mixed_micro_batch),
        cmocka_unit_test(flop_by_sizes_alone_are_those_of_text_or_images_alone),
        cmocka_unit_test(a_micro_batch_without_a_label_costs_nothing),
        cmocka_unit_test(the_slowest_rank_of_each_step_counts_with_its_last_micro_batch),
        cmocka_unit_test(a_single_rank_sends_nothing_and_is_its_own_measure),
        cmocka_unit_test(four_ranks_two_a_node_take_what_the_formulas_say),
        cmocka_unit_test(of_an_embedding_as_many_rows_travel_as_the_step_has_tokens),
        cmocka_unit_test(what_is_hidden_is_neither_one_bucket_nor_more_than_the_window),
    };
    return cmocka_run_group_tests_name("train/step_plan", tests, NULL, NULL);
}
