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

/* The activations. Elements are widened, computed and narrowed in registers while the next ones
 * come from memory; bf16 goes in pairs, an odd element at the end. Loops are compiled for writing
 * and for adding; outputs never overlap inputs, which the compiler has to know to make one vector
 * loop of each. */
#define INLINE static inline __attribute__((always_inline))

INLINE void put(void *y, lv_dtype dtype, bool add, int64_t i, lv_real value)
{
    element_write(y, dtype, i, add ? element_read(y, dtype, i) + value : value);
}

INLINE void put_pair(void *y, bool add, int64_t i, element_pair values)
{
    if (add) {
        element_pair before = pair_read(y, i);
        values.low += before.low;
        values.high += before.high;
    }
    pair_write(y, i, values);
}

INLINE lv_real gate(lv_real g, lv_real u)
{
    return lv_times_sigmoid(g, g) * u;
}

INLINE void gate_one(void *y, const void *g, const void *u, lv_dtype dtype, int64_t i)
{
    element_write(y, dtype, i, gate(element_read(g, dtype, i), element_read(u, dtype, i)));
}

INLINE void gate_all(void *restrict y, const void *restrict g, const void *restrict u,
                     lv_dtype dtype, int64_t n)
{
    if (dtype == LV_F32) {
        for (int64_t i = 0; i < n; i++) {
            gate_one(y, g, u, LV_F32, i);
        }
        return;
    }
    for (int64_t i = 0; i + 2 <= n; i += 2) {
        element_pair gi = pair_read(g, i), ui = pair_read(u, i);
        pair_write(y, i, (element_pair){gate(gi.low, ui.low), gate(gi.high, ui.high)});
    }
    if (n % 2) {
        gate_one(y, g, u, LV_BF16, n - 1);
    }
}

/* Two rows that are read: without a request they come slower than the arithmetic takes. */
void LV_LEVEL(silu_mul)(void *y, const void *g, const void *u, lv_dtype dtype, int64_t n)
{
    for (int64_t at = 0; at < n; at += AHEAD) {
        element_prefetch(g, dtype, at + AHEAD, n);
        element_prefetch(u, dtype, at + AHEAD, n);
        gate_all(lv_element(y, dtype, at), lv_element_const(g, dtype, at),
                 lv_element_const(u, dtype, at), dtype, n - at < AHEAD ? n - at : AHEAD);
    }
}

/* The gradients of g and of u. */
typedef struct {
    lv_real g, u;
} gate_gradient;

INLINE gate_gradient gate_slope(lv_real dy, lv_real g, lv_real u)
{
    lv_real s = lv_sigmoid(g), gs = g * s;
    return (gate_gradient){dy * u * (s + gs * (1 - s)), dy * gs};
}

/* to_g and to_u: which gradients there are. */
INLINE void gate_backward_one(void *dg, void *du, bool to_g, bool to_u, bool add, const void *dy,
                              const void *g, const void *u, lv_dtype dtype, int64_t i)
{
    gate_gradient d = gate_slope(element_read(dy, dtype, i), element_read(g, dtype, i),
                                 element_read(u, dtype, i));
    if (to_g) {
        put(dg, dtype, add, i, d.g);
    }
    if (to_u) {
        put(du, dtype, add, i, d.u);
    }
}

INLINE void gate_backward_all(void *restrict dg, void *restrict du, bool to_g, bool to_u, bool add,
                              const void *restrict dy, const void *restrict g,
                              const void *restrict u, lv_dtype dtype, int64_t n)
{
    if (dtype == LV_F32) {
        for (int64_t i = 0; i < n; i++) {
            gate_backward_one(dg, du, to_g, to_u, add, dy, g, u, LV_F32, i);
        }
        return;
    }
    for (int64_t i = 0; i + 2 <= n; i += 2) {
        element_pair di = pair_read(dy, i), gi = pair_read(g, i), ui = pair_read(u, i);
        gate_gradient low = gate_slope(di.low, gi.low, ui.low);
        gate_gradient high = gate_slope(di.high, gi.high, ui.high);
        if (to_g) {
            put_pair(dg, add, i, (element_pair){low.g, high.g});
        }
        if (to_u) {
            put_pair(du, add, i, (element_pair){low.u, high.u});
        }
    }
    if (n % 2) {
        gate_backward_one(dg, du, to_g, to_u, add, dy, g, u, LV_BF16, n - 1);
    }
}

INLINE void gate_backward(void *dg, void *du, bool to_g, bool to_u, bool add, const void *dy,
                          const void *g, const void *u, lv_dtype dtype, int64_t n)
{
    if (add) {
        gate_backward_all(dg, du, to_g, to_u, true, dy, g, u, dtype, n);
    } else {
        gate_backward_all(dg, du, to_g, to_u, false, dy, g, u, dtype, n);
    }
}

void LV_LEVEL(silu_mul_backward)(lv_grad dg, lv_grad du, const void *dy, const void *g,
                                 const void *u, lv_dtype dtype, int64_t n)
{
    if (dg.data && du.data && dg.add == du.add) {
        gate_backward(dg.data, du.data, true, true, dg.add, dy, g, u, dtype, n);
        return;
    }
    if (dg.data) {
        gate_backward(dg.data, NULL, true, false, dg.add, dy, g, u, dtype, n);
    }
    if (du.data) {
        gate_backward(NULL, du.data, false, true, du.add, dy, g, u, dtype, n);
    }
}

/* An op of one input: its value, or its slope, at x. */
typedef lv_real function(lv_real x);

INLINE void forward(void *restrict y, const void *restrict x, lv_dtype dtype, int64_t n,
                    function *value)
{
    if (dtype == LV_F32) {
        for (int64_t i = 0; i < n; i++) {
            element_write(y, LV_F32, i, value(element_read(x, LV_F32, i)));
        }
        return;
    }
    for (int64_t i = 0; i + 2 <= n; i += 2) {
        element_pair xi = pair_read(x, i);
        pair_write(y, i, (element_pair){value(xi.low), value(xi.high)});
    }
    if (n % 2) {
        element_write(y, LV_BF16, n - 1, value(element_read(x, LV_BF16, n - 1)));
    }
}

INLINE void backward_all(void *restrict dx, bool add, const void *restrict dy,
                         const void *restrict x, lv_dtype dtype, int64_t n, function *slope)
{
    if (dtype == LV_F32) {
        for (int64_t i = 0; i < n; i++) {
            lv_real d = element_read(dy, LV_F32, i) * slope(element_read(x, LV_F32, i));
            put(dx, LV_F32, add, i, d);
        }
        return;
    }
    for (int64_t i = 0; i + 2 <= n; i += 2) {
        element_pair di = pair_read(dy, i), xi = pair_read(x, i);
        element_pair d = {di.low * slope(xi.low), di.high * slope(xi.high)};
        put_pair(dx, add, i, d);
    }
    if (n % 2) {
        lv_real d = element_read(dy, LV_BF16, n - 1) * slope(element_read(x, LV_BF16, n - 1));
        put(dx, LV_BF16, add, n - 1, d);
    }
}

INLINE void backward(lv_grad dx, const void *dy, const void *x, lv_dtype dtype, int64_t n,
                     function *slope)
{
    if (dx.add) {
        backward_all(dx.data, true, dy, x, dtype, n, slope);
    } else {
        backward_all(dx.data, false, dy, x, dtype, n, slope);
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
