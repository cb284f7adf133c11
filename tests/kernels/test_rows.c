/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/convert.h"
#include "autograd/kernels/exp.h"
#include "autograd/kernels/norm.h"
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

static void sigmoid_is_within_three_ulp_and_right_at_the_ends(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = -87000; i <= 120000; i++) {
        lv_real x = (lv_real)(i * 1e-3);
        double expected = 1 / (1 + exp(-(double)x));
        worst = fmax(worst, fabs((double)lv_sigmoid(x) - expected) / expected);
    }
    assert_true(worst < 3 * FLT_EPSILON / 2);
    assert_true(lv_sigmoid(-100) == 0 && lv_sigmoid(-FLT_MAX) == 0 && lv_sigmoid(-INFINITY) == 0);
    assert_true(lv_sigmoid(FLT_MAX) == 1 && lv_sigmoid(INFINITY) == 1);
    assert_true(isnan(lv_times_sigmoid(NAN, NAN)) && isnan(lv_times_sigmoid(-NAN, -NAN)));
    assert_true(isnan(lv_times_sigmoid(-INFINITY, -INFINITY)));
}

static void normal_distribution_and_slope_of_gelu_are_near_and_within_bounds(void **state)
{
    (void)state;
    double worst = 0, worst_slope = 0;
    for (uint32_t bits = 0x00800000; bits <= 0x41200000; bits += 499) { /* 2^-126 to 10 */
        for (int sign = -1; sign <= 1; sign += 2) {
            float x;
            memcpy(&x, &bits, sizeof x);
            x *= (float)sign;
            double c = erfc(-(double)x / sqrt(2)) / 2;
            double slope = c + (double)x * exp(-(double)x * (double)x / 2) / sqrt(2 * acos(-1));
            lv_real found = lv_normal(x);
            worst = fmax(worst, fabs((double)found - c));
            worst_slope = fmax(worst_slope, fabs((double)lv_gelu_slope(x) - slope));
            assert_true(found >= 0 && found <= 1);
        }
    }
    assert_true(worst < 4 * FLT_EPSILON / 2 && worst_slope < 5 * FLT_EPSILON / 2);
    assert_true(lv_normal(0) == 0.5 && lv_gelu_slope(0) == 0.5);
    assert_true(lv_normal(-6) == 0 && lv_normal(-FLT_MAX) == 0 && lv_normal(-INFINITY) == 0);
    assert_true(lv_normal(6) == 1 && lv_normal(FLT_MAX) == 1 && lv_normal(INFINITY) == 1);
    assert_true(fabs((double)lv_gelu_slope(-FLT_MAX)) <= FLT_EPSILON / 2);
    assert_true(fabs((double)lv_gelu_slope(FLT_MAX) - 1) <= FLT_EPSILON / 2);
    assert_true(isnan(lv_gelu_slope(INFINITY)) && isnan(lv_gelu_slope(-INFINITY)));
    assert_true(isnan(lv_normal(NAN)) && isnan(lv_normal(-NAN)));
    assert_true(isnan(lv_gelu_slope(NAN)) && isnan(lv_gelu_slope(-NAN)));
}

/* index[t] names row i of n_rows where rows come up several times, once and never. */
enum { N_ROWS = 37, N_NAMES = 101, ROW_SIZE = 300 };

static void name_rows(int32_t index[N_NAMES])
{
    for (int t = 0; t < N_NAMES; t++) {
        index[t] = (int32_t)(t * t * 7 % N_ROWS);
    }
}

static void gather_takes_rows_of_either_tensor_and_dtype(void **state)
{
    (void)state;
    static lv_real values[2 * N_ROWS * ROW_SIZE], found[N_NAMES * ROW_SIZE];
    static uint16_t narrow[2 * N_ROWS * ROW_SIZE + 1], y[N_NAMES * ROW_SIZE];
    for (int i = 0; i < 2 * N_ROWS * ROW_SIZE; i++) {
        values[i] = (lv_real)(i % 251 - 125); /* exact in bf16 */
    }
    char *odd = (char *)narrow + 1;
    const int64_t half = (int64_t)N_ROWS * ROW_SIZE;
    lv_convert_from_real(odd, LV_BF16, values, 2 * half);
    int32_t index[N_NAMES];
    name_rows(index);
    for (int t = 0; t < N_NAMES; t += 3) {
        index[t] = -1 - index[t];
    }
    for (int how = 0; how < 4; how++) {
        bool from_bf16 = how % 2, to_bf16 = how / 2;
        lv_rows_gather(to_bf16 ? (void *)y : found, to_bf16 ? LV_BF16 : LV_F32,
                       from_bf16 ? (void *)odd : values,
                       from_bf16 ? (void *)(odd + 2 * half) : values + half,
                       from_bf16 ? LV_BF16 : LV_F32, index, N_NAMES, ROW_SIZE);
        if (to_bf16) {
            lv_convert_to_real(found, y, LV_BF16, N_NAMES * ROW_SIZE);
        }
        for (int64_t i = 0; i < N_NAMES * ROW_SIZE; i++) {
            int64_t row = index[i / ROW_SIZE];
            row = row >= 0 ? row : N_ROWS + (-1 - row);
            assert_true(found[i] == values[row * ROW_SIZE + i % ROW_SIZE]);
        }
    }
}

