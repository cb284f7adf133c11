/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/vector_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- norms: rows of H, the second and third of four are asked for ---- */

enum { T = 4, BEGIN = 1, END = 3 };
static const double EPS = 1e-5;

/* A norm's operands; mean and r are outputs of the forward kernel. */
typedef struct {
    vector_array x, w, b, mean, r;
    lv_norm_rows rows;
} norm_case;

static norm_case new_norm(lv_dtype dtype, int64_t H, int offset, bool centred)
{
    norm_case c = {
        .x = vector_new(dtype, T * H, offset, 20),
        .w = vector_new(LV_F32, H, 1, 21),
        .b = vector_new(LV_F32, H, offset, 22),
        .mean = vector_new(LV_F32, T, 0, 23),
        .r = vector_new(LV_F32, T, 1, 24),
    };
    for (int64_t i = 0; i < T * H; i++) { /* far from zero: the variance has to be of x - mean */
        vector_set(&c.x, i, vector_get(&c.x, i) + 8);
    }
    c.rows = (lv_norm_rows){.x = c.x.data,
                            .dtype = dtype,
                            .T = T,
                            .H = H,
                            .w = c.w.data,
                            .b = centred ? c.b.data : NULL,
                            .mean = centred ? c.mean.data : NULL,
                            .r = c.r.data};
    return c;
}

typedef struct {
    double mean, r;
} statistics;

static statistics statistics_of(const norm_case *c, int64_t t)
{
    int64_t H = c->rows.H;
    double mean = 0, variance = 0;
    for (int64_t h = 0; h < H && c->rows.mean; h++) {
        mean += vector_get(&c->x, t * H + h) / (double)H;
    }
    for (int64_t h = 0; h < H; h++) {
        double d = vector_get(&c->x, t * H + h) - mean;
        variance += d * d / (double)H;
    }
    return (statistics){mean, 1 / sqrt(variance + EPS)};
}

static void check_norm_of(const lv_vector_kernels *k, norm_case *c, int offset)
{
    int64_t H = c->rows.H;
    vector_array y = vector_new(c->rows.dtype, T * H, offset, 25);
    vector_array before = vector_copy(&y, 0);
    k->norm(y.data, &c->rows, (lv_real)EPS, BEGIN, END);
    for (int64_t t = 0; t < T; t++) {
        statistics s = statistics_of(c, t);
        for (int64_t h = 0; h < H; h++) {
            double n = (vector_get(&c->x, t * H + h) - s.mean) * s.r;
            double b = c->rows.b ? vector_get(&c->b, h) : 0;
            bool asked = t >= BEGIN && t < END;
            vector_near(&y, t * H + h,
                        asked ? n * vector_get(&c->w, h) + b : vector_get(&before, t * H + h),
                        20 * s.r, 20);
        }
    }
}

static void check_norm(const lv_vector_kernels *k, lv_dtype dtype, int64_t H, int offset)
{
    for (int centred = 0; centred < 2 && H > 2; centred++) {
        norm_case c = new_norm(dtype, H, offset, centred);
        check_norm_of(k, &c, offset);
        vector_free_all();
        static const double extremes[] = {NAN, INFINITY, -INFINITY};
        for (int i = 0; i < 3; i++) { /* a row with one of them, and one without */
            c = new_norm(dtype, H, offset, centred);
            vector_set(&c.x, BEGIN * H + H / 2, extremes[i]);
            check_norm_of(k, &c, offset);
            vector_free_all();
        }
    }
}

void vector_case_norm(const lv_vector_kernels *k)
{
    vector_each(k, check_norm);
}

static void check_row_backward(const norm_case *c, const vector_array *dy, const vector_array *dx,
                               const vector_array *before, int64_t t, bool add)
{
    int64_t H = c->rows.H;
    statistics s = statistics_of(c, t);
    double mean_g = 0, mean_gn = 0, size = 0;
    for (int64_t h = 0; h < H; h++) {
        double g = vector_get(dy, t * H + h) * vector_get(&c->w, h);
        mean_g += c->rows.mean ? g / (double)H : 0;
        mean_gn += g * (vector_get(&c->x, t * H + h) - s.mean) * s.r / (double)H;
        size = fmax(size, fabs(g));
    }
    for (int64_t h = 0; h < H; h++) {
        double g = vector_get(dy, t * H + h) * vector_get(&c->w, h);
        double n = (vector_get(&c->x, t * H + h) - s.mean) * s.r;
        double old = add ? vector_get(before, t * H + h) : 0;
        double expected = s.r * (g - mean_g - n * mean_gn) + old;
        vector_near(dx, t * H + h, expected, s.r * size * (2 + fabs(n)) + fabs(old), 50);
    }
}

