/* SPDX-License-Identifier: Apache-2.0
 *
 * select_rows: y[r] = x[rows[r]]
 *   dx[rows[r]] += dy[r], in the order of r */
#include "autograd/kernels/rows.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

lv_tensor *lv_select_rows(lv_tape *tape, lv_tensor *x, const int32_t *rows, int64_t R)
{
    LV_OP_FORWARD(tape, select_rows);
    lv_op_expect_float("select_rows", "x", x, 2, (int64_t[]){-1, -1});
    lv_op_expect_indices("select_rows", "rows", rows, R, 0, x->shape[0]);
    int64_t H = x->shape[1];
    lv_tensor *out = lv_tape_tensor(tape, x->dtype, 2, (int64_t[]){R, H});
    lv_tape_record(tape, &lv_op_select_rows, out, 1, &x, rows);
    if (!lv_tape_is_dry(tape)) {
        lv_rows_gather(out->data, out->dtype, x->data, NULL, x->dtype, rows, R, H);
    }
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *x = node->in[0];
    const lv_tensor *y = node->out;
    lv_grad dx = lv_tape_grad(tape, x);
    size_t mark = lv_tape_mark(tape);
    int64_t n = lv_rows_scatter_count(x->shape[0], y->shape[0]);
    int32_t *scratch = lv_tape_alloc(tape, (size_t)n * sizeof *scratch);
    if (!lv_tape_is_dry(tape)) { /* y[r] = x[rows[r]] */
        lv_rows_scatter(dx, x->shape[0], node->saved, y->grad, y->dtype, y->shape[0], y->shape[1],
                        scratch);
    }
    lv_tape_release(tape, mark);
}

static unsigned needs(const lv_node *node)
{
    (void)node;
    return 0;
}

const lv_op lv_op_select_rows = {"select_rows", backward, needs};
