/* SPDX-License-Identifier: Apache-2.0 */
#include "optim/adamw.h"
#include "optim/schedule.h"
#include "tests/units/optim/golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void assert_near(double got, double expected)
{
    if (!(fabs(got - expected) <= 1e-14 * fabs(expected))) {
        fail_msg("%.17g, expected %.17g", got, expected);
    }
}

static lv_schedule_kind kind_of(const char *name)
{
    return strcmp(name, "cosine") == 0   ? LV_SCHEDULE_COSINE
           : strcmp(name, "linear") == 0 ? LV_SCHEDULE_LINEAR
                                         : LV_SCHEDULE_CONSTANT;
}

static void lr_equals_transformers_for_all_kinds_and_the_published_runs(void **state)
{
    (void)state;
    FILE *golden = golden_open("schedule.txt");
    char kind[32];
    int n_cases = 0;
    while (golden_word(golden, kind)) {
        lv_schedule schedule;
        schedule.kind = kind_of(kind);
        double ratio = golden_double(golden);
        schedule.n_steps = golden_int(golden);
        schedule.warmup_steps = lv_schedule_warmup_steps(ratio, schedule.n_steps);
        assert_int_equal(schedule.warmup_steps, golden_int(golden));
        double lr = golden_double(golden);
        for (int64_t n = golden_int(golden); n > 0; n--) {
            int64_t step = golden_int(golden);
            assert_near(lr * lv_schedule_factor(&schedule, step), golden_double(golden));
        }
        n_cases++;
    }
    fclose(golden);
    assert_int_equal(n_cases, 20);
}

/* RECIPE: stage 2 of LLaVA 1.5 logs this lr at its step 22. */
static void lr_at_step_22_of_llava_1_5_stage_2_is_the_logged_one(void **state)
{
    (void)state;
    lv_schedule schedule = {LV_SCHEDULE_COSINE, 5198, lv_schedule_warmup_steps(0.03, 5198)};
    assert_true(2e-5 * lv_schedule_factor(&schedule, 22) == 2.8205128205128207e-06);
}

static void warmup_has_the_published_number_of_steps(void **state)
{
    (void)state;
    assert_int_equal(lv_schedule_warmup_steps(0.03, 4652), 140);
    assert_int_equal(lv_schedule_warmup_steps(0.03, 14787), 444);
    assert_int_equal(lv_schedule_warmup_steps(0.03, 2181), 66);
    assert_int_equal(lv_schedule_warmup_steps(0.03, 5198), 156);
    assert_int_equal(lv_schedule_warmup_steps(0, 5198), 0);
}

static void factor_past_the_end_is_0_or_the_constant_and_never_rises(void **state)
{
    (void)state;
    for (int64_t step = 10; step < 60; step++) {
        lv_schedule schedule = {LV_SCHEDULE_COSINE, 10, 2};
        assert_true(lv_schedule_factor(&schedule, step) == 0);
        schedule.kind = LV_SCHEDULE_LINEAR;
        assert_true(lv_schedule_factor(&schedule, step) == 0);
        schedule.kind = LV_SCHEDULE_CONSTANT;
        assert_true(lv_schedule_factor(&schedule, step) == 1);
        lv_schedule all_warmup = {LV_SCHEDULE_COSINE, 10, 10};
        assert_true(lv_schedule_factor(&all_warmup, step) == 0);
        lv_schedule empty = {LV_SCHEDULE_LINEAR, 0, 0};
        assert_true(lv_schedule_factor(&empty, step) == 0);
    }
}

static void clip_factor_equals_torch(void **state)
{
    (void)state;
    FILE *golden = golden_open("clip.txt");
    for (int i = 0; i < 18; i++) {
        double norm = golden_double(golden);
        double max_norm = golden_double(golden);
        assert_near(lv_clip_factor(norm, max_norm), golden_double(golden));
    }
    char rest[32];
    assert_false(golden_word(golden, rest));
    fclose(golden);
}

static void clip_factor_is_1_without_a_limit(void **state)
{
    (void)state;
    assert_true(lv_clip_factor(1e30, 0) == 1);
    assert_true(lv_clip_factor(0, 0) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lr_equals_transformers_for_all_kinds_and_the_published_runs),
        cmocka_unit_test(lr_at_step_22_of_llava_1_5_stage_2_is_the_logged_one),
        cmocka_unit_test(warmup_has_the_published_number_of_steps),
        cmocka_unit_test(factor_past_the_end_is_0_or_the_constant_and_never_rises),
        cmocka_unit_test(clip_factor_equals_torch),
        cmocka_unit_test(clip_factor_is_1_without_a_limit),
    };
    return cmocka_run_group_tests_name("optim/schedule", tests, NULL, NULL);
}
