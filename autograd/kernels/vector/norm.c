/* SPDX-License-Identifier: Apache-2.0
 *
 * A row passes from memory once: what is read of it a second time is in the L1 or L2 cache. The
 * functions with a dtype are compiled into their callers, where it is a constant: little
 * arithmetic, so elements are widened and narrowed in registers and not in chunks. */
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/lanes.h"
#include "autograd/kernels/vector/level.h"

#include <tgmath.h>

#define INLINE static inline __attribute__((always_inline))

INLINE lv_real row_mean(const void *restrict x, lv_dtype dtype, int64_t H)
{
    lv_real sum;
    LANES_SUM(sum, h, H, element_read(x, dtype, h));
    return sum / (lv_real)H;
}

INLINE lv_real row_variance(const void *restrict x, lv_dtype dtype, lv_real mean, int64_t H)
{
    lv_real sum;
    LANES_SUM(sum, h, H, (element_read(x, dtype, h) - mean) * (element_read(x, dtype, h) - mean));
    return sum / (lv_real)H;
}

INLINE void forward_row(void *restrict y, const void *restrict x, lv_dtype dtype,
                        const lv_real *restrict w, const lv_real *restrict b, lv_real mean,
                        lv_real r, int64_t H)
{
    if (b) {
        for (int64_t h = 0; h < H; h++) {
            element_write(y, dtype, h, (element_read(x, dtype, h) - mean) * r * w[h] + b[h]);
        }
    } else {
        for (int64_t h = 0; h < H; h++) {
            element_write(y, dtype, h, (element_read(x, dtype, h) - mean) * r * w[h]);
        }
    }
}

INLINE void forward(void *y, const lv_norm_rows *rows, lv_dtype dtype, lv_real eps, int64_t begin,
                    int64_t end)
{
    int64_t H = rows->H;
    for (int64_t t = begin; t < end; t++) {
        const void *x = lv_element_const(rows->x, dtype, t * H);
        lv_real mean = rows->mean ? row_mean(x, dtype, H) : 0;
        lv_real r = 1 / sqrt(row_variance(x, dtype, mean, H) + eps);
        forward_row(lv_element(y, dtype, t * H), x, dtype, rows->w, rows->b, mean, r, H);
        rows->r[t] = r;
        if (rows->mean) {
            rows->mean[t] = mean;
        }
    }
}

void LV_LEVEL(norm)(void *y, const lv_norm_rows *rows, lv_real eps, int64_t begin, int64_t end)
{
    if (rows->dtype == LV_F32) {
        forward(y, rows, LV_F32, eps, begin, end);
    } else {
        forward(y, rows, LV_BF16, eps, begin, end);
    }
}

/* dx (+)= r (g - mean_g - n mean_gn), with factor = r mean_gn */
INLINE void write_dx(void *restrict dx, bool add, const void *restrict dy, const void *restrict x,
                     lv_dtype dtype, const lv_real *restrict w, lv_real mean, lv_real r,
                     lv_real mean_g, lv_real factor, int64_t H)
{
    for (int64_t h = 0; h < H; h++) {
        lv_real g = element_read(dy, dtype, h) * w[h];
        lv_real d = r * (g - mean_g - (element_read(x, dtype, h) - mean) * factor);
        element_write(dx, dtype, h, add ? element_read(dx, dtype, h) + d : d);
    }
}

INLINE void backward_dx(lv_grad dx, const void *restrict dy, const void *restrict x, lv_dtype dtype,
                        const lv_norm_rows *rows, lv_real mean, lv_real r)
{
    int64_t H = rows->H;
    const lv_real *restrict w = rows->w;
    lv_real sum_g = 0, sum_gx; /* of g = dy w and of g (x - mean) */
    if (rows->mean) {
        LANES_SUM(sum_g, h, H, element_read(dy, dtype, h) * w[h]);
    }
    LANES_SUM(sum_gx, h, H, element_read(dy, dtype, h) * w[h] * (element_read(x, dtype, h) - mean));
    lv_real mean_g = sum_g / (lv_real)H;
    lv_real factor = r * r * sum_gx / (lv_real)H;
    if (dx.add) {
        write_dx(dx.data, true, dy, x, dtype, w, mean, r, mean_g, factor, H);
    } else {
        write_dx(dx.data, false, dy, x, dtype, w, mean, r, mean_g, factor, H);
    }
}

INLINE void add_dw(lv_real *restrict dw, const void *restrict dy, const void *restrict x,
                   lv_dtype dtype, lv_real mean, lv_real r, int64_t H)
{
    for (int64_t h = 0; h < H; h++) {
        dw[h] += element_read(dy, dtype, h) * ((element_read(x, dtype, h) - mean) * r);
    }
}

INLINE void add_db(lv_real *restrict db, const void *restrict dy, lv_dtype dtype, int64_t H)
{
    for (int64_t h = 0; h < H; h++) {
        db[h] += element_read(dy, dtype, h);
    }
}

INLINE void backward(lv_grad dx, lv_real *dw, lv_real *db, const void *dy, const lv_norm_rows *rows,
                     lv_dtype dtype, int64_t begin, int64_t end)
{
    int64_t H = rows->H;
    for (int64_t t = begin; t < end; t++) {
        const void *dyt = lv_element_const(dy, dtype, t * H);
        const void *x = lv_element_const(rows->x, dtype, t * H);
        lv_real mean = rows->mean ? rows->mean[t] : 0;
        if (dx.data) {
            backward_dx(lv_grad_at(dx, t * H), dyt, x, dtype, rows, mean, rows->r[t]);
        }
        if (dw) {
            add_dw(dw, dyt, x, dtype, mean, rows->r[t], H);
        }
        if (db) {
            add_db(db, dyt, dtype, H);
        }
    }
}

void LV_LEVEL(norm_backward)(lv_grad dx, lv_real *dw, lv_real *db, const void *dy,
                             const lv_norm_rows *rows, int64_t begin, int64_t end)
{
    if (rows->dtype == LV_F32) {
        backward(dx, dw, db, dy, rows, LV_F32, begin, end);
    } else {
        backward(dx, dw, db, dy, rows, LV_BF16, begin, end);
    }
}
