/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/cpu.h"
#include "autograd/kernels/bf16.h"
#include "autograd/kernels/convert.h"
#include "autograd/rng.h"
#include "tests/kernels/vector_check.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if __has_include(<sanitizer/asan_interface.h>) /* its macros do nothing without the sanitizer */
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(from, bytes) ((void)(from), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(from, bytes) ((void)(from), (void)(bytes))
#endif

const int64_t vector_sizes[VECTOR_N_SIZES] = {0,  1,  2,   15,  16,  17,  31,  33,
                                              64, 65, 100, 511, 512, 513, 1100};
const int vector_offsets[VECTOR_N_OFFSETS] = {0, 1, 3};

enum { GUARD_BYTES = 256, MAX_ARRAYS = 64, POISON = 0xff }; /* 0xff... is NaN in f32 and bf16 */

static vector_array arrays[MAX_ARRAYS];
static int n_arrays;

void vector_guard(const void *block, size_t block_bytes, const void *data, size_t bytes)
{
    ASAN_POISON_MEMORY_REGION(block, block_bytes);
    ASAN_UNPOISON_MEMORY_REGION(data, bytes);
}

void vector_unguard(const void *block, size_t block_bytes)
{
    ASAN_UNPOISON_MEMORY_REGION(block, block_bytes);
}

static size_t bytes_with_guards(size_t bytes, size_t offset_bytes)
{
    return (2 * GUARD_BYTES + offset_bytes + bytes + 63) / 64 * 64;
}

static vector_array new_at(lv_dtype dtype, int64_t n, size_t offset_bytes)
{
    size_t bytes = (size_t)n * lv_dtype_bytes(dtype);
    assert_true(n_arrays < MAX_ARRAYS);
    size_t all = bytes_with_guards(bytes, offset_bytes);
    vector_array x = {.dtype = dtype, .n = n, .block = aligned_alloc(64, all)};
    assert_non_null(x.block);
    memset(x.block, POISON, all);
    x.data = x.block + GUARD_BYTES + offset_bytes;
    vector_guard(x.block, all, x.data, bytes);
    arrays[n_arrays++] = x;
    return x;
}

const lv_vector_kernels *vector_portable(void)
{
    lv_cpu_level before = lv_cpu();
    lv_cpu_limit(LV_CPU_PORTABLE);
    const lv_vector_kernels *kernels = lv_vector();
    lv_cpu_limit(before);
    return kernels;
}

vector_array vector_new(lv_dtype dtype, int64_t n, int offset, uint64_t seed)
{
    vector_array x = new_at(dtype, n, (size_t)offset * lv_dtype_bytes(dtype));
    for (int64_t i = 0; i < n; i++) {
        vector_set(&x, i, lv_random_normal(seed, 0, (uint64_t)i));
    }
    return x;
}

vector_array vector_rows(lv_dtype dtype, int64_t rows, int64_t n, int64_t ld, int offset,
                         uint64_t seed)
{
    vector_array x = vector_new(dtype, rows > 0 ? (rows - 1) * ld + n : 0, offset, seed);
    for (int64_t i = 0; i < x.n; i++) {
        if (i % ld >= n) {
            vector_set(&x, i, NAN);
        }
    }
    return x;
}

void vector_gaps(const vector_array *x, int64_t n, int64_t ld)
{
    for (int64_t i = 0; i < x->n; i++) {
        assert_true(i % ld < n || isnan(vector_get(x, i)));
    }
}

static vector_array copy_at(const vector_array *x, size_t offset_bytes)
{
    vector_array y = new_at(x->dtype, x->n, offset_bytes);
    memcpy(y.data, x->data, (size_t)x->n * lv_dtype_bytes(x->dtype));
    return y;
}

vector_array vector_copy(const vector_array *x, int offset)
{
    return copy_at(x, (size_t)offset * lv_dtype_bytes(x->dtype));
}

vector_array vector_byte(const vector_array *x)
{
    return copy_at(x, 1);
}

static bool poisoned(const char *from, const char *to)
{
    while (from < to && (unsigned char)*from == POISON) {
        from++;
    }
    return from == to;
}

void vector_free_all(void)
{
    bool whole = true;
    while (n_arrays > 0) {
        vector_array *x = &arrays[--n_arrays];
        size_t bytes = (size_t)x->n * lv_dtype_bytes(x->dtype);
        const char *data = x->data, *end = data + bytes;
        size_t offset_bytes = (size_t)(data - x->block) - GUARD_BYTES;
        vector_unguard(x->block, bytes_with_guards(bytes, offset_bytes));
        whole = whole && poisoned(x->block, data) && poisoned(end, end + GUARD_BYTES - 64);
        free(x->block);
    }
    assert_true(whole);
}

double vector_get(const vector_array *x, int64_t i)
{
    if (x->dtype == LV_F32) {
        return (double)((const lv_real *)x->data)[i];
    }
    uint16_t h;
    memcpy(&h, (const char *)x->data + i * (int64_t)sizeof h, sizeof h);
    return (double)lv_bf16_to_float(h);
}

void vector_set(const vector_array *x, int64_t i, double value)
{
    lv_real real = (lv_real)value;
    if (x->dtype == LV_F32) {
        ((lv_real *)x->data)[i] = real;
    } else {
        lv_convert_from_real((char *)x->data + 2 * i, LV_BF16, &real, 1);
    }
}

void vector_fill(const vector_array *x, double value)
{
    for (int64_t i = 0; i < x->n; i++) {
        vector_set(x, i, value);
    }
}

void vector_extremes(const vector_array *x)
{
    static const double extremes[] = {NAN, INFINITY, -INFINITY, 0, -0.0, 100, -100, 1e-30};
    for (int i = 0; i < (int)(sizeof extremes / sizeof *extremes); i++) {
        if (x->n > 20) {
            vector_set(x, (7 * i + 3) * 17 % x->n, extremes[i]);
        }
    }
}

int64_t vector_b_at(int64_t k, int64_t n, int64_t K)
{
    int64_t panel = n / LV_BF16_COLUMNS, column = n % LV_BF16_COLUMNS;
    return ((panel * lv_bf16_depth(K) + k / 2 * 2) * LV_BF16_COLUMNS) + 2 * column + k % 2;
}

lv_grad vector_grad(const vector_array *x, bool add)
{
    return (lv_grad){x->data, x->dtype, add};
}

void vector_near(const vector_array *x, int64_t i, double expected, double largest, double error)
{
    double found = vector_get(x, i);
    if (isnan(expected) || isinf(expected)) {
        bool same = isnan(expected) ? isnan(found) : found == expected;
        if (!same) {
            fail_msg("element %d of %d is %g, not %g", (int)i, (int)x->n, found, expected);
        }
        return;
    }
    double tolerance = error * FLT_EPSILON * fmax(fabs(largest), fabs(expected)) + FLT_MIN;
    if (x->dtype == LV_BF16) {
        tolerance += 0x1p-8 * fabs(expected); /* half a unit in the last place, at most */
    }
    if (!(fabs(found - expected) <= tolerance)) {
        fail_msg("element %d of %d is %.9g, not %.9g +- %.2g", (int)i, (int)x->n, found, expected,
                 tolerance);
    }
}

void vector_each(const lv_vector_kernels *k, vector_check *check)
{
    for (int size = 0; size < VECTOR_N_SIZES; size++) {
        for (int offset = 0; offset < VECTOR_N_OFFSETS; offset++) {
            for (lv_dtype dtype = LV_F32; dtype <= LV_BF16; dtype++) {
                check(k, dtype, vector_sizes[size], vector_offsets[offset]);
                vector_free_all();
            }
        }
    }
}

/* At each level that this CPU has and that has kernels of its own. */
static void at_all_levels(void (*vector_case)(const lv_vector_kernels *k))
{
    const lv_vector_kernels *before = NULL;
    for (lv_cpu_level level = LV_CPU_PORTABLE; level <= lv_cpu_found(); level++) {
        lv_cpu_limit(level);
        const lv_vector_kernels *kernels = lv_vector();
        if (kernels != before) {
            vector_case(kernels);
        }
        before = kernels;
    }
    lv_cpu_limit(lv_cpu_found());
}

#define LV_VECTOR(result, name, parameters)                                                        \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        at_all_levels(vector_case_##name);                                                         \
    }
#include "autograd/kernels/vector.def"
#undef LV_VECTOR

int main(void)
{
#define LV_VECTOR(result, name, parameters)                                                        \
    {#name "_agrees_with_double_at_every_cpu_level", test_##name, NULL, NULL, NULL},
    const struct CMUnitTest tests[] = {
#include "autograd/kernels/vector.def"
    };
#undef LV_VECTOR
    return cmocka_run_group_tests_name("vector kernels", tests, NULL, NULL);
}
