/* SPDX-License-Identifier: Apache-2.0
 *
 * silu_mul: y = g s(g) u, s = sigmoid, g the gate and u the other half
 *   dg += dy u s (1 + g (1 - s)),  du += dy g s */
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/vector.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

lv_tensor *lv_silu_mul(lv_tape *tape, lv_tensor *gate, lv_tensor *up)
{
    LV_OP_FORWARD(tape, silu_mul);
    lv_op_expect_like("silu_mul", "gate", gate, up);
    lv_op_expect_like("silu_mul", "up", up, gate);
    lv_dtype dtype = gate->dtype;
    lv_tensor *out = lv_tape_tensor(tape, dtype, gate->n_dims, gate->shape);
    lv_tensor *in[] = {gate, up};
    lv_tape_record(tape, &lv_op_silu_mul, out, 2, in, NULL);
    int64_t n = lv_tensor_count(gate);
    if (lv_tape_is_dry(tape)) {
        return out;
    }
    const lv_vector_kernels *vector = lv_vector();
#pragma omp parallel if (n >= LV_PARALLEL_FROM)
    {
        lv_range r = lv_thread_range(n, 64);
        vector->silu_mul(lv_element(out->data, dtype, r.begin),
                         lv_element(gate->data, dtype, r.begin),
                         lv_element(up->data, dtype, r.begin), dtype, r.end - r.begin);
    }
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *gate = node->in[0];
    lv_tensor *up = node->in[1];
    lv_dtype dtype = gate->dtype;
    int64_t n = lv_tensor_count(gate);
    lv_grad dgate = lv_tape_grad_wanted(tape, gate);
    lv_grad dup = lv_tape_grad_wanted(tape, up);
    if (lv_tape_is_dry(tape)) {
        return;
    }
    const lv_vector_kernels *vector = lv_vector();
#pragma omp parallel if (n >= LV_PARALLEL_FROM)
    { /* y = g s(g) u */
        lv_range r = lv_thread_range(n, 64);
        vector->silu_mul_backward(lv_grad_at(dgate, r.begin), lv_grad_at(dup, r.begin),
                                  lv_element(node->out->grad, dtype, r.begin),
                                  lv_element(gate->data, dtype, r.begin),
                                  lv_element(up->data, dtype, r.begin), dtype, r.end - r.begin);
    }
}

static unsigned needs(const lv_node *node)
{
    (void)node;
    return LV_NEEDS_IN(0) | LV_NEEDS_IN(1);
}

const lv_op lv_op_silu_mul = {"silu_mul", backward, needs};
