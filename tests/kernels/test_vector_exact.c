/* SPDX-License-Identifier: Apache-2.0
 *
 * The vector kernels that give the same bits at every CPU level, against sums and updates in
 * double: odd sizes, odd addresses, and poison behind every array. */
#include "autograd/cpu.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/vector.h"
#include "autograd/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_N = 1600, GUARD = 40, N_LEVELS = LV_CPU_AVX512 + 1 };

static const int64_t sizes[] = {0,  1,  3,  7,   8,   15,  16,  17,  31,   33,
                                63, 65, 99, 127, 500, 511, 512, 513, 1024, MAX_N - 1};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

/* The kernels of a level; NULL if this CPU does not have it. */
static const lv_vector_kernels *kernels_at(int level)
{
    lv_cpu_limit((lv_cpu_level)level);
    const lv_vector_kernels *kernels = (int)lv_cpu() == level ? lv_vector() : NULL;
    lv_cpu_limit(LV_CPU_AMX);
    return kernels;
}

/* n random values at an address that is offset elements off an aligned one, then poison. */
static lv_real *array(lv_real memory[MAX_N + 2 * GUARD], int64_t n, int offset, uint64_t seed)
{
    lv_real *x = memory + offset;
    for (int64_t i = 0; i < MAX_N + GUARD; i++) {
        x[i] = i < n ? (lv_real)lv_random_normal(seed, 0, (uint64_t)i) : (lv_real)NAN;
    }
    return x;
}

static void assert_untouched(const lv_real *x, int64_t n)
{
    for (int64_t i = n; i < n + GUARD; i++) {
        assert_true(isnan(x[i]));
    }
}

/* ---- AdamW ---- */

typedef struct {
    _Alignas(64) lv_real w[MAX_N + 2 * GUARD], m[MAX_N + 2 * GUARD], v[MAX_N + 2 * GUARD];
    lv_real grad[MAX_N + 2 * GUARD];
    uint16_t working[MAX_N + 2 * GUARD];
} update;

static const lv_adamw_factors factors = {.scale = 0.3f,
                                         .keep = 0.999f,
                                         .new1 = 0.1f,
                                         .new2 = 0.001f,
                                         .beta2 = 0.999f,
                                         .step_size = 0.02f,
                                         .root2 = 0.2f,
                                         .eps = 1e-8f};

static void begin_update(update *u, int64_t n, int offset)
{
    array(u->w, n, offset, 1);
    array(u->m, n, offset, 2);
    lv_real *v = array(u->v, n, offset, 3);
    array(u->grad, n, offset, 4);
    for (int64_t i = 0; i < n; i++) {
        v[i] *= v[i];
    }
    memset(u->working, 0x55, sizeof u->working);
}

static void run_update(update *u, const lv_vector_kernels *kernels, int64_t n, int offset,
                       bool working)
{
    kernels->adamw(u->w + offset, u->m + offset, u->v + offset,
                   working ? u->working + offset : NULL, u->grad + offset, n, &factors);
}

static void assert_close(lv_real found, double expected, double size)
{
    assert_true(fabs((double)found - expected) <= 1e-6 * size);
}

static void check_update(const update *u, const update *before, int64_t n, int offset)
{
    for (int64_t i = offset; i < offset + n; i++) {
        double g = (double)factors.scale * (double)before->grad[i];
        double m = (double)before->m[i] + (double)factors.new1 * (g - (double)before->m[i]);
        double v = (double)factors.beta2 * (double)before->v[i] + (double)factors.new2 * g * g;
        double step =
            (double)factors.step_size * m / (sqrt(v) / (double)factors.root2 + (double)factors.eps);
        double w = (double)factors.keep * (double)before->w[i];
        uint16_t rounded;
        assert_close(u->m[i], m, fabs(g) + fabs((double)before->m[i]));
        assert_close(u->v[i], v, v);
        assert_close(u->w[i], w - step, fabs(w) + fabs(step));
        lv_convert_from_real(&rounded, LV_BF16, &u->w[i], 1);
        assert_int_equal(u->working[i], rounded);
    }
    assert_untouched(u->w + offset, n);
    assert_untouched(u->m + offset, n);
    assert_untouched(u->v + offset, n);
    for (int64_t i = offset + n; i < offset + n + GUARD; i++) {
        assert_int_equal(u->working[i], 0x5555);
    }
    assert_memory_equal(u->grad, before->grad, sizeof u->grad);
}

