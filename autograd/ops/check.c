/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/ops/check.h"

#include "autograd/error.h"

#include <inttypes.h>

static bool has_shape(const lv_tensor *x, int n_dims, const int64_t *shape)
{
    bool same = x->n_dims == n_dims;
    for (int i = 0; same && i < n_dims; i++) {
        same = shape[i] < 0 || x->shape[i] == shape[i];
    }
    return same;
}

static void expect_shape(const char *op, const char *arg, const lv_tensor *x, int n_dims,
                         const int64_t *shape)
{
    char found[96], expected[96];
    LV_CHECK(has_shape(x, n_dims, shape), "%s: %s is %s, expected %s (-1: any)", op, arg,
             lv_shape_text(found, sizeof found, x->n_dims, x->shape),
             lv_shape_text(expected, sizeof expected, n_dims, shape));
}

void lv_op_expect(const char *op, const char *arg, const lv_tensor *x, int n_dims,
                  const int64_t *shape)
{
    LV_CHECK(x->dtype == LV_F32, "%s: %s is %s, expected f32", op, arg, lv_dtype_name(x->dtype));
    expect_shape(op, arg, x, n_dims, shape);
}

void lv_op_expect_float(const char *op, const char *arg, const lv_tensor *x, int n_dims,
                        const int64_t *shape)
{
    LV_CHECK(x->dtype == LV_F32 || x->dtype == LV_BF16, "%s: %s is %s, expected f32 or bf16", op,
             arg, lv_dtype_name(x->dtype));
    expect_shape(op, arg, x, n_dims, shape);
}

void lv_op_expect_like(const char *op, const char *arg, const lv_tensor *x, const lv_tensor *like)
{
    LV_CHECK(x->dtype == like->dtype && (x->dtype == LV_F32 || x->dtype == LV_BF16),
             "%s: %s is %s, expected %s, f32 or bf16", op, arg, lv_dtype_name(x->dtype),
             lv_dtype_name(like->dtype));
    expect_shape(op, arg, x, like->n_dims, like->shape);
}

void lv_op_expect_indices(const char *op, const char *arg, const int32_t *index, int64_t n,
                          int64_t low, int64_t high)
{
    for (int64_t i = 0; i < n; i++) {
        LV_CHECK(index[i] >= low && index[i] < high,
                 "%s: %s[%" PRId64 "] is %" PRId32 ", expected in [%" PRId64 ", %" PRId64 ")", op,
                 arg, i, index[i], low, high);
    }
}
