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

/* The arithmetic of each op over one chunk: outputs never overlap inputs, which the compiler has to
 * know to make one vector loop of it. */

static void silu_mul_chunk(lv_real *restrict y, const lv_real *restrict g,
                           const lv_real *restrict u, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = g[i] / (1 + lv_exp(-g[i])) * u[i];
    }
}

void LV_LEVEL(silu_mul)(void *y, const void *g, const void *u, lv_dtype dtype, int64_t n)
{
    lv_real gb[CHUNK], ub[CHUNK], yb[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        lv_real *py = chunk_target(yb, y, dtype, at);
        silu_mul_chunk(py, chunk_read(gb, g, dtype, at, m), chunk_read(ub, u, dtype, at, m), m);
        chunk_write(y, dtype, at, py, m);
    }
}

static void silu_mul_backward_chunk(lv_real *restrict dg, lv_real *restrict du,
                                    const lv_real *restrict dy, const lv_real *restrict g,
                                    const lv_real *restrict u, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        lv_real s = lv_sigmoid(g[i]);
        lv_real gs = g[i] * s;
        dg[i] = dy[i] * u[i] * (s + gs * (1 - s));
        du[i] = dy[i] * gs;
    }
}

void LV_LEVEL(silu_mul_backward)(lv_grad dg, lv_grad du, const void *dy, const void *g,
                                 const void *u, lv_dtype dtype, int64_t n)
{
    lv_real gb[CHUNK], ub[CHUNK], yb[CHUNK], dgb[CHUNK], dub[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        silu_mul_backward_chunk(dgb, dub, chunk_read(yb, dy, dtype, at, m),
                                chunk_read(gb, g, dtype, at, m), chunk_read(ub, u, dtype, at, m),
                                m);
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

static void gelu_chunk(lv_real *restrict y, const lv_real *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = x[i] * normal_distribution(x[i]);
    }
}

static void gelu_backward_chunk(lv_real *restrict dx, const lv_real *restrict dy,
                                const lv_real *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        lv_real density = INV_SQRT_2PI * lv_exp((lv_real)-0.5 * x[i] * x[i]);
        dx[i] = dy[i] * (normal_distribution(x[i]) + x[i] * density);
    }
}

#define QUICK_SLOPE ((lv_real)1.702)

static void quick_gelu_chunk(lv_real *restrict y, const lv_real *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = x[i] / (1 + lv_exp(-QUICK_SLOPE * x[i]));
    }
}

static void quick_gelu_backward_chunk(lv_real *restrict dx, const lv_real *restrict dy,
                                      const lv_real *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        lv_real s = lv_sigmoid(QUICK_SLOPE * x[i]);
        dx[i] = dy[i] * (s * (1 + QUICK_SLOPE * x[i] * (1 - s)));
    }
}

typedef void forward_chunk(lv_real *restrict y, const lv_real *restrict x, int64_t n);
typedef void backward_chunk(lv_real *restrict dx, const lv_real *restrict dy,
                            const lv_real *restrict x, int64_t n);

/* An op of one input. */
static void forward(void *y, const void *x, lv_dtype dtype, int64_t n, forward_chunk *chunk)
{
    lv_real xb[CHUNK], yb[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        lv_real *py = chunk_target(yb, y, dtype, at);
        chunk(py, chunk_read(xb, x, dtype, at, m), m);
        chunk_write(y, dtype, at, py, m);
    }
}

static void backward(lv_grad dx, const void *dy, const void *x, lv_dtype dtype, int64_t n,
                     backward_chunk *chunk)
{
    lv_real xb[CHUNK], yb[CHUNK], values[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        chunk(values, chunk_read(yb, dy, dtype, at, m), chunk_read(xb, x, dtype, at, m), m);
        chunk_add(dx, at, values, m);
    }
}

void LV_LEVEL(gelu)(void *y, const void *x, lv_dtype dtype, int64_t n)
{
    forward(y, x, dtype, n, gelu_chunk);
}

void LV_LEVEL(gelu_backward)(lv_grad dx, const void *dy, const void *x, lv_dtype dtype, int64_t n)
{
    backward(dx, dy, x, dtype, n, gelu_backward_chunk);
}

void LV_LEVEL(quick_gelu)(void *y, const void *x, lv_dtype dtype, int64_t n)
{
    forward(y, x, dtype, n, quick_gelu_chunk);
}

void LV_LEVEL(quick_gelu_backward)(lv_grad dx, const void *dy, const void *x, lv_dtype dtype,
                                   int64_t n)
{
    backward(dx, dy, x, dtype, n, quick_gelu_backward_chunk);
}
