/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/exp.h"
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

void LV_LEVEL(add_to)(void *y, lv_dtype y_dtype, bool add, const void *x, lv_dtype x_dtype,
                      int64_t n)
{
    lv_real xb[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        chunk_add((lv_grad){y, y_dtype, add}, at, chunk_read(xb, x, x_dtype, at, m), m);
    }
}

void LV_LEVEL(sum_rows)(lv_grad y, const void *x, lv_dtype dtype, const int32_t *rows,
                        int64_t n_rows, int64_t N)
{
    lv_real xb[CHUNK], sum[CHUNK];
    for (int64_t at = 0; at < N; at += CHUNK) {
        int64_t m = chunk_count(N, at);
        memset(sum, 0, sizeof sum);
        for (int64_t r = 0; r < n_rows; r++) {
            const lv_real *row = chunk_read(xb, x, dtype, rows[r] * N + at, m);
            for (int64_t i = 0; i < m; i++) {
                sum[i] += row[i];
            }
        }
        chunk_add(y, at, sum, m);
    }
}

void LV_LEVEL(silu_mul)(void *y, const void *g, const void *u, lv_dtype dtype, int64_t n)
{
    lv_real gb[CHUNK], ub[CHUNK], yb[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        const lv_real *pg = chunk_read(gb, g, dtype, at, m);
        const lv_real *pu = chunk_read(ub, u, dtype, at, m);
        lv_real *py = chunk_target(yb, y, dtype, at);
        for (int64_t i = 0; i < m; i++) {
            py[i] = pg[i] * lv_sigmoid(pg[i]) * pu[i];
        }
        chunk_write(y, dtype, at, py, m);
    }
}

void LV_LEVEL(silu_mul_backward)(lv_grad dg, lv_grad du, const void *dy, const void *g,
                                 const void *u, lv_dtype dtype, int64_t n)
{
    lv_real gb[CHUNK], ub[CHUNK], yb[CHUNK], dgb[CHUNK], dub[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        const lv_real *pg = chunk_read(gb, g, dtype, at, m);
        const lv_real *pu = chunk_read(ub, u, dtype, at, m);
        const lv_real *py = chunk_read(yb, dy, dtype, at, m);
        for (int64_t i = 0; i < m; i++) {
            lv_real s = lv_sigmoid(pg[i]);
            dgb[i] = py[i] * pu[i] * (s * (1 + pg[i] * (1 - s)));
            dub[i] = py[i] * (pg[i] * s);
        }
        if (dg.data) {
            chunk_add(dg, at, dgb, m);
        }
        if (du.data) {
            chunk_add(du, at, dub, m);
        }
    }
}

#define SQRT_HALF ((lv_real)0.70710678118654752440)
#define INV_SQRT_2PI ((lv_real)0.39894228040143267794)

static inline lv_real normal_distribution(lv_real x)
{
    return (lv_real)0.5 * (1 + lv_erf(x * SQRT_HALF));
}

void LV_LEVEL(gelu)(void *y, const void *x, lv_dtype dtype, int64_t n)
{
    lv_real xb[CHUNK], yb[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        const lv_real *px = chunk_read(xb, x, dtype, at, m);
        lv_real *py = chunk_target(yb, y, dtype, at);
        for (int64_t i = 0; i < m; i++) {
            py[i] = px[i] * normal_distribution(px[i]);
        }
        chunk_write(y, dtype, at, py, m);
    }
}

void LV_LEVEL(gelu_backward)(lv_grad dx, const void *dy, const void *x, lv_dtype dtype, int64_t n)
{
    lv_real xb[CHUNK], yb[CHUNK], values[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        const lv_real *px = chunk_read(xb, x, dtype, at, m);
        const lv_real *pdy = chunk_read(yb, dy, dtype, at, m);
        for (int64_t i = 0; i < m; i++) {
            lv_real density = INV_SQRT_2PI * lv_exp((lv_real)-0.5 * px[i] * px[i]);
            values[i] = pdy[i] * (normal_distribution(px[i]) + px[i] * density);
        }
        chunk_add(dx, at, values, m);
    }
}

#define QUICK_SLOPE ((lv_real)1.702)

void LV_LEVEL(quick_gelu)(void *y, const void *x, lv_dtype dtype, int64_t n)
{
    lv_real xb[CHUNK], yb[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        const lv_real *px = chunk_read(xb, x, dtype, at, m);
        lv_real *py = chunk_target(yb, y, dtype, at);
        for (int64_t i = 0; i < m; i++) {
            py[i] = px[i] * lv_sigmoid(QUICK_SLOPE * px[i]);
        }
        chunk_write(y, dtype, at, py, m);
    }
}

void LV_LEVEL(quick_gelu_backward)(lv_grad dx, const void *dy, const void *x, lv_dtype dtype,
                                   int64_t n)
{
    lv_real xb[CHUNK], yb[CHUNK], values[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        const lv_real *px = chunk_read(xb, x, dtype, at, m);
        const lv_real *pdy = chunk_read(yb, dy, dtype, at, m);
        for (int64_t i = 0; i < m; i++) {
            lv_real s = lv_sigmoid(QUICK_SLOPE * px[i]);
            values[i] = pdy[i] * (s * (1 + QUICK_SLOPE * px[i] * (1 - s)));
        }
        chunk_add(dx, at, values, m);
    }
}
