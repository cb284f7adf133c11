/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/bf16.h"
#include "tests/kernels/vector_check.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Exponents of some tens lose some digits in what is subtracted: units in the last place of e^x. */
enum { EXP_ERROR = 60 };
enum { PANEL = LV_BF16_COLUMNS };

static int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static void unchanged(const vector_array *x, const vector_array *before, int64_t i)
{
    double now = vector_get(x, i), then = vector_get(before, i);
    assert_true(now == then || (isnan(now) && isnan(then)));
}

/* ---- tiles of scores ---- */

/* Row i sees the keys [from + i, to + i), as far as the tile has them. */
typedef struct {
    int64_t n_rows, n_keys, from, to;
} tile_shape;

enum { ALL = -10000, MOST_ROWS = 64, FIRST_KEY = 37 };
static const tile_shape tiles[] = {{1, 1, -9, 1},      {2, 15, -9, 15},    {3, 16, ALL, 0},
                                   {5, 17, -9, 3},     {16, 33, -99, -4},  {17, 64, -99, 0},
                                   {18, 31, -99, -40}, {33, 100, -99, 90}, {64, 64, -99, 1},
                                   {64, 200, -99, 77}, {64, 33, ALL, 0},   {17, 100, 16, 200},
                                   {18, 100, 3, 9},    {33, 64, 20, 20},   {5, 200, 190, 300},
                                   {64, 200, -20, 35}, {16, 31, 25, 27},   {9, 48, 15, 33}};
enum { N_TILES = sizeof tiles / sizeof *tiles };

/* Row i is of kind i % N_KINDS: one that has seen nothing yet, one that sees NaN, ones that see
 * -infinity alone, with and without earlier keys, one that sees infinity. */
enum { FIRST = 0, WITH_NAN = 2, NOTHING = 3, STILL_NOTHING = 4, WITH_INFINITY = 5, N_KINDS = 6 };

typedef struct {
    tile_shape of;
    int64_t ld;
    double scale;
    vector_array s, dp, max, sum, lse, delta;
    lv_range visible[MOST_ROWS];
} tile;

static bool sees(const tile *t, int64_t i, int64_t j)
{
    return t->of.from == ALL || (j >= t->of.from + i && j < t->of.to + i);
}

static const lv_range *visible_of(const tile *t)
{
    return t->of.from == ALL ? NULL : t->visible;
}

/* What is no score is NaN: nobody may take it for one. */
static tile new_tile(tile_shape of, int offset)
{
    int64_t ld = lv_bf16_depth(of.n_keys) + 32;
    tile t = {of,
              ld,
              0.7,
              vector_new(LV_F32, of.n_rows * ld, offset, 1),
              vector_new(LV_F32, of.n_rows * ld, offset, 2),
              vector_new(LV_F32, of.n_rows, offset, 3),
              vector_new(LV_F32, of.n_rows, 0, 4),
              vector_new(LV_F32, of.n_rows, 1, 5),
              vector_new(LV_F32, of.n_rows, 0, 6),
              {{0, 0}}};
    for (int64_t i = 0; i < of.n_rows; i++) {
        t.visible[i] = (lv_range){FIRST_KEY + of.from + i, FIRST_KEY + of.to + i};
        const int kind = (int)(i % N_KINDS);
        bool first = kind == FIRST || kind == STILL_NOTHING;
        bool nothing = kind == NOTHING || kind == STILL_NOTHING;
        vector_set(&t.max, i, first ? -INFINITY : vector_get(&t.max, i));
        vector_set(&t.sum, i, first ? 0 : 1 + fabs(vector_get(&t.sum, i)));
        for (int64_t j = 0; j < ld; j++) {
            double s = vector_get(&t.s, i * ld + j) * 5;
            s = nothing                               ? -INFINITY
                : kind == WITH_NAN && j % 7 == 2      ? NAN
                : kind == WITH_INFINITY && j % 7 == 3 ? INFINITY
                                                      : s;
            vector_set(&t.s, i * ld + j, j < of.n_keys ? s : NAN);
        }
    }
    return t;
}

static double score(const tile *t, int64_t i, int64_t j)
{
    return (double)(float)t->scale * vector_get(&t->s, i * t->ld + j);
}

typedef struct {
    double max, keep, sum;
} softmax_row;

/* Where there is nothing but -infinity, 0 is subtracted. */
static double shift_of(double max)
{
    return max == -INFINITY ? 0 : max;
}

