/* SPDX-License-Identifier: Apache-2.0
 *
 * embedding: y[t] = W[ids[t]]
 *   dW[ids[t]] += dy[t], in the order of t */
#include "autograd/kernels/convert.h"
#include "autograd/kernels/rows.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"

#include <string.h>

lv_tensor *lv_embedding(lv_tape *tape, lv_tensor *w, const int32_t *ids, int64_t T)
{
    lv_op_expect_weight("embedding", "W", w, 2, (int64_t[]){-1, -1});
    int64_t H = w->shape[1];
    lv_op_expect_indices("embedding", "ids", ids, T, 0, w->shape[0]);
    lv_tensor *out = lv_tape_tensor(tape, LV_F32, 2, (int64_t[]){T, H});
    lv_real *y = lv_tensor_real(out);
    const char *rows = w->data;
    int64_t row_bytes = H * (int64_t)lv_dtype_bytes(w->dtype);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        const char *row = rows + ids[t] * row_bytes;
        if (w->dtype == LV_BF16) {
            lv_convert_to_real(y + t * H, row, LV_BF16, H);
        } else {
            memcpy(y + t * H, row, (size_t)row_bytes);
        }
    }
    lv_tape_record(tape, &lv_op_embedding, out, 1, &w, ids);
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    const int32_t *ids = node->saved;
    const lv_tensor *y = node->out;
    lv_rows_scatter_add(lv_tape_grad_cleared(tape, node->in[0]).data, ids, y->grad, y->shape[0],
                        y->shape[1]);
}

const lv_op lv_op_embedding = {"embedding", backward};
