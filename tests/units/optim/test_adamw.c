/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/convert.h"
#include "optim/adamw.h"
#include "tests/units/optim/golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_N = 64 };

/* The inputs of make_golden.py; all are exact in float. */
static float golden_weight(int64_t i)
{
    return (float)(i * 53 % 97 - 48) / 32;
}

static float golden_gradient(int64_t step, int64_t i)
{
    return (float)((step * 37 + i * 101) % 211 - 105) / (float)(1 << (3 + i % 9));
}

/* Weights pass through zero and keep the rounding of what they were before: an error counts
 * against the value, but against no less than a tenth of the largest that the array has had. */
static void assert_row_near(FILE *golden, const lv_real *got, int64_t n, double *largest)
{
    static const double TOLERANCE = 1e-6;
    double expected[MAX_N];
    for (int64_t i = 0; i < n; i++) {
        expected[i] = golden_double(golden);
        *largest = fmax(*largest, fabs(expected[i]));
    }
    for (int64_t i = 0; i < n; i++) {
        double error = fabs(got[i] - expected[i]);
        double size = fmax(fabs(expected[i]), 0.1 * *largest);
        if (!(error <= TOLERANCE * size)) {
            fail_msg("element %d: %.9g, torch has %.9g", (int)i, got[i], expected[i]);
        }
    }
}

static void adamw_equals_torch_over_20_steps_with_decay_and_changing_lr(void **state)
{
    (void)state;
    enum { N_CASES = 3 };
    FILE *golden = golden_open("adamw.txt");
    for (int i_case = 0; i_case < N_CASES; i_case++) {
        lv_real w[MAX_N], m[MAX_N] = {0}, v[MAX_N] = {0}, grad[MAX_N];
        int64_t n = golden_int(golden);
        int64_t n_steps = golden_int(golden);
        assert_in_range(n, 1, MAX_N);
        lv_adamw hyper = {.beta1 = golden_double(golden)};
        hyper.beta2 = golden_double(golden);
        hyper.eps = golden_double(golden);
        hyper.weight_decay = golden_double(golden);
        double scale = golden_double(golden);
        for (int64_t i = 0; i < n; i++) {
            w[i] = golden_weight(i);
        }
        double largest_w = 0, largest_m = 0, largest_v = 0;
        for (int64_t step = 0; step < n_steps; step++) {
            for (int64_t i = 0; i < n; i++) {
                grad[i] = golden_gradient(step, i);
            }
            hyper.lr = golden_double(golden);
            lv_adamw_step(w, m, v, NULL, grad, n, &hyper, scale, step + 1);
            assert_row_near(golden, w, n, &largest_w);
            assert_row_near(golden, m, n, &largest_m);
            assert_row_near(golden, v, n, &largest_v);
        }
    }
    char rest[32];
    assert_false(golden_word(golden, rest));
    fclose(golden);
}

/* 100003 elements: odd, and more than the threads' shares have in common. */
static void adamw_updates_each_element_alone_and_no_other(void **state)
{
    (void)state;
    enum { N = 100003, GUARD = 16 };
    lv_real *all = calloc(4 * (size_t)(N + GUARD), sizeof *all);
    assert_non_null(all);
    lv_real *w = all, *m = w + N + GUARD, *v = m + N + GUARD, *grad = v + N + GUARD;
    uint16_t *working = calloc(N + GUARD, sizeof *working);
    assert_non_null(working);
    for (int64_t i = 0; i < N + GUARD; i++) {
        w[i] = golden_weight(i);
        grad[i] = golden_gradient(1, i);
    }
    lv_adamw hyper = {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1};
    lv_adamw_step(w, m, v, working, grad, N, &hyper, 0.5, 3);
    for (int64_t i = 0; i < N + GUARD; i++) {
        lv_real w1 = golden_weight(i), m1 = 0, v1 = 0, g1 = golden_gradient(1, i);
        uint16_t working1 = 0;
        if (i < N) {
            lv_adamw_step(&w1, &m1, &v1, &working1, &g1, 1, &hyper, 0.5, 3);
        }
        assert_memory_equal(&w[i], &w1, sizeof w1);
        assert_memory_equal(&m[i], &m1, sizeof m1);
        assert_memory_equal(&v[i], &v1, sizeof v1);
        assert_true(grad[i] == golden_gradient(1, i));
        assert_int_equal(working[i], working1);
        if (i < N) {
            uint16_t rounded;
            lv_convert_from_real(&rounded, LV_BF16, &w1, 1);
            assert_int_equal(working1, rounded);
        }
    }
    free(all);
    free(working);
}

static void adamw_with_lr_0_keeps_the_weights_and_moves_the_moments(void **state)
{
    (void)state;
    lv_real w = 0.1f, m = 0, v = 0, grad = 2;
    lv_adamw hyper = {.lr = 0, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1};
    lv_adamw_step(&w, &m, &v, NULL, &grad, 1, &hyper, 1, 1);
    assert_true(w == 0.1f);
    assert_float_equal(m, 0.2, 1e-6);
    assert_float_equal(v, 0.004, 1e-8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw_equals_torch_over_20_steps_with_decay_and_changing_lr),
        cmocka_unit_test(adamw_updates_each_element_alone_and_no_other),
        cmocka_unit_test(adamw_with_lr_0_keeps_the_weights_and_moves_the_moments),
    };
    return cmocka_run_group_tests_name("optim/adamw", tests, NULL, NULL);
}