static softmax_row row_of(const tile *t, int64_t i)
{
    double before = vector_get(&t->max, i);
    softmax_row r = {before, 0, 0};
    for (int64_t j = 0; j < t->of.n_keys; j++) {
        r.max = sees(t, i, j) ? fmax(r.max, score(t, i, j)) : r.max;
    }
    r.keep = isinf(before) ? 0 : exp(before - r.max);
    r.sum = vector_get(&t->sum, i) * r.keep;
    for (int64_t j = 0; j < t->of.n_keys; j++) {
        r.sum += sees(t, i, j) ? exp(score(t, i, j) - shift_of(r.max)) : 0;
    }
    return r;
}

static double probability(const tile *t, const softmax_row *r, int64_t i, int64_t j)
{
    return j < t->of.n_keys && sees(t, i, j) ? exp(score(t, i, j) - shift_of(r->max)) : 0;
}

/* before: the tile; found: max and sum after it; o (n_rows, D), o_ld apart. */
static void check_state(const tile *before, const vector_array *max, const vector_array *sum,
                        const vector_array *o, const vector_array *o_before, int64_t o_ld,
                        int64_t D)
{
    for (int64_t i = 0; i < before->of.n_rows; i++) {
        softmax_row r = row_of(before, i);
        vector_near(max, i, r.max, 0, 2);
        vector_near(sum, i, r.sum, 0, EXP_ERROR);
        for (int64_t d = 0; d < o_ld; d++) {
            double old = vector_get(o_before, i * o_ld + d);
            vector_near(o, i * o_ld + d, d < D ? old * r.keep : old, 0, EXP_ERROR);
        }
    }
}

static void check_softmax_tile(const lv_vector_kernels *k, tile_shape of, int offset, int64_t D,
                               bool packed)
{
    tile t = new_tile(of, offset), before = t;
    before.s = vector_copy(&t.s, 0);
    before.max = vector_copy(&t.max, 0);
    before.sum = vector_copy(&t.sum, 0);
    int64_t o_ld = D + 3, depth = lv_bf16_depth(of.n_keys);
    vector_array o = vector_new(LV_F32, of.n_rows * o_ld, offset, 7);
    vector_array o_before = vector_copy(&o, 0);
    vector_array p = vector_new(LV_BF16, of.n_rows * t.ld, 0, 8);
    vector_array p_before = vector_copy(&p, 0);
    lv_real scale = (lv_real)t.scale;
    if (packed) {
        k->softmax_tile_packed(p.data, o.data, t.max.data, t.sum.data, t.s.data, t.ld, o_ld, scale,
                               of.n_rows, of.n_keys, depth, visible_of(&t), FIRST_KEY, D);
    } else {
        k->softmax_tile(t.s.data, o.data, t.max.data, t.sum.data, t.ld, o_ld, scale, of.n_rows,
                        of.n_keys, visible_of(&t), FIRST_KEY, D);
    }
    check_state(&before, &t.max, &t.sum, &o, &o_before, o_ld, D);
    for (int64_t i = 0; i < of.n_rows; i++) {
        softmax_row r = row_of(&before, i);
        for (int64_t j = 0; j < t.ld; j++) {
            int64_t at = i * t.ld + j;
            if (j < (packed ? depth : of.n_keys)) {
                vector_near(packed ? &p : &t.s, at, probability(&before, &r, i, j), 0, EXP_ERROR);
            } else if (packed) {
                unchanged(&p, &p_before, at);
            } else {
                unchanged(&t.s, &before.s, at);
            }
        }
    }
    vector_free_all();
}

static void each_tile(const lv_vector_kernels *k, bool packed)
{
    const int64_t sizes[] = {1, 16, 33};
    for (int i = 0; i < N_TILES; i++) {
        for (int at = 0; at < VECTOR_N_OFFSETS; at++) {
            check_softmax_tile(k, tiles[i], vector_offsets[at], sizes[(i + at) % 3], packed);
        }
    }
}

void vector_case_softmax_tile(const lv_vector_kernels *k)
{
    each_tile(k, false);
}

void vector_case_softmax_tile_packed(const lv_vector_kernels *k)
{
    each_tile(k, true);
}

typedef struct {
    double p, ds, size; /* size: of what ds was made of */
} gradient;

