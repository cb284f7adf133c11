/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of f32 sums added to a gradient, as they lie or transposed, and dot products of rows.
 */
#include "autograd/kernels/vector/block.h"
#include "autograd/kernels/vector/level.h"

#include <string.h>

void LV_LEVEL(add_rows)(lv_grad y, int64_t y_ld, const lv_real *x, int64_t x_ld, int64_t T,
                        int64_t N)
{
    for (int64_t t = 0; t < T; t++) {
        for (int64_t n = 0; n < N; n += LANES) {
            add_block(y, t * y_ld + n, x + t * x_ld + n, lv_min_i64(LANES, N - n));
        }
    }
}

static lv_real dot(const lv_real *a, const lv_real *b, int64_t n)
{
    lv_real lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (int l = 0; l < LANES; l++) {
            lanes[l] += a[i + l] * b[i + l];
        }
    }
    for (int l = 0; i < n; i++, l++) {
        lanes[l] += a[i] * b[i];
    }
    return lanes_sum(lanes);
}

void LV_LEVEL(row_dots)(lv_real *dots, const void *a, const void *b, lv_dtype dtype, int64_t ld,
                        int64_t T, int64_t N)
{
    lv_real ab[CHUNK], bb[CHUNK];
    for (int64_t t = 0; t < T; t++) {
        dots[t] = 0;
        for (int64_t at = 0; at < N; at += CHUNK) {
            int64_t n = lv_min_i64(CHUNK, N - at);
            dots[t] += dot(chunk_read(ab, a, dtype, t * ld + at, n),
                           chunk_read(bb, b, dtype, t * ld + at, n), n);
        }
    }
}

/* Four perfect shuffles of 256 elements are the transpose of 16 x 16: each turns the eight bits of
 * an element's place left by one. */
static void transpose_block(lv_real x[LANES * LANES])
{
    enum { HALF = LANES * LANES / 2 };
    lv_real y[LANES * LANES];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < HALF; i++) {
            y[2 * i] = x[i];
            y[2 * i + 1] = x[HALF + i];
        }
        for (int i = 0; i < HALF; i++) {
            x[2 * i] = y[i];
            x[2 * i + 1] = y[HALF + i];
        }
    }
}

void LV_LEVEL(add_transposed)(lv_grad y, int64_t y_ld, const lv_real *x, int64_t x_ld, int64_t T,
                              int64_t N)
{
    lv_real block[LANES * LANES] = {0};
    for (int64_t t = 0; t < T; t += LANES) {
        for (int64_t n = 0; n < N; n += LANES) {
            int64_t rows = lv_min_i64(LANES, T - t), columns = lv_min_i64(LANES, N - n);
            for (int64_t i = 0; i < columns; i++) {
                memcpy(block + i * LANES, x + (n + i) * x_ld + t, (size_t)rows * sizeof *x);
            }
            transpose_block(block);
            for (int64_t i = 0; i < rows; i++) {
                add_block(y, (t + i) * y_ld + n, block + i * LANES, columns);
            }
        }
    }
}