/* sums: of dw (with n) or db, that have begun. */
static void check_sums(const norm_case *c, const vector_array *dy, const vector_array *sums,
                       const vector_array *before, bool with_n)
{
    int64_t H = c->rows.H;
    statistics of[T];
    for (int64_t t = BEGIN; t < END; t++) {
        of[t] = statistics_of(c, t);
    }
    for (int64_t h = 0; h < H; h++) {
        double sum = vector_get(before, h), size = fabs(sum);
        for (int64_t t = BEGIN; t < END; t++) {
            double n = with_n ? (vector_get(&c->x, t * H + h) - of[t].mean) * of[t].r : 1;
            sum += vector_get(dy, t * H + h) * n;
            size += fabs(vector_get(dy, t * H + h)) * (with_n ? 8 * of[t].r + 1 : 1);
        }
        vector_near(sums, h, sum, size, 20);
    }
}

/* wanted: bits of dx, dw, db; extreme: one of dy. */
static void check_norm_backward_of(const lv_vector_kernels *k, norm_case *c, int offset, int wanted,
                                   bool add, double extreme)
{
    int64_t H = c->rows.H;
    lv_dtype dtype = c->rows.dtype;
    for (int64_t t = 0; t < T; t++) { /* as the forward pass left them */
        vector_set(&c->mean, t, statistics_of(c, t).mean);
        vector_set(&c->r, t, statistics_of(c, t).r);
    }
    vector_array dy = vector_new(dtype, T * H, 1, 26), dx = vector_new(dtype, T * H, offset, 27);
    vector_set(&dy, BEGIN * H + H / 2, extreme);
    vector_array dw = vector_new(LV_F32, H, offset, 28), db = vector_new(LV_F32, H, 0, 29);
    vector_array old = vector_copy(&dx, 0), old_w = vector_copy(&dw, 0),
                 old_b = vector_copy(&db, 0);
    k->norm_backward(wanted & 1 ? vector_grad(&dx, add) : (lv_grad){.data = NULL},
                     wanted & 2 ? dw.data : NULL, wanted & 4 ? db.data : NULL, dy.data, &c->rows,
                     BEGIN, END);
    for (int64_t t = 0; t < T; t++) {
        if (t >= BEGIN && t < END && wanted & 1) {
            check_row_backward(c, &dy, &dx, &old, t, add);
        } else {
            for (int64_t h = 0; h < H; h++) {
                assert_true(vector_get(&dx, t * H + h) == vector_get(&old, t * H + h));
            }
        }
    }
    if (wanted & 2) {
        check_sums(c, &dy, &dw, &old_w, true);
    }
    if (wanted & 4) {
        check_sums(c, &dy, &db, &old_b, false);
    }
}

static void check_norm_backward(const lv_vector_kernels *k, lv_dtype dtype, int64_t H, int offset)
{
    for (int centred = 0; centred < 2 && H > 2; centred++) {
        for (int wanted = 1; wanted < 8; wanted++) {
            static const double extremes[] = {1, NAN, INFINITY, -INFINITY};
            norm_case c = new_norm(dtype, H, offset, centred);
            check_norm_backward_of(k, &c, offset, wanted, wanted % 3 == 1, extremes[wanted % 4]);
            vector_free_all();
            c = new_norm(dtype, H, offset, centred);
            vector_set(&c.x, BEGIN * H + H / 2, NAN);
            check_norm_backward_of(k, &c, offset, wanted, wanted % 2, 1);
            vector_free_all();
        }
    }
}

void vector_case_norm_backward(const lv_vector_kernels *k)
{
    vector_each(k, check_norm_backward);
}

/* ---- rotate ---- */

static void check_rotate(const lv_vector_kernels *k, lv_dtype dtype, int64_t half, int offset)
{
    for (int n_heads = 0; n_heads < 3; n_heads++) {
        vector_array x = vector_new(dtype, n_heads * 2 * half, offset, 30);
        vector_extremes(&x);
        vector_array before = vector_copy(&x, 0);
        vector_array c = vector_new(LV_F32, half, offset, 31), s = vector_new(LV_F32, half, 1, 32);
        double sign = n_heads == 1 ? -1 : 1;
        k->rotate(x.data, dtype, c.data, s.data, (lv_real)sign, n_heads, half);
        for (int64_t i = 0; i < n_heads * half; i++) {
            int64_t at = i / half * 2 * half + i % half;
            double u = vector_get(&before, at), v = vector_get(&before, at + half);
            double cosine = vector_get(&c, i % half), sine = sign * vector_get(&s, i % half);
            double size = (fabs(u) + fabs(v)) * (fabs(cosine) + fabs(sine));
            vector_near(&x, at, u * cosine - v * sine, size, 2);
            vector_near(&x, at + half, v * cosine + u * sine, size, 2);
        }
        vector_free_all();
    }
}

void vector_case_rotate(const lv_vector_kernels *k)
{
    vector_each(k, check_rotate);
}
