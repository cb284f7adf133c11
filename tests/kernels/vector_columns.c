/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/convert.h"
#include "autograd/rng.h"
#include "tests/kernels/vector_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_T = 21, LD = 700, GUARD = 40 };

typedef struct {
    _Alignas(64) lv_real x[MAX_T * LD + 2 * GUARD];
    uint16_t half[MAX_T * LD + 2 * GUARD];
    _Alignas(64) lv_real dst[LD + 2 * GUARD];
} columns_case;

static void check_columns(columns_case *c, const lv_vector_kernels *k, lv_dtype dtype, bool add,
                          int64_t T, int64_t n, int offset)
{
    const void *x =
        dtype == LV_F32 ? (const void *)(c->x + offset) : (const void *)(c->half + offset);
    lv_real *dst = c->dst + offset;
    for (int64_t i = 0; i < LD + GUARD; i++) {
        dst[i] = add && i < n ? (lv_real)i : (lv_real)NAN; /* what is not added to is not read */
    }
    vector_guard(c->dst, sizeof c->dst, dst, (size_t)n * sizeof *dst);
    k->columns(dst, add, x, dtype, T, LD, n);
    vector_unguard(c->dst, sizeof c->dst);
    for (int64_t i = 0; i < n; i++) {
        double sum = add ? (double)i : 0, size = sum;
        for (int64_t t = 0; t < T; t++) {
            lv_real value = c->x[offset + t * LD + i];
            sum += (double)value;
            size += fabs((double)value);
        }
        assert_true(isnan(sum)   ? isnan(dst[i])
                    : isinf(sum) ? (double)dst[i] == sum
                                 : fabs((double)dst[i] - sum) <= 1e-6 * size);
    }
    for (int64_t i = n; i < n + GUARD; i++) {
        assert_true(isnan(dst[i]));
    }
}

/* The same values in both dtypes; columns with NaN and infinities among them. */
static void fill(columns_case *c)
{
    for (int64_t i = 0; i < MAX_T * LD + 2 * GUARD; i++) {
        lv_real value = (lv_real)lv_random_normal(6, 0, (uint64_t)i);
        value = i == LD + 3 ? NAN : i == LD + 10 || i == 6 * LD + 12 ? INFINITY : value;
        value = i == 4 * LD + 12 ? -INFINITY : value;
        lv_convert_from_real(&c->half[i], LV_BF16, &value, 1);
        lv_convert_to_real(&c->x[i], &c->half[i], LV_BF16, 1);
    }
}

/* The same bits; of NaN, any. */
static void assert_same(const lv_real *a, const lv_real *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        assert_true(isnan(a[i]) ? isnan(b[i]) : memcmp(&a[i], &b[i], sizeof *a) == 0);
    }
}

void vector_case_columns(const lv_vector_kernels *k)
{
    static const int64_t columns[] = {0, 1, 5, 16, 31, 64, 511, 513, 690};
    static const int64_t rows[] = {0, 1, 7, 8, 9, 16, MAX_T};
    enum { N_COLUMNS = sizeof columns / sizeof *columns, N_ROWS = sizeof rows / sizeof *rows };
    static columns_case c;
    static lv_real found[LD + 2 * GUARD];
    fill(&c);
    for (int i = 0; i < 4 * N_COLUMNS * N_ROWS; i++) {
        lv_dtype dtype = i & 1 ? LV_BF16 : LV_F32;
        bool add = i & 2;
        int64_t n = columns[i / 4 / N_ROWS], T = rows[i / 4 % N_ROWS];
        int offset = vector_offsets[i % VECTOR_N_OFFSETS];
        check_columns(&c, k, dtype, add, T, n, offset);
        memcpy(found, c.dst, sizeof found);
        check_columns(&c, vector_portable(), dtype, add, T, n, offset);
        assert_same(c.dst + offset, found + offset, n);
    }
}
