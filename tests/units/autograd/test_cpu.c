/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/cpu.h"

#include "autograd/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void a_limit_lowers_the_level_and_never_raises_it(void **state)
{
    (void)state;
    for (int level = 0; level < LV_N_CPU_LEVELS; level++) {
        lv_cpu_limit((lv_cpu_level)level);
        int want = level < (int)lv_cpu_found() ? level : (int)lv_cpu_found();
        assert_int_equal(lv_cpu(), want);
    }
}

static void the_environment_names_the_limit(void **state)
{
    (void)state;
    for (int level = 0; level < LV_N_CPU_LEVELS; level++) {
        assert_int_equal(setenv("LLAVA_CPU", lv_cpu_name((lv_cpu_level)level), 1), 0);
        assert_int_equal(lv_cpu_limit_from_env(), LV_OK);
        int want = level < (int)lv_cpu_found() ? level : (int)lv_cpu_found();
        assert_int_equal(lv_cpu(), want);
    }
    assert_int_equal(setenv("LLAVA_CPU", "portable", 1), 0);
    assert_int_equal(lv_cpu_limit_from_env(), LV_OK);
    assert_int_equal(setenv("LLAVA_CPU", "", 1), 0);
    assert_int_equal(lv_cpu_limit_from_env(), LV_OK);
    assert_int_equal(lv_cpu(), lv_cpu_found());
}

static void an_unknown_name_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    lv_cpu_limit(LV_CPU_PORTABLE);
    assert_int_equal(setenv("LLAVA_CPU", "AVX2", 1), 0);
    assert_int_equal(lv_cpu_limit_from_env(), LV_ERR_CONFIG);
    assert_non_null(strstr(lv_error_message(), "LLAVA_CPU=AVX2"));
    assert_non_null(strstr(lv_error_message(), "avx512_bf16"));
    assert_int_equal(lv_cpu(), LV_CPU_PORTABLE);
}

/* The compiler's own detection, for the levels that it knows. */
static void the_level_found_agrees_with_the_compilers_run_time(void **state)
{
    (void)state;
#if defined(__x86_64__)
    assert_int_equal(lv_cpu_found() >= LV_CPU_AVX2,
                     __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
    assert_int_equal(lv_cpu_found() >= LV_CPU_AVX512,
                     __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"));
#else
    assert_int_equal(lv_cpu_found(), LV_CPU_PORTABLE);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_lowers_the_level_and_never_raises_it),
        cmocka_unit_test(the_environment_names_the_limit),
        cmocka_unit_test(an_unknown_name_is_refused_and_changes_nothing),
        cmocka_unit_test(the_level_found_agrees_with_the_compilers_run_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