static gradient gradient_of(const tile *t, int64_t i, int64_t j)
{
    if (i >= t->of.n_rows || j >= t->of.n_keys || !sees(t, i, j)) {
        return (gradient){0, 0, 0};
    }
    double lse = vector_get(&t->lse, i);
    double p = exp(score(t, i, j) - shift_of(lse));
    double dp = vector_get(&t->dp, i * t->ld + j), delta = vector_get(&t->delta, i);
    double scale = (double)(float)t->scale;
    return (gradient){p, p * (dp - delta) * scale, p * (fabs(dp) + fabs(delta)) * scale};
}

static tile new_backward_tile(tile_shape of, int offset)
{
    tile t = new_tile(of, offset);
    for (int64_t i = 0; i < of.n_rows; i++) {
        double lse = vector_get(&t.lse, i) + 12;
        vector_set(&t.lse, i,
                   i % N_KINDS == STILL_NOTHING   ? -INFINITY
                   : i % N_KINDS == WITH_INFINITY ? NAN
                                                  : lse);
    }
    return t;
}

static void check_softmax_tile_backward(const lv_vector_kernels *k, tile_shape of, int offset,
                                        bool with_dp)
{
    tile t = new_backward_tile(of, offset), before = t;
    before.s = vector_copy(&t.s, 0);
    before.dp = vector_copy(&t.dp, 0);
    k->softmax_tile_backward(t.s.data, with_dp ? t.dp.data : NULL, t.ld, t.lse.data, t.delta.data,
                             (lv_real)t.scale, of.n_rows, of.n_keys, visible_of(&t), FIRST_KEY);
    for (int64_t at = 0; at < of.n_rows * t.ld; at++) {
        int64_t i = at / t.ld, j = at % t.ld;
        gradient g = gradient_of(&before, i, j);
        if (j < of.n_keys) {
            vector_near(&t.s, at, g.p, 0, EXP_ERROR);
        } else {
            unchanged(&t.s, &before.s, at);
        }
        if (j < of.n_keys && with_dp) {
            vector_near(&t.dp, at, g.ds, g.size, EXP_ERROR);
        } else {
            unchanged(&t.dp, &before.dp, at);
        }
    }
    vector_free_all();
}

void vector_case_softmax_tile_backward(const lv_vector_kernels *k)
{
    for (int i = 0; i < N_TILES; i++) {
        for (int at = 0; at < VECTOR_N_OFFSETS; at++) {
            check_softmax_tile_backward(k, tiles[i], vector_offsets[at], (i + at) % 4 != 3);
        }
    }
}

static void check_packed_gradients(const tile *t, const vector_array *p, const vector_array *ds_b,
                                   const vector_array *ds_a, int64_t a_depth)
{
    int64_t depth = lv_bf16_depth(t->of.n_rows);
    for (int64_t i = 0; p && i < depth; i++) {
        for (int64_t j = 0; j < round_up(t->of.n_keys, PANEL); j++) {
            gradient g = gradient_of(t, i, j);
            vector_near(p, vector_b_at(i, j, depth), g.p, 0, EXP_ERROR);
            vector_near(ds_b, vector_b_at(i, j, depth), g.ds, g.size, EXP_ERROR);
        }
    }
    for (int64_t i = 0; ds_a && i < t->of.n_rows; i++) {
        for (int64_t j = 0; j < a_depth; j++) {
            gradient g = gradient_of(t, i, j);
            vector_near(ds_a, i * t->ld + j, g.ds, g.size, EXP_ERROR);
        }
    }
}

static void check_softmax_tile_backward_packed(const lv_vector_kernels *k, tile_shape of,
                                               int offset, int wanted)
{
    tile t = new_backward_tile(of, offset);
    int64_t n = round_up(of.n_keys, PANEL) * lv_bf16_depth(of.n_rows);
    int64_t a_depth = lv_bf16_depth(of.n_keys) + (wanted == 3 ? 32 : 0); /* of a longer B */
    vector_array p = vector_new(LV_BF16, n, 0, 8), ds_b = vector_new(LV_BF16, n, 0, 9);
    vector_array ds_a = vector_new(LV_BF16, of.n_rows * t.ld, 0, 10);
    vector_array before = vector_copy(&ds_a, 0);
    bool b = wanted & 1, a = wanted & 2;
    k->softmax_tile_backward_packed(b ? p.data : NULL, b ? ds_b.data : NULL, a ? ds_a.data : NULL,
                                    t.s.data, t.dp.data, t.ld, t.lse.data, t.delta.data,
                                    (lv_real)t.scale, of.n_rows, of.n_keys, a_depth, visible_of(&t),
                                    FIRST_KEY);
    check_packed_gradients(&t, b ? &p : NULL, &ds_b, a ? &ds_a : NULL, a_depth);
    for (int64_t at = 0; at < of.n_rows * t.ld; at++) {
        if (!a || at % t.ld >= a_depth) {
            unchanged(&ds_a, &before, at);
        }
    }
    vector_free_all();
}

