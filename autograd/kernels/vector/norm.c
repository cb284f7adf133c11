/* SPDX-License-Identifier: Apache-2.0
 *
 * A row passes from memory once: what is read of it a second time is in the L1 or L2 cache. */
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/lanes.h"
#include "autograd/kernels/vector/level.h"

#include <tgmath.h>

static lv_real row_mean(const void *x, lv_dtype dtype, int64_t H)
{
    lanes sum = {{0}, {0}};
    lv_real xb[CHUNK];
    for (int64_t at = 0; at < H; at += CHUNK) {
        int64_t n = chunk_count(H, at);
        lanes_add(&sum, chunk_read(xb, x, dtype, at, n), n);
    }
    return lanes_sum(&sum) / (lv_real)H;
}

static lv_real row_variance(const void *x, lv_dtype dtype, lv_real mean, int64_t H)
{
    lanes sum = {{0}, {0}};
    lv_real xb[CHUNK];
    for (int64_t at = 0; at < H; at += CHUNK) {
        int64_t n = chunk_count(H, at);
        lanes_add_squares(&sum, chunk_read(xb, x, dtype, at, n), mean, n);
    }
    return lanes_sum(&sum) / (lv_real)H;
}

static void write_row(void *y, const void *x, const lv_norm_rows *rows, lv_real mean, lv_real r)
{
    lv_real xb[CHUNK], yb[CHUNK];
    for (int64_t at = 0; at < rows->H; at += CHUNK) {
        int64_t n = chunk_count(rows->H, at);
        const lv_real *px = chunk_read(xb, x, rows->dtype, at, n);
        const lv_real *w = rows->w + at;
        lv_real *py = chunk_target(yb, y, rows->dtype, at);
        if (rows->b) {
            const lv_real *b = rows->b + at;
            for (int64_t i = 0; i < n; i++) {
                py[i] = (px[i] - mean) * r * w[i] + b[i];
            }
        } else {
            for (int64_t i = 0; i < n; i++) {
                py[i] = (px[i] - mean) * r * w[i];
            }
        }
        chunk_write(y, rows->dtype, at, py, n);
    }
}

void LV_LEVEL(norm)(void *y, const lv_norm_rows *rows, lv_real eps, int64_t begin, int64_t end)
{
    for (int64_t t = begin; t < end; t++) {
        const void *x = lv_element_const(rows->x, rows->dtype, t * rows->H);
        lv_real mean = rows->mean ? row_mean(x, rows->dtype, rows->H) : 0;
        lv_real r = 1 / sqrt(row_variance(x, rows->dtype, mean, rows->H) + eps);
        write_row(lv_element(y, rows->dtype, t * rows->H), x, rows, mean, r);
        rows->r[t] = r;
        if (rows->mean) {
            rows->mean[t] = mean;
        }
    }
}

/* The sums over a row of g = dy w and of g (x - mean). */
typedef struct {
    lv_real g, gx;
} row_sums;

static row_sums sums_of_row(const void *dy, const void *x, const lv_norm_rows *rows, lv_real mean)
{
    lanes g = {{0}, {0}}, gx = {{0}, {0}};
    lv_real dyb[CHUNK], xb[CHUNK], gb[CHUNK], cb[CHUNK];
    for (int64_t at = 0; at < rows->H; at += CHUNK) {
        int64_t n = chunk_count(rows->H, at);
        const lv_real *pdy = chunk_read(dyb, dy, rows->dtype, at, n);
        const lv_real *px = chunk_read(xb, x, rows->dtype, at, n);
        const lv_real *w = rows->w + at;
        for (int64_t i = 0; i < n; i++) {
            gb[i] = pdy[i] * w[i];
        }
        if (rows->mean) {
            lanes_add(&g, gb, n);
            for (int64_t i = 0; i < n; i++) {
                cb[i] = px[i] - mean;
            }
            px = cb;
        }
        lanes_add_product(&gx, gb, px, n);
    }
    return (row_sums){lanes_sum(&g), lanes_sum(&gx)};
}

static void backward_dx(lv_grad dx, const lv_real *dy, const lv_real *x, const lv_real *w,
                        lv_real mean, lv_real r, row_sums means, int64_t at, int64_t n)
{
    lv_real values[CHUNK];
    lv_real factor = r * r * means.gx;
    for (int64_t i = 0; i < n; i++) {
        values[i] = r * (dy[i] * w[i] - means.g - (x[i] - mean) * factor);
    }
    chunk_add(dx, at, values, n);
}

static void backward_row(lv_grad dx, lv_real *dw, lv_real *db, const void *dy, const void *x,
                         const lv_norm_rows *rows, lv_real mean, lv_real r)
{
    row_sums means = {0, 0};
    if (dx.data) {
        means = sums_of_row(dy, x, rows, mean);
        means.g = rows->mean ? means.g / (lv_real)rows->H : 0;
        means.gx /= (lv_real)rows->H;
    }
    lv_real dyb[CHUNK], xb[CHUNK];
    for (int64_t at = 0; at < rows->H; at += CHUNK) {
        int64_t n = chunk_count(rows->H, at);
        const lv_real *pdy = chunk_read(dyb, dy, rows->dtype, at, n);
        const lv_real *px = chunk_read(xb, x, rows->dtype, at, n);
        if (dx.data) {
            backward_dx(dx, pdy, px, rows->w + at, mean, r, means, at, n);
        }
        for (int64_t i = 0; dw && i < n; i++) {
            dw[at + i] += pdy[i] * ((px[i] - mean) * r);
        }
        for (int64_t i = 0; db && i < n; i++) {
            db[at + i] += pdy[i];
        }
    }
}

void LV_LEVEL(norm_backward)(lv_grad dx, lv_real *dw, lv_real *db, const void *dy,
                             const lv_norm_rows *rows, int64_t begin, int64_t end)
{
    for (int64_t t = begin; t < end; t++) {
        int64_t at = t * rows->H;
        backward_row(lv_grad_at(dx, at), dw, db, lv_element_const(dy, rows->dtype, at),
                     lv_element_const(rows->x, rows->dtype, at), rows,
                     rows->mean ? rows->mean[t] : 0, rows->r[t]);
    }
}
