/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/vector_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* ---- add_to ---- */

static void check_add_to(const lv_vector_kernels *k, lv_dtype dtype, int64_t n, int offset)
{
    for (lv_dtype to = LV_F32; to <= LV_BF16; to++) {
        for (int add = 0; add < 2; add++) {
            vector_array x = vector_new(dtype, n, offset, 1);
            vector_array y = vector_new(to, n, 1, 2);
            vector_extremes(&x);
            vector_array before = vector_copy(&y, 0);
            vector_array odd = dtype == LV_BF16 ? vector_byte(&x) : x;
            k->add_to(y.data, to, add, odd.data, dtype, n);
            for (int64_t i = 0; i < n; i++) {
                double sum = vector_get(&x, i) + (add ? vector_get(&before, i) : 0);
                vector_near(&y, i, sum, 0, 1);
            }
            vector_free_all();
        }
    }
}

/* Ties and their neighbours, the largest float, and a NaN whose payload rounding would carry away:
 * the bits by the rule, to nearest even. */
static void check_rounding(const lv_vector_kernels *k)
{
    static const struct {
        uint32_t bits;
        uint16_t rounded;
    } expected[] = {
        {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81}, {0x3f817fff, 0x3f81},
        {0xbf818000, 0xbf82}, {0x7f7fffff, 0x7f80}, {0x00008000, 0x0000}, {0x00018000, 0x0002},
        {0x80000000, 0x8000}, {0x7f800000, 0x7f80}, {0xff800000, 0xff80},
    };
    enum { N = sizeof expected / sizeof *expected };
    for (int at = 0; at < 3 * N; at++) { /* each in every lane, and among the last */
        vector_array x = vector_new(LV_F32, 3 * N, 0, 1), y = vector_new(LV_BF16, 3 * N, 0, 2);
        for (int i = 0; i < 3 * N; i++) {
            memcpy((lv_real *)x.data + i, &expected[(i + at) % N].bits, sizeof(uint32_t));
        }
        k->add_to(y.data, LV_BF16, false, x.data, LV_F32, 3 * N);
        for (int i = 0; i < 3 * N; i++) {
            assert_int_equal(((uint16_t *)y.data)[i], expected[(i + at) % N].rounded);
        }
        const uint32_t nan = 0x7fffffff;
        memcpy((lv_real *)x.data + at, &nan, sizeof nan);
        k->add_to(y.data, LV_BF16, false, x.data, LV_F32, 3 * N);
        assert_true(isnan(vector_get(&y, at)));
        vector_free_all();
    }
}

void vector_case_add_to(const lv_vector_kernels *k)
{
    vector_each(k, check_add_to);
    check_rounding(k);
}

/* ---- sum_rows ---- */

static void check_sum_rows(const lv_vector_kernels *k, lv_dtype dtype, int64_t N, int offset)
{
    static const int32_t rows[] = {2, 0, 2, 4};
    for (int n_rows = 0; n_rows <= 4; n_rows++) {
        for (int how = 0; how < 4; how++) {
            bool add = how % 2;
            vector_array x = vector_new(dtype, 5 * N, offset, 3);
            vector_extremes(&x);
            vector_array y = vector_new(how < 2 ? LV_F32 : dtype, N, offset, 4);
            vector_array before = vector_copy(&y, 0);
            k->sum_rows(vector_grad(&y, add), x.data, dtype, rows, n_rows, N);
            for (int64_t i = 0; i < N; i++) {
                double sum = add ? vector_get(&before, i) : 0;
                double largest = fabs(sum);
                for (int r = 0; r < n_rows; r++) {
                    double value = vector_get(&x, rows[r] * N + i);
                    sum += value;
                    largest += fabs(value);
                }
                vector_near(&y, i, sum, largest, 2);
            }
            vector_free_all();
        }
    }
}

void vector_case_sum_rows(const lv_vector_kernels *k)
{
    vector_each(k, check_sum_rows);
}

/* ---- activations: y and dy/dx in double, from their definitions ---- */

typedef struct {
    double y, slope;
} value_and_slope;

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static value_and_slope silu_of(double x)
{
    double s = sigmoid(x);
    return (value_and_slope){x * s, s * (1 + x * (1 - s))};
}

static value_and_slope gelu_of(double x)
{
    double c = 0.5 * erfc(-x / sqrt(2));
    return (value_and_slope){x * c, c + x * exp(-x * x / 2) / sqrt(2 * acos(-1))};
}

static value_and_slope quick_gelu_of(double x)
{
    double s = sigmoid(1.702 * x);
    return (value_and_slope){x * s, s * (1 + 1.702 * x * (1 - s))};
}

/* How far y may be off, relative to x: erf is within 4 units in the last place. */
static const double ERROR = 16;

static void check_gate(const lv_vector_kernels *k, lv_dtype dtype, int64_t n, int offset)
{
    vector_array g = vector_new(dtype, n, offset, 5);
    vector_array u = vector_new(dtype, n, 0, 6);
    vector_array y = vector_new(dtype, n, offset, 7);
    vector_extremes(offset ? &g : &u);
    k->silu_mul(y.data, g.data, u.data, dtype, n);
    for (int64_t i = 0; i < n; i++) {
        double x = vector_get(&g, i);
        double expected = silu_of(x).y * vector_get(&u, i);
        vector_near(&y, i, expected, x * vector_get(&u, i), ERROR);
    }
}

