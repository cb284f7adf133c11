/* SPDX-License-Identifier: Apache-2.0
 *
 * Analytic gradients against central differences, with the engine built for f64.
 */
#ifndef LV_TESTS_GRAD_CHECK_H
#define LV_TESTS_GRAD_CHECK_H

#include "autograd/ops.h"

#define SHAPE(...)                                                                                 \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[])                         \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* The function under test: any graph over the inputs. */
typedef lv_tensor *grad_function(lv_tape *tape, lv_tensor *const *in, const void *context);

/* Inputs: random values, other ones each time; a NULL input stands for an absent one. */
lv_tensor *grad_param(int n_dims, const int64_t *shape);  /* requires a gradient */
lv_tensor *grad_frozen(int n_dims, const int64_t *shape); /* does not */
lv_tensor *grad_bf16(int n_dims, const int64_t *shape);   /* frozen, bf16, at an odd address */
void *grad_alloc(size_t bytes);                           /* until the next test */

/* grad_check: d/din of sum(function(in) * fixed random numbers), for every input that requires a
 * gradient, agrees with central differences by norm; it is added to what was there; frozen inputs
 * get none. It needs no more data than the ops say (lv_op.needs). */
void grad_check(grad_function *function, const void *context, int n_in, lv_tensor *const *in);

#define LV_OP(name) void grad_case_##name(void);
#include "autograd/ops.def"
#undef LV_OP

#endif
