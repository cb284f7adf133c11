/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/cpu.h"
#include "autograd/kernels/convert.h"
#include "autograd/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_PATTERNS = 65536 };

/* The value of a pattern by the definition of the formats. */
static double value_of(uint16_t h, lv_dtype dtype)
{
    int mantissa_bits = dtype == LV_BF16 ? 7 : 10;
    int bias = dtype == LV_BF16 ? 127 : 15;
    int exponent_mask = dtype == LV_BF16 ? 0xff : 0x1f;
    int exponent = h >> mantissa_bits & exponent_mask;
    int mantissa = h & ((1 << mantissa_bits) - 1);
    double sign = h & 0x8000 ? -1 : 1;
    if (exponent == exponent_mask) {
        return mantissa ? (double)NAN : sign * INFINITY;
    }
    return exponent ? sign * ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits)
                    : sign * ldexp(mantissa, 1 - bias - mantissa_bits);
}

static void check_all_patterns(lv_dtype dtype)
{
    static uint16_t patterns[N_PATTERNS];
    static char source[2 * N_PATTERNS + 1], back[2 * N_PATTERNS + 1];
    static lv_real values[N_PATTERNS];
    for (int i = 0; i < N_PATTERNS; i++) {
        patterns[i] = (uint16_t)i;
    }
    memcpy(source + 1, patterns, sizeof patterns); /* at an odd address */
    lv_convert_to_real(values, source + 1, dtype, N_PATTERNS);
    lv_convert_from_real(back + 1, dtype, values, N_PATTERNS);
    for (int i = 0; i < N_PATTERNS; i++) {
        double expected = value_of((uint16_t)i, dtype);
        uint16_t again;
        memcpy(&again, back + 1 + 2 * i, sizeof again);
        if (isnan(expected)) {
            assert_true(isnan(values[i]));
            assert_true(isnan(value_of(again, dtype)));
        } else {
            assert_true(values[i] == expected && !signbit(values[i]) == !signbit(expected));
            assert_int_equal(again, i);
        }
    }
}

static void every_bf16_pattern_survives(void **state)
{
    (void)state;
    check_all_patterns(LV_BF16);
}

static void every_f16_pattern_survives(void **state)
{
    (void)state;
    check_all_patterns(LV_F16);
}

/* x rounds to the nearer of its two neighbours among the patterns, to the even one in a tie. */
static void check_rounding(lv_dtype dtype, float x)
{
    uint16_t h;
    lv_convert_from_real(&h, dtype, &(lv_real){x}, 1);
    double found = value_of(h, dtype);
    double error = fabs(found - (double)x);
    double below = fabs(value_of((uint16_t)(h - 1), dtype) - (double)x);
    double above = fabs(value_of((uint16_t)(h + 1), dtype) - (double)x);
    assert_true(h % 2 ? error < below && error < above : error <= below && error <= above);
}

static void narrowing_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 20000; i++) {
        float scale = ldexpf(1, (int)(i % 36) - 22);
        float x = (float)lv_random_normal(1, 0, i) * scale;
        uint16_t h;
        lv_convert_from_real(&h, LV_BF16, &(lv_real){x}, 1);
        check_rounding(LV_BF16, x);
        lv_convert_from_real(&h, LV_F16, &(lv_real){x}, 1);
        if ((h & 0x7fff) > 0 && (h & 0x7fff) < 0x7bff) { /* neighbours on both sides */
            check_rounding(LV_F16, x);
        }
        /* ties: halfway between two patterns */
        uint16_t pattern = (uint16_t)(1 + i % 0x7bf0);
        double upper = value_of((uint16_t)(pattern + 1), LV_F16);
        check_rounding(LV_F16, (float)((value_of(pattern, LV_F16) + upper) / 2));
        upper = value_of((uint16_t)(pattern + 0x101), LV_BF16);
        check_rounding(LV_BF16,
                       (float)((value_of((uint16_t)(pattern + 0x100), LV_BF16) + upper) / 2));
    }
}

static void the_ends_of_the_range_are_right(void **state)
{
    (void)state;
    const lv_real values[] = {65504,  65519.996f, 65520,           1e30f,
                              -1e30f, 0x1p-25f,   0x1.000002p-25f, -0.0f};
    const uint16_t expected[] = {0x7bff, 0x7bff, 0x7c00, 0x7c00, 0xfc00, 0, 1, 0x8000};
    uint16_t found[8];
    lv_convert_from_real(found, LV_F16, values, 8);
    assert_memory_equal(found, expected, sizeof expected);
    lv_convert_from_real(found, LV_BF16, &(lv_real){0x1.fffffep127f}, 1);
    assert_int_equal(found[0], 0x7f80); /* the largest float is nearer to 2^128 */
}

static void f32_is_copied_at_any_alignment_and_size(void **state)
{
    (void)state;
    const int64_t n = 300001; /* large enough for all threads */
    char *bytes = malloc((size_t)n * 4 + 3);
    lv_real *values = malloc((size_t)n * sizeof *values);
    lv_real *back = malloc((size_t)n * sizeof *back);
    assert_true(bytes && values && back);
    for (int64_t i = 0; i < n; i++) {
        values[i] = (lv_real)i;
    }
    lv_convert_from_real(bytes + 3, LV_F32, values, n);
    lv_convert_to_real(back, bytes + 3, LV_F32, n);
    assert_memory_equal(back, values, (size_t)n * sizeof *values);
    free(bytes);
    free(values);
    free(back);
}

static int portable(void **state)
{
    (void)state;
    lv_cpu_limit(LV_CPU_PORTABLE);
    return 0;
}

static int avx2(void **state)
{
    (void)state;
    lv_cpu_limit(LV_CPU_AVX2);
    return 0;
}

static int avx512(void **state)
{
    (void)state;
    lv_cpu_limit(LV_CPU_AVX512);
    return 0;
}

#define AT_ALL_LEVELS(f)                                                                           \
    {#f " (portable)", f, portable, NULL, NULL}, {#f " (avx2)", f, avx2, NULL, NULL},              \
    {                                                                                              \
#f " (avx512)", f, avx512, NULL, NULL                                                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        AT_ALL_LEVELS(every_bf16_pattern_survives),
        AT_ALL_LEVELS(every_f16_pattern_survives),
        AT_ALL_LEVELS(narrowing_rounds_to_nearest_even),
        AT_ALL_LEVELS(the_ends_of_the_range_are_right),
        AT_ALL_LEVELS(f32_is_copied_at_any_alignment_and_size),
    };
    return cmocka_run_group_tests_name("convert", tests, NULL, NULL);
}
