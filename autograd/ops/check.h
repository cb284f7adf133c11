/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LV_AUTOGRAD_OPS_CHECK_H
#define LV_AUTOGRAD_OPS_CHECK_H

#include "autograd/tensor.h"

/* lv_op_expect: x is of dtype f32 and of this shape, or the job ends with op, arg, what was found
 * and what was expected.
 * in     shape[n_dims]: -1 for any size */
void lv_op_expect(const char *op, const char *arg, const lv_tensor *x, int n_dims,
                  const int64_t *shape);

/* lv_op_expect_float: x is f32 or bf16 and of this shape. */
void lv_op_expect_float(const char *op, const char *arg, const lv_tensor *x, int n_dims,
                        const int64_t *shape);

/* lv_op_expect_like: x is an activation of the dtype and the shape of like. */
void lv_op_expect_like(const char *op, const char *arg, const lv_tensor *x, const lv_tensor *like);

/* lv_op_expect_indices: low <= index[i] < high for all n. */
void lv_op_expect_indices(const char *op, const char *arg, const int32_t *index, int64_t n,
                          int64_t low, int64_t high);

#endif
