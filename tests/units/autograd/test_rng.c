/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* source: Random123, examples/kat_vectors, "philox4x32 10" */
static void philox_gives_the_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint64_t key, high, low;
        uint32_t expected[4];
    } known[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822,
         0x0370734413198a2e,
         0x85a308d3243f6a88,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        lv_philox(out, known[i].key, known[i].high, known[i].low);
        assert_memory_equal(out, known[i].expected, sizeof out);
    }
}

enum { N = 100000 };

static void uniform_numbers_fill_their_interval(void **state)
{
    (void)state;
    double mean = 0;
    int tenths[10] = {0};
    for (uint64_t i = 0; i < N; i++) {
        double u = lv_random_uniform(42, 1, i);
        assert_true(u >= 0 && u < 1);
        mean += u / N;
        tenths[(int)(u * 10)]++;
    }
    assert_true(fabs(mean - 0.5) < 5 * sqrt(1.0 / 12 / N));
    for (int i = 0; i < 10; i++) {
        assert_true(abs(tenths[i] - N / 10) < 5 * sqrt(N * 0.09));
    }
}

static void normal_numbers_have_the_moments_of_the_normal_distribution(void **state)
{
    (void)state;
    double moments[5] = {0};
    for (uint64_t i = 0; i < N; i++) {
        double x = lv_random_normal(42, 2, i);
        assert_true(isfinite(x));
        for (int k = 1; k < 5; k++) {
            moments[k] += pow(x, k) / N;
        }
    }
    assert_true(fabs(moments[1]) < 5 * sqrt(1.0 / N));
    assert_true(fabs(moments[2] - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(moments[3]) < 5 * sqrt(15.0 / N));
    assert_true(fabs(moments[4] - 3) < 5 * sqrt(96.0 / N));
}

static void every_part_of_key_and_counter_matters(void **state)
{
    (void)state;
    double base = lv_random_uniform(5, 6, 7);
    assert_true(base == lv_random_uniform(5, 6, 7));
    for (int bit = 0; bit < 64; bit++) {
        uint64_t flip = (uint64_t)1 << bit;
        assert_true(lv_random_uniform(5 ^ flip, 6, 7) != base);
        assert_true(lv_random_uniform(5, 6 ^ flip, 7) != base);
        assert_true(lv_random_uniform(5, 6, 7 ^ flip) != base);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_known_answers),
        cmocka_unit_test(uniform_numbers_fill_their_interval),
        cmocka_unit_test(normal_numbers_have_the_moments_of_the_normal_distribution),
        cmocka_unit_test(every_part_of_key_and_counter_matters),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
