/* SPDX-License-Identifier: Apache-2.0
 *
 * select_rows: y[r] = x[rows[r]]
 *   dx[rows[r]] += dy[r], in the order of r */
#include "autograd/kernels/rows.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"

#include <string.h>

lv_tensor *lv_select_rows(lv_tape *tape, lv_tensor *x, const int32_t *rows, int64_t R)
{
    lv_op_expect("select_rows", "x", x, 2, (int64_t[]){-1, -1});
    lv_op_expect_indices("select_rows", "rows", rows, R, 0, x->shape[0]);
    int64_t H = x->shape[1];
    lv_tensor *out = lv_tape_tensor(tape, LV_F32, 2, (int64_t[]){R, H});
    lv_real *y = lv_tensor_real(out);
    const lv_real *px = x->data;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        memcpy(y + r * H, px + rows[r] * H, (size_t)H * sizeof *y);
    }
    lv_tape_record(tape, &lv_op_select_rows, out, 1, &x, rows);
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    const int32_t *rows = node->saved;
    const lv_tensor *y = node->out;
    lv_rows_scatter_add(lv_tape_grad_cleared(tape, node->in[0]).data, rows, y->grad, y->shape[0],
                        y->shape[1]);
}

const lv_op lv_op_select_rows = {"select_rows", backward};