static void adamw_is_the_update_in_double_and_the_same_bits_at_every_level(void **state)
{
    (void)state;
    static update before, u, without, first;
    for (int k = 0; k < N_SIZES; k++) {
        int64_t n = sizes[k];
        int offset = k % 5;
        begin_update(&before, n, offset);
        for (int level = 0; level < N_LEVELS; level++) {
            const lv_vector_kernels *kernels = kernels_at(level);
            if (!kernels) {
                continue;
            }
            u = without = before;
            run_update(&u, kernels, n, offset, true);
            check_update(&u, &before, n, offset);
            run_update(&without, kernels, n, offset, false);
            assert_memory_equal(without.w, u.w, sizeof u.w);
            first = level == 0 ? u : first;
            assert_memory_equal(&u, &first, sizeof u);
        }
    }
}

static void adamw_passes_nan_and_infinity_to_their_own_element(void **state)
{
    (void)state;
    static update clean, u;
    for (int level = 0; level < N_LEVELS; level++) {
        const lv_vector_kernels *kernels = kernels_at(level);
        if (!kernels) {
            continue;
        }
        begin_update(&clean, 99, 0);
        u = clean;
        u.grad[5] = NAN;
        u.grad[50] = INFINITY;
        run_update(&clean, kernels, 99, 0, true);
        run_update(&u, kernels, 99, 0, true);
        for (int i = 0; i < 99; i++) {
            if (i == 5 || i == 50) {
                lv_real working;
                lv_convert_to_real(&working, &u.working[i], LV_BF16, 1);
                assert_true(isnan(u.w[i]) && isnan(working));
                assert_true(i == 5 ? isnan(u.v[i]) : isinf(u.v[i]));
            } else {
                assert_true(u.w[i] == clean.w[i] && u.working[i] == clean.working[i]);
            }
        }
    }
}

/* ---- sums ---- */

static void sum_of_squares_is_exact_to_double_and_the_same_bits_at_every_level(void **state)
{
    (void)state;
    static _Alignas(64) lv_real memory[MAX_N + 2 * GUARD];
    for (int k = 0; k < N_SIZES; k++) {
        int64_t n = sizes[k];
        lv_real *x = array(memory, n, k % 7, 5);
        double expected = 0, first = 0;
        for (int64_t i = 0; i < n; i++) {
            expected += (double)x[i] * (double)x[i];
        }
        for (int level = 0; level < N_LEVELS; level++) {
            const lv_vector_kernels *kernels = kernels_at(level);
            if (kernels) {
                double sum = kernels->sum_squares(x, n);
                assert_true(fabs(sum - expected) <= 1e-13 * expected);
                first = level == 0 ? sum : first;
                assert_true(sum == first);
            }
        }
    }
    lv_real *x = array(memory, 100, 0, 5);
    for (int level = 0; level < N_LEVELS; level++) {
        const lv_vector_kernels *kernels = kernels_at(level);
        assert_true(!kernels || isnan(kernels->sum_squares(x, 101)));
    }
}

enum { MAX_T = 21, LD = 700 };

typedef struct {
    _Alignas(64) lv_real x[MAX_T * LD + 2 * GUARD];
    uint16_t half[MAX_T * LD + 2 * GUARD];
    _Alignas(64) lv_real dst[LD + 2 * GUARD];
} columns_case;

static void check_columns(columns_case *c, const lv_vector_kernels *kernels, lv_dtype dtype,
                          bool add, int64_t T, int64_t n, int offset)
{
    const void *x =
        dtype == LV_F32 ? (const void *)(c->x + offset) : (const void *)(c->half + offset);
    lv_real *dst = c->dst + offset;
    for (int64_t i = 0; i < LD + GUARD; i++) {
        dst[i] = add && i < n ? (lv_real)i : (lv_real)NAN; /* what is not added to is not read */
    }
    kernels->columns(dst, add, x, dtype, T, LD, n);
    for (int64_t i = 0; i < n; i++) {
        double sum = add ? (double)i : 0, size = sum;
        for (int64_t t = 0; t < T; t++) {
            lv_real value = c->x[offset + t * LD + i];
            sum += (double)value;
            size += fabs((double)value);
        }
        assert_true(fabs((double)dst[i] - sum) <= 1e-6 * size);
    }
    assert_untouched(dst, n);
}

