/* SPDX-License-Identifier: Apache-2.0
 *
 * add: y = a + b
 *   da += dy, db += dy */
#include "autograd/ops.h"
#include "autograd/ops/check.h"

lv_tensor *lv_add(lv_tape *tape, lv_tensor *a, lv_tensor *b)
{
    lv_op_expect_like("add", "a", a, b);
    lv_op_expect_like("add", "b", b, a);
    lv_tensor *out = lv_tape_tensor(tape, LV_F32, a->n_dims, a->shape);
    lv_real *y = lv_tensor_real(out);
    const lv_real *pa = a->data;
    const lv_real *pb = b->data;
    int64_t n = lv_tensor_count(a);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        y[i] = pa[i] + pb[i];
    }
    lv_tensor *in[] = {a, b};
    lv_tape_record(tape, &lv_op_add, out, 2, in, NULL);
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    const lv_real *dy = node->out->grad;
    int64_t n = lv_tensor_count(node->out);
    for (int k = 0; k < 2; k++) { /* y = a + b */
        if (!node->in[k]->requires_grad) {
            continue;
        }
        lv_real *d = lv_tape_grad(tape, node->in[k]);
#pragma omp parallel for simd schedule(static)
        for (int64_t i = 0; i < n; i++) {
            d[i] += dy[i];
        }
    }
}

const lv_op lv_op_add = {"add", backward};
