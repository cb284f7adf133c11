/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/convert.h"
#include "autograd/rng.h"
#include "tests/kernels/vector_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_N = 1100, GUARD = 40 };

/* n random values at an address that is offset elements off an aligned one, then poison. */
static lv_real *array(lv_real memory[MAX_N + 2 * GUARD], int64_t n, int offset, uint64_t seed)
{
    lv_real *x = memory + offset;
    for (int64_t i = 0; i < MAX_N + GUARD; i++) {
        x[i] = i < n ? (lv_real)lv_random_normal(seed, 0, (uint64_t)i) : (lv_real)NAN;
    }
    return x;
}

static void assert_poisoned(const lv_real *x, int64_t n)
{
    for (int64_t i = n; i < n + GUARD; i++) {
        assert_true(isnan(x[i]));
    }
}

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
    lv_real *const floats[] = {u->w, u->m, u->v, u->grad};
    for (int i = 0; i < 4; i++) {
        vector_guard(floats[i], sizeof u->w, floats[i] + offset, (size_t)n * sizeof(lv_real));
    }
    vector_guard(u->working, sizeof u->working, u->working + offset,
                 (size_t)n * sizeof *u->working);
    kernels->adamw(u->w + offset, u->m + offset, u->v + offset,
                   working ? u->working + offset : NULL, u->grad + offset, n, &factors);
    vector_unguard(u, sizeof *u);
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
    assert_poisoned(u->w + offset, n);
    assert_poisoned(u->m + offset, n);
    assert_poisoned(u->v + offset, n);
    for (int64_t i = offset + n; i < offset + n + GUARD; i++) {
        assert_int_equal(u->working[i], 0x5555);
    }
    assert_memory_equal(u->grad, before->grad, sizeof u->grad);
}