static void sums_of_columns_are_those_in_double_and_the_same_bits_at_every_level(void **state)
{
    (void)state;
    static const int64_t columns[] = {0, 1, 5, 16, 31, 64, 511, 513, 690};
    static const int64_t rows[] = {0, 1, 7, 8, 9, 16, MAX_T};
    static columns_case c;
    static lv_real first[LD + 2 * GUARD];
    for (int form = 0; form < 4; form++) {
        lv_dtype dtype = form & 1 ? LV_BF16 : LV_F32;
        for (int64_t i = 0; i < MAX_T * LD + 2 * GUARD; i++) { /* the same values in both */
            lv_real value = (lv_real)lv_random_normal(6, 0, (uint64_t)i);
            lv_convert_from_real(&c.half[i], LV_BF16, &value, 1);
            lv_convert_to_real(&c.x[i], &c.half[i], LV_BF16, 1);
        }
        for (size_t k = 0; k < sizeof columns / sizeof *columns * 7; k++) {
            int64_t n = columns[k / 7], T = rows[k % 7];
            for (int level = 0; level < N_LEVELS; level++) {
                const lv_vector_kernels *kernels = kernels_at(level);
                if (!kernels) {
                    continue;
                }
                check_columns(&c, kernels, dtype, form & 2, T, n, (int)(k % 4));
                if (level == 0) {
                    memcpy(first, c.dst, sizeof first);
                }
                assert_memory_equal(c.dst + k % 4, first + k % 4, (size_t)n * sizeof *first);
            }
        }
    }
}

/* ---- conversions ---- */

static void check_conversion(lv_dtype dtype, int64_t n, int offset)
{
    static _Alignas(64) lv_real memory[MAX_N + 2 * GUARD], wide[MAX_N + 2 * GUARD];
    static char bytes[4 * MAX_N + 2 * GUARD], first[4 * MAX_N + 2 * GUARD];
    static lv_real first_wide[MAX_N + 2 * GUARD];
    const int64_t n_bytes = n * (dtype == LV_F32 ? 4 : 2);
    lv_real *x = array(memory, n, offset, 7);
    for (int64_t i = 0; i < n; i++) { /* from subnormals of f16 to beyond its range */
        x[i] = ldexpf((float)x[i], (int)(i * 7 % 45) - 26);
        uint32_t nan = 0x7f800001u + (uint32_t)i * 0x1235u;
        if (i % 11 == 3) {
            memcpy(&x[i], &nan, sizeof nan);
        }
    }
    for (int level = 0; level < N_LEVELS; level++) {
        const lv_vector_kernels *kernels = kernels_at(level);
        if (!kernels) {
            continue;
        }
        memset(bytes, 0x55, sizeof bytes);
        kernels->narrow(bytes + offset, dtype, x, n);
        for (int i = 0; i < GUARD; i++) {
            assert_int_equal(bytes[offset + n_bytes + i], 0x55);
        }
        for (int64_t i = 0; i < n;
             i++) { /* an element's bits are the same alone and among others */
            char alone[4];
            kernels->narrow(alone, dtype, &x[i], 1);
            assert_memory_equal(alone, bytes + offset + i * (n_bytes / n), (size_t)(n_bytes / n));
        }
        array(wide, 0, offset, 0);
        kernels->widen(wide + offset, bytes + offset, dtype, n);
        assert_untouched(wide + offset, n);
        if (level == 0) {
            memcpy(first, bytes, sizeof first);
            memcpy(first_wide, wide, sizeof first_wide);
        }
        assert_memory_equal(bytes, first, sizeof first);
        assert_memory_equal(wide + offset, first_wide + offset, (size_t)n * sizeof *wide);
    }
}

/* What the bits are is test_convert's. */
static void conversions_give_the_same_bits_at_every_level_and_address(void **state)
{
    (void)state;
    for (int k = 0; k < N_SIZES; k++) {
        check_conversion(LV_F32, sizes[k], k % 4);
        check_conversion(LV_BF16, sizes[k], k % 4);
        check_conversion(LV_F16, sizes[k], k % 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw_is_the_update_in_double_and_the_same_bits_at_every_level),
        cmocka_unit_test(adamw_passes_nan_and_infinity_to_their_own_element),
        cmocka_unit_test(sum_of_squares_is_exact_to_double_and_the_same_bits_at_every_level),
        cmocka_unit_test(sums_of_columns_are_those_in_double_and_the_same_bits_at_every_level),
        cmocka_unit_test(conversions_give_the_same_bits_at_every_level_and_address),
    };
    return cmocka_run_group_tests_name("exact vector kernels", tests, NULL, NULL);
}
