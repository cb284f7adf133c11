/* SPDX-License-Identifier: Apache-2.0
 *
 * gelu: y = x c(x), c(x) = (1 + erf(x/sqrt 2)) / 2, the normal distribution function
 *   dx += dy (c(x) + x exp(-x^2/2) / sqrt(2 pi)) */
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/vector.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

lv_tensor *lv_gelu(lv_tape *tape, lv_tensor *x)
{
    LV_OP_FORWARD(tape, gelu);
    lv_op_expect_like("gelu", "x", x, x);
    lv_dtype dtype = x->dtype;
    lv_tensor *out = lv_tape_tensor(tape, dtype, x->n_dims, x->shape);
    lv_tape_record(tape, &lv_op_gelu, out, 1, &x, NULL);
    int64_t n = lv_tensor_count(x);
    if (lv_tape_is_dry(tape)) {
        return out;
    }
    const lv_vector_kernels *vector = lv_vector();
#pragma omp parallel if (n >= LV_PARALLEL_FROM)
    {
        lv_range r = lv_thread_range(n, 64);
        vector->gelu(lv_element(out->data, dtype, r.begin), lv_element(x->data, dtype, r.begin),
                     dtype, r.end - r.begin);
    }
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *x = node->in[0];
    lv_dtype dtype = x->dtype;
    int64_t n = lv_tensor_count(x);
    lv_grad dx = lv_tape_grad(tape, x);
    if (lv_tape_is_dry(tape)) {
        return;
    }
    const lv_vector_kernels *vector = lv_vector();
#pragma omp parallel if (n >= LV_PARALLEL_FROM)
    { /* y = x c(x) */
        lv_range r = lv_thread_range(n, 64);
        vector->gelu_backward(lv_grad_at(dx, r.begin), lv_element(node->out->grad, dtype, r.begin),
                              lv_element(x->data, dtype, r.begin), dtype, r.end - r.begin);
    }
}

static unsigned needs(const lv_node *node)
{
    (void)node;
    return LV_NEEDS_IN(0);
}

const lv_op lv_op_gelu = {"gelu", backward, needs};
