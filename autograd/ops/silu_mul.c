/* SPDX-License-Identifier: Apache-2.0
 *
 * silu_mul: y = g s(g) u, s = sigmoid, g the gate and u the other half
 *   dg += dy u s (1 + g (1 - s)),  du += dy g s */
#include "autograd/kernels/exp.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"

lv_tensor *lv_silu_mul(lv_tape *tape, lv_tensor *gate, lv_tensor *up)
{
    lv_op_expect_like("silu_mul", "gate", gate, up);
    lv_op_expect_like("silu_mul", "up", up, gate);
    lv_tensor *out = lv_tape_tensor(tape, LV_F32, gate->n_dims, gate->shape);
    const lv_real *g = gate->data;
    const lv_real *u = up->data;
    lv_real *y = lv_tensor_real(out);
    int64_t n = lv_tensor_count(gate);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        y[i] = g[i] * lv_sigmoid(g[i]) * u[i];
    }
    lv_tensor *in[] = {gate, up};
    lv_tape_record(tape, &lv_op_silu_mul, out, 2, in, NULL);
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *gate = node->in[0];
    lv_tensor *up = node->in[1];
    const lv_real *g = gate->data;
    const lv_real *u = up->data;
    const lv_real *dy = node->out->grad;
    int64_t n = lv_tensor_count(gate);
    if (gate->requires_grad) { /* y = (g s(g)) u */
        lv_real *dg = lv_tape_grad(tape, gate);
#pragma omp parallel for simd schedule(static)
        for (int64_t i = 0; i < n; i++) {
            lv_real s = lv_sigmoid(g[i]);
            dg[i] += dy[i] * u[i] * (s * (1 + g[i] * (1 - s)));
        }
    }
    if (up->requires_grad) { /* y = (g s(g)) u */
        lv_real *du = lv_tape_grad(tape, up);
#pragma omp parallel for simd schedule(static)
        for (int64_t i = 0; i < n; i++) {
            du[i] += dy[i] * (g[i] * lv_sigmoid(g[i]));
        }
    }
}

const lv_op lv_op_silu_mul = {"silu_mul", backward};
