/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/exp.h"
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void LV_LEVEL(add_to)(void *y, lv_dtype y_dtype, bool add, const void *x, lv_dtype x_dtype,
                      int64_t n)
{
    lv_real xb[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = least(CHUNK, n - at);
        chunk_add((lv_grad){y, y_dtype, add}, at, chunk_read(xb, x, x_dtype, at, m), m);
    }
}

void LV_LEVEL(silu_mul)(void *y, const void *g, const void *u, lv_dtype dtype, int64_t n)
{
    lv_real gb[CHUNK], ub[CHUNK], yb[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = least(CHUNK, n - at);
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
        int64_t m = least(CHUNK, n - at);
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
