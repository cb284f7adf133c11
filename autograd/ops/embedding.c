/* SPDX-License-Identifier: Apache-2.0
 *
 * embedding: y[t] = W[ids[t]]
 *   dW[ids[t]] += dy[t], in the order of t */
#include "autograd/kernels/rows.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

lv_tensor *lv_embedding(lv_tape *tape, lv_tensor *w, const int32_t *ids, int64_t T)
{
    LV_OP_FORWARD(tape, embedding);
    lv_op_expect_float("embedding", "W", w, 2, (int64_t[]){-1, -1});
    lv_tape_await(tape, w);
    int64_t H = w->shape[1];
    lv_op_expect_indices("embedding", "ids", ids, T, 0, w->shape[0]);
    lv_tensor *out = lv_tape_tensor(tape, lv_tape_dtype(tape), 2, (int64_t[]){T, H});
    lv_tape_record(tape, &lv_op_embedding, out, 1, &w, ids);
    if (!lv_tape_is_dry(tape)) {
        lv_rows_gather(out->data, out->dtype, w->data, NULL, w->dtype, ids, T, H);
    }
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *w = node->in[0];
    const lv_tensor *y = node->out;
    lv_grad dw = lv_tape_grad(tape, w);
    size_t mark = lv_tape_mark(tape);
    int64_t n = lv_rows_scatter_count(w->shape[0], y->shape[0]);
    int32_t *scratch = lv_tape_alloc(tape, (size_t)n * sizeof *scratch);
    lv_tape_grad_rows(tape, w, node->saved, y->shape[0]);
    if (!lv_tape_is_dry(tape)) { /* y[t] = W[ids[t]] */
        lv_rows_scatter(dw, w->shape[0], node->saved, y->grad, y->dtype, y->shape[0], y->shape[1],
                        scratch);
    }
    lv_tape_release(tape, mark);
}

static unsigned needs(const lv_node *node)
{
    (void)node;
    return 0;
}

const lv_op lv_op_embedding = {"embedding", backward, needs};
