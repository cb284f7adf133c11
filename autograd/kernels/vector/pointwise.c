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

/* The activations: each is compiled for every dtype, writing and adding, all constants in its
 * loop, so that elements are widened, computed and narrowed in registers while the next ones come
 * from memory. Outputs never overlap inputs, which the compiler has to know to make one vector loop
 * of it. */
#define INLINE static inline __attribute__((always_inline))

INLINE void put(void *y, lv_dtype dtype, bool add, int64_t i, lv_real value)
{
    value = add ? element_read(y, dtype, i) + value : value;
    element_write_computed(y, dtype, i, value);
}

INLINE void gate(void *restrict y, const void *restrict g, const void *restrict u, lv_dtype dtype,
                 int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        lv_real x = element_read(g, dtype, i);
        put(y, dtype, false, i, lv_times_sigmoid(x, x) * element_read(u, dtype, i));
    }
}

void LV_LEVEL(silu_mul)(void *y, const void *g, const void *u, lv_dtype dtype, int64_t n)
{
    if (dtype == LV_F32) {
        gate(y, g, u, LV_F32, n);
    } else {
        gate(y, g, u, LV_BF16, n);
    }
}

/* to_g and to_u: which of the gradients; their places may be NULL where it is false. */
INLINE void gate_backward(void *restrict dg, void *restrict du, bool to_g, bool to_u, bool add,
                          const void *restrict dy, const void *restrict g, const void *restrict u,
                          lv_dtype dtype, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        lv_real x = element_read(g, dtype, i), d = element_read(dy, dtype, i);
        lv_real s = lv_sigmoid(x), xs = x * s;
        if (to_g) {
            put(dg, dtype, add, i, d * element_read(u, dtype, i) * (s + xs * (1 - s)));
        }
        if (to_u) {
            put(du, dtype, add, i, d * xs);
        }
    }
}

INLINE void gate_backward_of(void *dg, void *du, bool to_g, bool to_u, bool add, const void *dy,
                             const void *g, const void *u, lv_dtype dtype, int64_t n)
{
    if (dtype == LV_F32 && add) {
        gate_backward(dg, du, to_g, to_u, true, dy, g, u, LV_F32, n);
    } else if (dtype == LV_F32) {
        gate_backward(dg, du, to_g, to_u, false, dy, g, u, LV_F32, n);
    } else if (add) {
        gate_backward(dg, du, to_g, to_u, true, dy, g, u, LV_BF16, n);
    } else {
        gate_backward(dg, du, to_g, to_u, false, dy, g, u, LV_BF16, n);
    }
}

void LV_LEVEL(silu_mul_backward)(lv_grad dg, lv_grad du, const void *dy, const void *g,
                                 const void *u, lv_dtype dtype, int64_t n)
{
    if (dg.data && du.data && dg.add == du.add) {
        gate_backward_of(dg.data, du.data, true, true, dg.add, dy, g, u, dtype, n);
        return;
    }
    if (dg.data) {
        gate_backward_of(dg.data, NULL, true, false, dg.add, dy, g, u, dtype, n);
    }
    if (du.data) {
        gate_backward_of(NULL, du.data, false, true, du.add, dy, g, u, dtype, n);
    }
}

/* An op of one input: its value, or its slope, at x. */
typedef lv_real function(lv_real x);

INLINE void forward_loop(void *restrict y, const void *restrict x, lv_dtype dtype, int64_t n,
                         function *value)
{
    for (int64_t i = 0; i < n; i++) {
        put(y, dtype, false, i, value(element_read(x, dtype, i)));
    }
}

INLINE void forward(void *y, const void *x, lv_dtype dtype, int64_t n, function *value)
{
    if (dtype == LV_F32) {
        forward_loop(y, x, LV_F32, n, value);
    } else {
        forward_loop(y, x, LV_BF16, n, value);
    }
}

INLINE void backward_loop(void *restrict dx, bool add, const void *restrict dy,
                          const void *restrict x, lv_dtype dtype, int64_t n, function *slope)
{
    for (int64_t i = 0; i < n; i++) {
        lv_real d = element_read(dy, dtype, i) * slope(element_read(x, dtype, i));
        put(dx, dtype, add, i, d);
    }
}

INLINE void backward(lv_grad dx, const void *dy, const void *x, lv_dtype dtype, int64_t n,
                     function *slope)
{
    if (dtype == LV_F32 && dx.add) {
        backward_loop(dx.data, true, dy, x, LV_F32, n, slope);
    } else if (dtype == LV_F32) {
        backward_loop(dx.data, false, dy, x, LV_F32, n, slope);
    } else if (dx.add) {
        backward_loop(dx.data, true, dy, x, LV_BF16, n, slope);
    } else {
        backward_loop(dx.data, false, dy, x, LV_BF16, n, slope);
    }
}

static inline lv_real gelu(lv_real x)
{
    return x * lv_normal(x);
}

void LV_LEVEL(gelu)(void *y, const void *x, lv_dtype dtype, int64_t n)
{
    forward(y, x, dtype, n, gelu);
}

void LV_LEVEL(gelu_backward)(lv_grad dx, const void *dy, const void *x, lv_dtype dtype, int64_t n)
{
    backward(dx, dy, x, dtype, n, lv_gelu_slope);
}

#define QUICK_SLOPE ((lv_real)1.702)

static inline lv_real quick_gelu(lv_real x)
{
    return lv_times_sigmoid(x, QUICK_SLOPE * x);
}

static inline lv_real quick_gelu_slope(lv_real x)
{
    lv_real s = lv_sigmoid(QUICK_SLOPE * x);
    return s * (1 + QUICK_SLOPE * x * (1 - s));
}

void LV_LEVEL(quick_gelu)(void *y, const void *x, lv_dtype dtype, int64_t n)
{
    forward(y, x, dtype, n, quick_gelu);
}

void LV_LEVEL(quick_gelu_backward)(lv_grad dx, const void *dy, const void *x, lv_dtype dtype,
                                   int64_t n)
{
    backward(dx, dy, x, dtype, n, quick_gelu_slope);
}