void vector_case_softmax_tile_backward_packed(const lv_vector_kernels *k)
{
    for (int i = 0; i < N_TILES; i++) {
        for (int wanted = 1; wanted <= 3; wanted++) {
            check_softmax_tile_backward_packed(k, tiles[i], vector_offsets[i % VECTOR_N_OFFSETS],
                                               wanted);
        }
    }
}

/* tanh is within some units of its own last place, not of the score's before the cap. */
static void check_softcap_tile(const lv_vector_kernels *k, tile_shape of, int offset, double cap,
                               bool with_dp)
{
    tile t = new_tile(of, offset), before = t;
    before.s = vector_copy(&t.s, 0);
    before.dp = vector_copy(&t.dp, 0);
    k->softcap_tile(t.s.data, with_dp ? t.dp.data : NULL, t.ld, with_dp ? t.delta.data : NULL,
                    (lv_real)t.scale, (lv_real)cap, of.n_rows, of.n_keys);
    for (int64_t at = 0; at < of.n_rows * t.ld; at++) {
        int64_t i = at / t.ld, j = at % t.ld;
        double y = tanh(score(&before, i, j) / cap), scale = (double)(float)t.scale;
        double dp = vector_get(&before.dp, at), delta = vector_get(&t.delta, i);
        if (j >= of.n_keys) {
            unchanged(&t.s, &before.s, at);
            unchanged(&t.dp, &before.dp, at);
            continue;
        }
        vector_near(&t.s, at, cap * y, 0, 8);
        if (with_dp) {
            vector_near(&t.dp, at, (dp - delta) * scale * (1 - y * y),
                        (fabs(dp) + fabs(delta)) * scale, 16);
        } else {
            unchanged(&t.dp, &before.dp, at);
        }
    }
    vector_free_all();
}

void vector_case_softcap_tile(const lv_vector_kernels *k)
{
    const double caps[] = {0.3, 3, 50};
    for (int i = 0; i < N_TILES; i++) {
        for (int at = 0; at < VECTOR_N_OFFSETS; at++) {
            check_softcap_tile(k, tiles[i], vector_offsets[at], caps[(i + at) % 3], at % 2 == 0);
        }
    }
}

static void check_softmax_finish(const lv_vector_kernels *k, lv_dtype dtype, int64_t D, int offset)
{
    enum { ROWS = 3 };
    int64_t o_ld = D + 2, x_ld = D + 1;
    vector_array o = vector_new(dtype, ROWS * o_ld, offset, 1), before = vector_copy(&o, 0);
    vector_array x = vector_new(LV_F32, ROWS * x_ld, offset, 2);
    vector_array max = vector_new(LV_F32, ROWS, 0, 3), sum = vector_new(LV_F32, ROWS, 1, 4);
    vector_array lse = vector_new(LV_F32, ROWS, 1, 5), lse_before = vector_copy(&lse, 0);
    vector_extremes(&x);
    for (int i = 0; i < ROWS; i++) {
        vector_set(&sum, i, i == 1 ? NAN : 1 + fabs(vector_get(&sum, i)));
    }
    k->softmax_finish(o.data, o_ld, dtype, offset == 1 ? NULL : lse.data, x.data, x_ld, max.data,
                      sum.data, ROWS, D);
    for (int64_t i = 0; i < ROWS; i++) {
        double l = vector_get(&sum, i);
        for (int64_t d = 0; d < o_ld; d++) {
            double value = d < D ? vector_get(&x, i * x_ld + d) / l : 0;
            vector_near(&o, i * o_ld + d, d < D ? value : vector_get(&before, i * o_ld + d), 0, 4);
        }
        if (offset == 1) {
            unchanged(&lse, &lse_before, i);
        } else {
            vector_near(&lse, i, vector_get(&max, i) + log(l), 4, 4);
        }
    }
}

void vector_case_softmax_finish(const lv_vector_kernels *k)
{
    vector_each(k, check_softmax_finish);
}

/* ---- one query ---- */

