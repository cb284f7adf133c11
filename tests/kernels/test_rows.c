/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/exp.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/rows.h"
#include "autograd/rng.h"

#include <float.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void exp_is_within_two_ulp(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = -86900; i <= 88700; i++) {
        lv_real x = (lv_real)(i * 1e-3);
        double expected = exp((double)x);
        worst = fmax(worst, fabs((double)lv_exp(x) - expected) / expected);
    }
    assert_true(worst < 2 * FLT_EPSILON / 2 * 1.01);
}

static void exp_at_the_ends_is_right(void **state)
{
    (void)state;
    assert_true(lv_exp(0) == 1 && lv_exp((lv_real)-0.0) == 1);
    assert_true(lv_exp(-INFINITY) == 0 && lv_exp(-200) == 0 && lv_exp(-FLT_MAX) == 0);
    assert_true(isinf(lv_exp(INFINITY)) && isinf(lv_exp((lv_real)88.8)) && isinf(lv_exp(FLT_MAX)));
    assert_true(isnan(lv_exp(NAN)) && isnan(lv_exp(-NAN)));
    assert_true(lv_exp((lv_real)-86.9) > 0 && lv_exp(-87) == 0);
}

static void erf_is_within_four_ulp_and_never_beyond_one(void **state)
{
    (void)state;
    double worst = 0;
    for (uint32_t bits = 0x00800000; bits <= 0x41000000; bits += 997) { /* 2^-126 to 8 */
        float x;
        memcpy(&x, &bits, sizeof x);
        double expected = erf((double)x);
        double found = (double)lv_erf(x);
        worst = fmax(worst, fabs(found - expected) / expected);
        assert_true(found <= 1 && (double)lv_erf(-x) == -found);
    }
    assert_true(worst < 4 * FLT_EPSILON);
    assert_true(lv_erf(0) == 0 && signbit(lv_erf((lv_real)-0.0)));
    assert_true(lv_erf(INFINITY) == 1 && lv_erf(-INFINITY) == -1 && lv_erf(FLT_MAX) == 1);
    assert_true(isnan(lv_erf(NAN)) && isnan(lv_erf(-NAN)));
}

static void row_sums_count_every_element_once(void **state)
{
    (void)state;
    lv_real ones[100], twos[100];
    for (int i = 0; i < 100; i++) {
        ones[i] = 1;
        twos[i] = 2;
    }
    for (int64_t n = 0; n <= 100; n++) {
        assert_true(lv_row_sum(ones, n) == (lv_real)n);
        assert_true(lv_row_dot(ones, twos, n) == (lv_real)(2 * n));
        assert_true(lv_row_sum_squares(twos, -1, n) == (lv_real)(9 * n));
    }
}

static void row_max_finds_the_largest_and_keeps_nan(void **state)
{
    (void)state;
    assert_true(lv_row_max(NULL, 0) == -INFINITY);
    for (int64_t n = 1; n <= 50; n++) {
        for (int64_t at = 0; at < n; at++) {
            lv_real x[50];
            for (int i = 0; i < 50; i++) {
                x[i] = i < n ? (lv_real)-i - 5 : 100; /* beyond the row: larger */
            }
            x[at] = -1;
            assert_true(lv_row_max(x, n) == -1);
            x[at] = NAN;
            assert_true(isnan(lv_row_max(x, n)));
        }
    }
}

static void row_exp_passes_nan_and_takes_a_masked_row(void **state)
{
    (void)state;
    lv_real x[3] = {0, NAN, 1};
    assert_true(isnan(lv_row_exp(x, 0, 3)) && x[0] == 1 && isnan(x[1]));
    lv_real masked[2] = {-INFINITY, -INFINITY};
    assert_true(lv_row_exp(masked, -INFINITY, 2) == 0 && masked[0] == 0);
}

static void column_sums_agree_with_double_for_all_shapes_and_threads(void **state)
{
    (void)state;
    static lv_real x[131 * 83];
    for (uint64_t i = 0; i < 131 * 83; i++) {
        x[i] = (lv_real)lv_random_normal(1, 0, i);
    }
    int before = omp_get_max_threads();
    for (int threads = 1; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        lv_real sums[83];
        for (int n = 0; n < 83; n++) {
            sums[n] = 1;
        }
        lv_columns_add(sums, x, 131, 83);
        for (int n = 0; n < 83; n++) {
            double sum = 1;
            for (int t = 0; t < 131; t++) {
                sum += (double)x[t * 83 + n];
            }
            assert_true(fabs((double)sums[n] - sum) < 1e-5);
        }
    }
    omp_set_num_threads(before);
}

static void a_split_covers_everything_once_in_order(void **state)
{
    (void)state;
    for (int64_t count = 0; count < 70; count += 3) {
        for (int64_t n = 1; n < 9; n++) {
            int64_t next = 0;
            for (int64_t i = 0; i < n; i++) {
                lv_range range = lv_range_split(count, 4, i, n);
                assert_int_equal(range.begin, next);
                assert_true(range.end >= range.begin);
                assert_true((range.end - range.begin) % 4 == 0 || range.end == count);
                next = range.end;
            }
            assert_int_equal(next, count);
        }
    }
}

static void sum_of_squares_has_the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    enum { N = 100003 };
    lv_real *x = malloc(N * sizeof *x);
    assert_non_null(x);
    double expected = 0;
    for (uint64_t i = 0; i < N; i++) {
        x[i] = (lv_real)lv_random_normal(1, 0, i);
        expected += (double)x[i] * (double)x[i];
    }
    int before = omp_get_max_threads();
    omp_set_num_threads(1);
    double one = lv_sum_squares(x, N);
    assert_true(fabs(one - expected) < 1e-12 * expected);
    for (int threads = 2; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        for (int again = 0; again < 20; again++) {
            assert_true(lv_sum_squares(x, N) == one);
        }
    }
    omp_set_num_threads(before);
    assert_true(lv_sum_squares(x, 0) == 0);
    assert_true(lv_sum_squares((lv_real[]){3, 4}, 2) == 25);
    x[N - 1] = NAN;
    assert_true(isnan(lv_sum_squares(x, N)));
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_two_ulp),
        cmocka_unit_test(exp_at_the_ends_is_right),
        cmocka_unit_test(erf_is_within_four_ulp_and_never_beyond_one),
        cmocka_unit_test(row_sums_count_every_element_once),
        cmocka_unit_test(row_max_finds_the_largest_and_keeps_nan),
        cmocka_unit_test(row_exp_passes_nan_and_takes_a_masked_row),
        cmocka_unit_test(column_sums_agree_with_double_for_all_shapes_and_threads),
        cmocka_unit_test(a_split_covers_everything_once_in_order),
        cmocka_unit_test(sum_of_squares_has_the_same_bits_for_any_number_of_threads),
    };
    return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