void vector_case_silu_mul(const lv_vector_kernels *k)
{
    vector_each(k, check_gate);
}

/* which: 1 dg, 2 du, 3 both; at last one is added to and the other written. */
static void check_gate_backward(const lv_vector_kernels *k, lv_dtype dtype, int64_t n, int offset)
{
    for (int how = 0; how < 8; how++) {
        int which = how < 6 ? how / 2 + 1 : 3;
        bool add = how % 2, add_u = how < 6 ? add : !add;
        vector_array g = vector_new(dtype, n, 0, 8), u = vector_new(dtype, n, offset, 9);
        vector_array dy = vector_new(dtype, n, offset, 10);
        vector_array dg = vector_new(dtype, n, offset, 11), du = vector_new(dtype, n, 1, 12);
        vector_extremes(how % 2 ? &g : &dy);
        vector_array old_g = vector_copy(&dg, 0), old_u = vector_copy(&du, 0);
        lv_grad none = {.data = NULL};
        k->silu_mul_backward(which & 1 ? vector_grad(&dg, add) : none,
                             which & 2 ? vector_grad(&du, add_u) : none, dy.data, g.data, u.data,
                             dtype, n);
        for (int64_t i = 0; i < n; i++) {
            value_and_slope s = silu_of(vector_get(&g, i));
            double d = vector_get(&dy, i), old = vector_get(&old_g, i);
            double from_g = d * vector_get(&u, i) * s.slope + (add ? old : 0);
            double large = fabs(d * vector_get(&u, i)) * 2 + fabs(old);
            vector_near(&dg, i, which & 1 ? from_g : old, large, ERROR);
            old = vector_get(&old_u, i);
            vector_near(&du, i, which & 2 ? d * s.y + (add_u ? old : 0) : old,
                        fabs(d * vector_get(&g, i)) + fabs(old), ERROR);
        }
        vector_free_all();
    }
}

void vector_case_silu_mul_backward(const lv_vector_kernels *k)
{
    vector_each(k, check_gate_backward);
}

typedef value_and_slope reference(double x);
typedef void forward_kernel(void *y, const void *x, lv_dtype dtype, int64_t n);
typedef void backward_kernel(lv_grad dx, const void *dy, const void *x, lv_dtype dtype, int64_t n);

static void check_forward(forward_kernel *kernel, reference *of, lv_dtype dtype, int64_t n,
                          int offset)
{
    vector_array x = vector_new(dtype, n, offset, 13);
    vector_array y = vector_new(dtype, n, 1, 14);
    vector_extremes(&x);
    kernel(y.data, x.data, dtype, n);
    for (int64_t i = 0; i < n; i++) {
        vector_near(&y, i, of(vector_get(&x, i)).y, vector_get(&x, i), ERROR);
    }
}

static void check_backward(backward_kernel *kernel, reference *of, lv_dtype dtype, int64_t n,
                           int offset)
{
    for (int add = 0; add < 2; add++) {
        vector_array x = vector_new(dtype, n, 1, 15), dy = vector_new(dtype, n, offset, 16);
        vector_array dx = vector_new(dtype, n, offset, 17);
        vector_extremes(add ? &x : &dy);
        vector_array before = vector_copy(&dx, 0);
        kernel(vector_grad(&dx, add), dy.data, x.data, dtype, n);
        for (int64_t i = 0; i < n; i++) {
            double old = add ? vector_get(&before, i) : 0;
            double d = vector_get(&dy, i);
            vector_near(&dx, i, d * of(vector_get(&x, i)).slope + old, 2 * fabs(d) + fabs(old),
                        ERROR);
        }
        vector_free_all();
    }
}

static void check_gelu(const lv_vector_kernels *k, lv_dtype dtype, int64_t n, int offset)
{
    check_forward(k->gelu, gelu_of, dtype, n, offset);
}

void vector_case_gelu(const lv_vector_kernels *k)
{
    vector_each(k, check_gelu);
}

static void check_gelu_backward(const lv_vector_kernels *k, lv_dtype dtype, int64_t n, int offset)
{
    check_backward(k->gelu_backward, gelu_of, dtype, n, offset);
}

void vector_case_gelu_backward(const lv_vector_kernels *k)
{
    vector_each(k, check_gelu_backward);
}

static void check_quick_gelu(const lv_vector_kernels *k, lv_dtype dtype, int64_t n, int offset)
{
    check_forward(k->quick_gelu, quick_gelu_of, dtype, n, offset);
}

void vector_case_quick_gelu(const lv_vector_kernels *k)
{
    vector_each(k, check_quick_gelu);
}

static void check_quick_gelu_backward(const lv_vector_kernels *k, lv_dtype dtype, int64_t n,
                                      int offset)
{
    check_backward(k->quick_gelu_backward, quick_gelu_of, dtype, n, offset);
}

void vector_case_quick_gelu_backward(const lv_vector_kernels *k)
{
    vector_each(k, check_quick_gelu_backward);
}