static void check_softmax_query(const lv_vector_kernels *k, lv_dtype dtype, int64_t n_keys,
                                int offset)
{
    if (dtype != LV_BF16) {
        return;
    }
    const double cap = n_keys % 2 == 0 ? 1.5 : 0;
    int64_t D = 1 + (n_keys * 7 + offset) % 40 + (n_keys == 17 ? 600 : 0), ld = D + 5;
    vector_array q = vector_new(LV_F32, D, offset, 1);
    vector_array keys = vector_new(dtype, n_keys * ld, offset, 2);
    vector_array values = vector_new(dtype, n_keys * ld, 1, 3);
    vector_array o = vector_new(LV_F32, D, 0, 4), before = vector_copy(&o, 0);
    lv_real max = offset ? 0.5f : -INFINITY, sum = offset ? 2 : 0;
    double scale = 0.25, old_max = (double)max, new_max = old_max, total = 0;
    double *s = test_calloc((size_t)n_keys + 1, sizeof *s);
    if (n_keys == 33) { /* of every number, max alone excepted */
        vector_set(&keys, 20 * ld, NAN);
    }
    if (n_keys == 64) {
        vector_set(&values, 20 * ld, NAN);
        vector_set(&values, 21 * ld + D - 1, -INFINITY);
    }
    for (int64_t j = 0; j < n_keys; j++) {
        for (int64_t d = 0; d < D; d++) {
            s[j] += scale * vector_get(&q, d) * vector_get(&keys, j * ld + d);
        }
        s[j] = cap > 0 ? cap * tanh(s[j] / cap) : s[j];
        new_max = fmax(new_max, s[j]);
    }
    double keep = n_keys == 0 ? 1 : isinf(old_max) ? 0 : exp(old_max - new_max);
    total = (double)sum * keep;
    k->softmax_query(o.data, &max, &sum, q.data, keys.data, values.data, ld, (lv_real)scale,
                     (lv_real)cap, n_keys, D);
    for (int64_t j = 0; j < n_keys; j++) {
        s[j] = exp(s[j] - new_max);
        total += s[j];
    }
    assert_true(isnan(total) ? isnan(sum) : fabs((double)sum - total) <= 1e-5 * total);
    assert_true(max == (lv_real)new_max || fabs((double)max - new_max) <= 1e-5 * (1 + new_max));
    for (int64_t d = 0; d < D; d++) {
        double expected = vector_get(&before, d) * keep, size = fabs(expected);
        for (int64_t j = 0; j < n_keys; j++) {
            expected += s[j] * vector_get(&values, j * ld + d);
            size += s[j] * fabs(vector_get(&values, j * ld + d));
        }
        vector_near(&o, d, expected, size, EXP_ERROR);
    }
    test_free(s);
}

void vector_case_softmax_query(const lv_vector_kernels *k)
{
    vector_each(k, check_softmax_query);
}

/* ---- rows and columns ---- */

static void check_row_dots(const lv_vector_kernels *k, lv_dtype dtype, int64_t N, int offset)
{
    enum { T = 3 };
    int64_t ld = N + 2;
    vector_array a = vector_new(dtype, T * ld, offset, 1), b = vector_new(dtype, T * ld, 1, 2);
    vector_array dots = vector_new(LV_F32, T, offset, 3);
    if (N > 2) {
        vector_set(&a, ld + N / 2, NAN);
        vector_set(&b, 2 * ld + N - 1, -INFINITY);
    }
    k->row_dots(dots.data, a.data, b.data, dtype, ld, T, N);
    for (int64_t t = 0; t < T; t++) {
        double sum = 0, size = 0;
        for (int64_t i = t * ld; i < t * ld + N; i++) {
            sum += vector_get(&a, i) * vector_get(&b, i);
            size += fabs(vector_get(&a, i) * vector_get(&b, i));
        }
        vector_near(&dots, t, sum, size, 10);
    }
}

void vector_case_row_dots(const lv_vector_kernels *k)
{
    vector_each(k, check_row_dots);
}