static void check_nan(const lv_vector_kernels *k)
{
    static update clean, u;
    begin_update(&clean, 99, 0);
    u = clean;
    u.grad[5] = NAN;
    u.grad[50] = INFINITY;
    run_update(&clean, k, 99, 0, true);
    run_update(&u, k, 99, 0, true);
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

void vector_case_adamw(const lv_vector_kernels *k)
{
    static update before, u, other;
    for (int i = 0; i < VECTOR_N_SIZES * VECTOR_N_OFFSETS; i++) {
        int64_t n = vector_sizes[i / VECTOR_N_OFFSETS];
        int offset = vector_offsets[i % VECTOR_N_OFFSETS];
        begin_update(&before, n, offset);
        u = other = before;
        run_update(&u, k, n, offset, true);
        check_update(&u, &before, n, offset);
        run_update(&other, vector_portable(), n, offset, true);
        assert_memory_equal(&u, &other, sizeof u);
        other = before;
        run_update(&other, k, n, offset, false);
        assert_memory_equal(u.w, other.w, sizeof u.w);
        assert_memory_equal(before.working, other.working, sizeof u.working);
    }
    check_nan(k);
}

typedef struct {
    _Alignas(64) lv_real w[MAX_N + 2 * GUARD], grad[MAX_N + 2 * GUARD];
    uint16_t m[MAX_N + 2 * GUARD], v[MAX_N + 2 * GUARD], working[MAX_N + 2 * GUARD];
} update_bf16;

enum { SEED = 77, FIRST = 1000 };

static void begin_bf16(update_bf16 *u, int64_t n, int offset)
{
    static update wide;
    begin_update(&wide, n, offset);
    memcpy(u->w, wide.w, sizeof u->w);
    memcpy(u->grad, wide.grad, sizeof u->grad);
    memset(u->working, 0x55, sizeof u->working);
    lv_convert_from_real(u->m, LV_BF16, wide.m, MAX_N + 2 * GUARD);
    lv_convert_from_real(u->v, LV_BF16, wide.v, MAX_N + 2 * GUARD);
}

static void run_bf16(update_bf16 *u, const lv_vector_kernels *k, int64_t from, int64_t to,
                     int offset)
{
    k->adamw_bf16(u->w + offset + from, u->m + offset + from, u->v + offset + from,
                  u->working + offset + from, u->grad + offset + from, to - from, &factors, SEED,
                  FIRST + from);
}

static bool is_one_of(uint16_t found, lv_real exact) /* the bf16 below and the one above */
{
    uint32_t bits;
    float f = (float)exact;
    memcpy(&bits, &f, sizeof bits);
    return found == bits >> 16 || ((bits & 0xffff) != 0 && found == (bits >> 16) + 1);
}

/* Against the kernel of f32 moments that began with the same values. */
static void check_bf16(const update_bf16 *u, const update_bf16 *before, int64_t n, int offset)
{
    static update wide;
    begin_update(&wide, n, offset);
    lv_convert_to_real(wide.m, before->m, LV_BF16, MAX_N + 2 * GUARD);
    lv_convert_to_real(wide.v, before->v, LV_BF16, MAX_N + 2 * GUARD);
    run_update(&wide, vector_portable(), n, offset, true);
    for (int64_t i = offset; i < offset + n; i++) {
        assert_true(u->w[i] == wide.w[i] && u->working[i] == wide.working[i]);
        assert_true(is_one_of(u->m[i], wide.m[i]) && is_one_of(u->v[i], wide.v[i]));
    }
    assert_poisoned(u->w + offset, n);
    assert_memory_equal(u->m + offset + n, before->m + offset + n, GUARD * sizeof *u->m);
    assert_memory_equal(u->v + offset + n, before->v + offset + n, GUARD * sizeof *u->v);
}

/* A v that only decays, by a thousandth a step: to nearest it would stay. */
static void check_that_nothing_is_lost(const lv_vector_kernels *k)
{
    enum { N = 1000, STEPS = 1000 };
    static lv_real w[N], grad[N];
    static uint16_t m[N], v[N];
    const lv_real one = 1;
    double sum = 0;
    for (int i = 0; i < N; i++) {
        lv_convert_from_real(&v[i], LV_BF16, &one, 1);
        m[i] = 0;
    }
    for (uint32_t t = 0; t < STEPS; t++) {
        k->adamw_bf16(w, m, v, NULL, grad, N, &factors, t * 2654435761U, 0);
    }
    for (int i = 0; i < N; i++) {
        lv_real x;
        lv_convert_to_real(&x, &v[i], LV_BF16, 1);
        sum += (double)x / N;
    }
    /* 0.999^1000; the standard deviation of the mean is about 0.0006 */
    assert_true(fabs(sum - 0.3677) < 0.004);
}

void vector_case_adamw_bf16(const lv_vector_kernels *k)
{
    static update_bf16 before, u, other;
    for (int i = 0; i < VECTOR_N_SIZES * VECTOR_N_OFFSETS; i++) {
        int64_t n = vector_sizes[i / VECTOR_N_OFFSETS];
        int offset = vector_offsets[i % VECTOR_N_OFFSETS];
        begin_bf16(&before, n, offset);
        u = other = before;
        run_bf16(&u, k, 0, n, offset);
        check_bf16(&u, &before, n, offset);
        run_bf16(&other, vector_portable(), 0, n / 3, offset);
        run_bf16(&other, vector_portable(), n / 3, n, offset);
        assert_memory_equal(&u, &other, sizeof u);
    }
    before.grad[1] = NAN;
    u = before;
    run_bf16(&u, k, 0, 8, 0);
    assert_int_equal(u.m[1], 0x7fc0);
    assert_int_equal(u.v[1], 0x7fc0);
    check_that_nothing_is_lost(k);
}

void vector_case_sum_squares(const lv_vector_kernels *k)
{
    static _Alignas(64) lv_real memory[MAX_N + 2 * GUARD];
    for (int s = 0; s < VECTOR_N_SIZES * VECTOR_N_OFFSETS; s++) {
        int64_t n = vector_sizes[s / VECTOR_N_OFFSETS];
        lv_real *x = array(memory, n, vector_offsets[s % VECTOR_N_OFFSETS], 5);
        vector_guard(memory, sizeof memory, x, (size_t)n * sizeof *x);
        double expected = 0, sum = k->sum_squares(x, n);
        vector_unguard(memory, sizeof memory);
        for (int64_t i = 0; i < n; i++) {
            expected += (double)x[i] * (double)x[i];
        }
        assert_true(fabs(sum - expected) <= 1e-13 * expected);
        assert_true(sum == vector_portable()->sum_squares(x, n));
        assert_true(isnan(k->sum_squares(x, n + 1)));
        if (n > 0) {
            x[n / 2] = -INFINITY;
            assert_true(isinf(k->sum_squares(x, n)));
        }
    }
}
