/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

/* Rows that are read side by side, each from end to end: dst passes by once for all of them, and
 * a sum of many rows loses fewer digits. */
enum { ROWS = 8 };

static lv_real sum_of(const lv_real x[ROWS])
{
    return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
}

static void add_floats(lv_real *restrict dst, const lv_real *restrict x, int64_t ld, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        lv_real values[ROWS];
        for (int r = 0; r < ROWS; r++) {
            values[r] = x[r * ld + i];
        }
        dst[i] += sum_of(values);
    }
}

static void add_halves(lv_real *restrict dst, const uint16_t *restrict x, int64_t ld, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        lv_real values[ROWS];
        for (int r = 0; r < ROWS; r++) {
            values[r] = chunk_widen(x[r * ld + i]);
        }
        dst[i] += sum_of(values);
    }
}

static void add_row(lv_real *restrict dst, const void *x, lv_dtype dtype, int64_t n)
{
    lv_real xb[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        const lv_real *row = chunk_read(xb, x, dtype, at, m);
        for (int64_t i = 0; i < m; i++) {
            dst[at + i] += row[i];
        }
    }
}

void LV_LEVEL(columns)(lv_real *dst, bool add, const void *x, lv_dtype dtype, int64_t T, int64_t ld,
                       int64_t n)
{
    if (!add) {
        memset(dst, 0, (size_t)n * sizeof *dst);
    }
    int64_t t = 0;
    for (; t + ROWS <= T; t += ROWS) {
        const void *rows = lv_element_const(x, dtype, t * ld);
        if (dtype == LV_F32) {
            add_floats(dst, rows, ld, n);
        } else {
            add_halves(dst, rows, ld, n);
        }
    }
    for (; t < T; t++) {
        add_row(dst, lv_element_const(x, dtype, t * ld), dtype, n);
    }
}