static void check_add(const lv_vector_kernels *k, lv_dtype dtype, int64_t T, int64_t N, int offset,
                      bool transposed)
{
    int64_t y_ld = N + 3, x_ld = (transposed ? T : N) + 2;
    int64_t x_rows = transposed ? N : T;
    bool add = offset != 0;
    vector_array y = vector_new(dtype, T * y_ld, offset, 1), before = vector_copy(&y, 0);
    vector_array x = vector_new(LV_F32, x_rows * x_ld, offset, 2);
    vector_extremes(&x);
    if (transposed) {
        k->add_transposed(vector_grad(&y, add), y_ld, x.data, x_ld, T, N);
    } else {
        k->add_rows(vector_grad(&y, add), y_ld, x.data, x_ld, T, N);
    }
    for (int64_t t = 0; t < T; t++) {
        for (int64_t n = 0; n < y_ld; n++) {
            double old = vector_get(&before, t * y_ld + n);
            if (n >= N) {
                unchanged(&y, &before, t * y_ld + n);
                continue;
            }
            double value = vector_get(&x, transposed ? n * x_ld + t : t * x_ld + n);
            vector_near(&y, t * y_ld + n, value + (add ? old : 0), fabs(value) + fabs(old), 2);
        }
    }
}

static void check_add_rows(const lv_vector_kernels *k, lv_dtype dtype, int64_t N, int offset)
{
    check_add(k, dtype, 3, N, offset, false);
}

void vector_case_add_rows(const lv_vector_kernels *k)
{
    vector_each(k, check_add_rows);
}

static void check_add_transposed(const lv_vector_kernels *k, lv_dtype dtype, int64_t N, int offset)
{
    check_add(k, dtype, N == 64 ? 16 : 1 + N % 37, N, offset, true);
}

void vector_case_add_transposed(const lv_vector_kernels *k)
{
    vector_each(k, check_add_transposed);
}

/* ---- logits ---- */

static void check_softmax_sums(const lv_vector_kernels *k, lv_dtype dtype, int64_t n, int offset)
{
    enum { PLAIN, A_NAN, NOTHING_SEEN, INFINITE, CASES };
    for (int what = PLAIN; what < CASES && dtype == LV_F32; what++) {
        vector_array z = vector_new(LV_F32, n, offset, 1), before = vector_copy(&z, 0);
        lv_real max = offset ? 3 : -INFINITY, sum = offset ? 2 : 0;
        double new_max = (double)max, total = 0;
        for (int64_t i = 0; i < n; i++) {
            double value = what == NOTHING_SEEN ? -INFINITY : vector_get(&z, i) * 20;
            value = i != n / 2 ? value : what == A_NAN ? NAN : what == INFINITE ? INFINITY : value;
            vector_set(&z, i, value);
            new_max = fmax(new_max, vector_get(&z, i));
        }
        before = vector_copy(&z, 0);
        total = (double)sum * (offset ? exp(3 - new_max) : 0);
        for (int64_t i = 0; i < n; i++) {
            total += exp(vector_get(&z, i) - shift_of(new_max));
        }
        k->softmax_sums(&max, &sum, z.data, n);
        assert_true((double)max == new_max);
        assert_true(isnan(total) ? isnan(sum)
                                 : fabs((double)sum - total) <= 4 * FLT_EPSILON * total);
        for (int64_t i = 0; i < n; i++) {
            unchanged(&z, &before, i);
        }
        vector_free_all();
    }
}

void vector_case_softmax_sums(const lv_vector_kernels *k)
{
    vector_each(k, check_softmax_sums);
}

static void check_softmax_gradient(const lv_vector_kernels *k, lv_dtype dtype, int64_t n,
                                   int offset)
{
    const double lse = offset == 3 ? INFINITY : 2.5, dloss = 0.75; /* a score may be infinite */
    vector_array z = vector_new(LV_F32, n, offset, 1);
    if (n > 2) {
        memset(z.data, 0xff, sizeof(lv_real)); /* a NaN with every bit set */
        vector_set(&z, 1, -INFINITY);
        vector_set(&z, n - 1, offset == 3 ? INFINITY : vector_get(&z, n - 1));
    }
    vector_array before = vector_copy(&z, 0);
    vector_array dz = vector_new(dtype, n, offset, 2);
    bool in_place = dtype == LV_F32 && offset == 1;
    int64_t label = offset == 0 ? -1 : offset == 1 ? n - 1 : n + 5;
    k->softmax_gradient(in_place ? z.data : dz.data, dtype, z.data, (lv_real)lse, (lv_real)dloss,
                        label, n);
    for (int64_t i = 0; i < n; i++) {
        double p = exp(vector_get(&before, i) - lse);
        vector_near(in_place ? &z : &dz, i, dloss * (p - (i == label)), i == label ? p + 1 : p, 6);
    }
}

void vector_case_softmax_gradient(const lv_vector_kernels *k)
{
    vector_each(k, check_softmax_gradient);
}