static void scatter_has_the_bits_of_sums_in_order_for_any_number_of_threads(void **state)
{
    (void)state;
    static lv_real x[N_NAMES * ROW_SIZE], y[N_ROWS * ROW_SIZE], expected[N_ROWS * ROW_SIZE];
    int32_t index[N_NAMES], scratch[N_ROWS + 1 + N_NAMES];
    assert_int_equal(lv_rows_scatter_count(N_ROWS, N_NAMES), N_ROWS + 1 + N_NAMES);
    name_rows(index);
    index[5] = -1;
    index[6] = N_ROWS; /* nobody's */
    for (int64_t i = 0; i < N_NAMES * ROW_SIZE; i++) {
        x[i] = (lv_real)lv_random_normal(1, 0, (uint64_t)i);
        int64_t row = index[i / ROW_SIZE];
        if (row >= 0 && row < N_ROWS) {
            expected[row * ROW_SIZE + i % ROW_SIZE] += x[i];
        }
    }
    int before = omp_get_max_threads();
    for (int threads = 1; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        memset(y, 0xff, sizeof y);
        lv_grad grad = {y, LV_F32, false};
        lv_rows_scatter(grad, N_ROWS, index, x, LV_F32, N_NAMES, ROW_SIZE, scratch);
        assert_memory_equal(y, expected, sizeof y);
        for (int i = 0; i < N_ROWS * ROW_SIZE; i++) {
            y[i] = 1;
        }
        grad.add = true;
        lv_rows_scatter(grad, N_ROWS, index, x, LV_F32, N_NAMES, ROW_SIZE, scratch);
        for (int i = 0; i < N_ROWS * ROW_SIZE; i++) {
            assert_true(y[i] == 1 + expected[i]);
        }
    }
    omp_set_num_threads(before);
}

static void norms_have_the_same_bits_each_time_and_sums_near_those_of_one_thread(void **state)
{
    (void)state;
    enum { T = 517, H = 83 };
    static lv_real x[T * H], dy[T * H], y[T * H], dx[T * H], w[H], b[H], mean[T], r[T];
    static lv_real one[2][H], first[2][H], found[2][H];
    for (uint64_t i = 0; i < T * H; i++) {
        x[i] = (lv_real)lv_random_normal(1, 0, i);
        dy[i] = (lv_real)lv_random_normal(2, 0, i);
        w[i % H] = b[i % H] = (lv_real)lv_random_normal(3, 0, i);
    }
    lv_norm_rows rows = {x, LV_F32, T, H, w, b, mean, r};
    int before = omp_get_max_threads();
    for (int threads = 1; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        lv_real *scratch = malloc((size_t)lv_norm_scratch_count(H, 2) * sizeof *scratch);
        assert_non_null(scratch);
        lv_norm_forward(y, &rows, 1e-5);
        for (int again = 0; again < 20; again++) {
            memset(found, 0xff, sizeof found); /* to be written */
            lv_norm_backward((lv_grad){dx, LV_F32, false}, (lv_grad){found[0], LV_F32, false},
                             (lv_grad){found[1], LV_F32, false}, dy, &rows, scratch);
            if (again == 0) {
                memcpy(first, found, sizeof found);
            }
            assert_memory_equal(found, first, sizeof found);
        }
        if (threads == 1) {
            memcpy(one, found, sizeof found);
        }
        for (int h = 0; h < H; h++) {
            assert_true(fabs((double)(found[0][h] - one[0][h])) < 1e-4);
            assert_true(fabs((double)(found[1][h] - one[1][h])) < 1e-4);
        }
        free(scratch);
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
        cmocka_unit_test(sigmoid_is_within_three_ulp_and_right_at_the_ends),
        cmocka_unit_test(normal_distribution_and_slope_of_gelu_are_near_and_within_bounds),
        cmocka_unit_test(gather_takes_rows_of_either_tensor_and_dtype),
        cmocka_unit_test(scatter_has_the_bits_of_sums_in_order_for_any_number_of_threads),
        cmocka_unit_test(norms_have_the_same_bits_each_time_and_sums_near_those_of_one_thread),
        cmocka_unit_test(a_split_covers_everything_once_in_order),
        cmocka_unit_test(sum_of_squares_has_the_same_bits_for_any_number_of_threads),
    };
    return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
