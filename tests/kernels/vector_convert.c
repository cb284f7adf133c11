/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/cpu.h"
#include "autograd/rng.h"
#include "tests/kernels/vector_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_N = 1100, GUARD = 40 };

/* From subnormals of f16 to beyond its range, with NaNs of all kinds. */
static void fill(lv_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t nan = 0x7f800001u + (uint32_t)i * 0x1235u;
        x[i] = ldexpf((float)lv_random_normal(7, 0, (uint64_t)i), (int)(i * 7 % 45) - 26);
        if (i % 11 == 3) {
            memcpy(&x[i], &nan, sizeof nan);
        }
    }
}

static int64_t stored_bytes(lv_dtype dtype)
{
    return dtype == LV_F32 ? 4 : 2;
}

/* An element's bits are the same alone and among others, at any address; what they are is
 * test_convert's. */
static void check_narrow(const lv_vector_kernels *k, lv_dtype dtype, int64_t n, int offset)
{
    static _Alignas(64) lv_real x[MAX_N + GUARD];
    static char bytes[4 * MAX_N + 2 * GUARD];
    const int64_t size = stored_bytes(dtype);
    fill(x + offset, n);
    memset(bytes, 0x55, sizeof bytes);
    vector_guard(x, sizeof x, x + offset, (size_t)n * sizeof *x);
    vector_guard(bytes, sizeof bytes, bytes + offset, (size_t)(n * size));
    k->narrow(bytes + offset, dtype, x + offset, n);
    vector_unguard(x, sizeof x);
    vector_unguard(bytes, sizeof bytes);
    for (int64_t i = 0; i < n; i++) {
        char alone[4];
        lv_cpu_level before = lv_cpu();
        lv_cpu_limit(LV_CPU_PORTABLE);
        lv_vector()->narrow(alone, dtype, &x[offset + i], 1);
        lv_cpu_limit(before);
        assert_memory_equal(alone, bytes + offset + i * size, (size_t)size);
    }
    for (int64_t i = 0; i < GUARD; i++) {
        assert_int_equal(bytes[offset + n * size + i], 0x55);
    }
}

static void check_widen(const lv_vector_kernels *k, lv_dtype dtype, int64_t n, int offset)
{
    static _Alignas(64) lv_real x[MAX_N + GUARD], wide[MAX_N + 2 * GUARD];
    static char bytes[4 * MAX_N + 2 * GUARD];
    const int64_t size = stored_bytes(dtype);
    fill(x, n);
    k->narrow(bytes + offset, dtype, x, n);
    memset(wide, 0xff, sizeof wide);
    vector_guard(wide, sizeof wide, wide + offset, (size_t)n * sizeof *wide);
    vector_guard(bytes, sizeof bytes, bytes + offset, (size_t)(n * size));
    k->widen(wide + offset, bytes + offset, dtype, n);
    vector_unguard(wide, sizeof wide);
    vector_unguard(bytes, sizeof bytes);
    for (int64_t i = 0; i < n; i++) {
        lv_real alone;
        lv_cpu_level before = lv_cpu();
        lv_cpu_limit(LV_CPU_PORTABLE);
        lv_vector()->widen(&alone, bytes + offset + i * size, dtype, 1);
        lv_cpu_limit(before);
        assert_memory_equal(&alone, &wide[offset + i], sizeof alone);
    }
    for (int64_t i = 0; i < GUARD; i++) {
        assert_true(isnan(wide[offset + n + i]));
    }
}

static void check_all(const lv_vector_kernels *k, vector_check *check)
{
    for (lv_dtype dtype = LV_F32; dtype <= LV_F16; dtype++) {
        for (int i = 0; i < VECTOR_N_SIZES * VECTOR_N_OFFSETS; i++) {
            check(k, dtype, vector_sizes[i / VECTOR_N_OFFSETS],
                  vector_offsets[i % VECTOR_N_OFFSETS]);
        }
    }
}

void vector_case_narrow(const lv_vector_kernels *k)
{
    check_all(k, check_narrow);
}

void vector_case_widen(const lv_vector_kernels *k)
{
    check_all(k, check_widen);
}
