/* SPDX-License-Identifier: Apache-2.0
 *
 * splice: y[t] = s >= 0 ? text[s] : image[-1 - s], s = source[t]
 *   dtext[s] += dy[t] or dimage[-1 - s] += dy[t], in the order of t */
#include "autograd/error.h"
#include "autograd/kernels/rows.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

#include <string.h>

lv_tensor *lv_splice(lv_tape *tape, lv_tensor *text, lv_tensor *image, const int32_t *source,
                     int64_t T)
{
    LV_CHECK(text || image, "splice: neither text nor image");
    int64_t H = text ? text->shape[1] : image->shape[1];
    if (text) {
        lv_op_expect("splice", "text", text, 2, (int64_t[]){-1, H});
    }
    if (image) {
        lv_op_expect("splice", "image", image, 2, (int64_t[]){-1, H});
    }
    lv_op_expect_indices("splice", "source", source, T, image ? -image->shape[0] : 0,
                         text ? text->shape[0] : 0);
    lv_tensor *out = lv_tape_tensor(tape, LV_F32, 2, (int64_t[]){T, H});
    lv_real *y = lv_tensor_real(out);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        int64_t s = source[t];
        const lv_real *row = s >= 0 ? (const lv_real *)text->data + s * H
                                    : (const lv_real *)image->data + (-1 - s) * H;
        memcpy(y + t * H, row, (size_t)H * sizeof *y);
    }
    lv_tensor *in[] = {text, image};
    lv_tape_record(tape, &lv_op_splice, out, 2, in, source);
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *text = node->in[0];
    lv_tensor *image = node->in[1];
    const int32_t *source = node->saved;
    const lv_real *dy = node->out->grad;
    int64_t T = node->out->shape[0];
    int64_t H = node->out->shape[1];
    if (text && text->requires_grad) { /* y[t] = text[s], s >= 0 */
        lv_rows_scatter_add(lv_tape_grad_cleared(tape, text).data, source, dy, T, H);
    }
    if (image && image->requires_grad) { /* y[t] = image[-1 - s], s < 0 */
        lv_real *dimage = lv_tape_grad_cleared(tape, image).data;
        size_t mark = lv_tape_mark(tape);
        int32_t *rows = lv_tape_alloc(tape, (size_t)T * sizeof *rows);
        for (int64_t t = 0; t < T; t++) {
            rows[t] = -1 - source[t];
        }
        lv_rows_scatter_add(dimage, rows, dy, T, H);
        lv_tape_release(tape, mark);
    }
}

const lv_op lv_op_splice = {"splice", backward};
