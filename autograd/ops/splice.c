/* SPDX-License-Identifier: Apache-2.0
 *
 * splice: y[t] = s >= 0 ? text[s] : image[-1 - s], s = source[t]
 *   dtext[s] += dy[t] or dimage[-1 - s] += dy[t], in the order of t */
#include "autograd/error.h"
#include "autograd/kernels/rows.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

lv_tensor *lv_splice(lv_tape *tape, lv_tensor *text, lv_tensor *image, const int32_t *source,
                     int64_t T)
{
    LV_OP_FORWARD(tape, splice);
    LV_CHECK(text || image, "splice: neither text nor image");
    const lv_tensor *one = text ? text : image;
    int64_t H = one->shape[1];
    if (text) {
        lv_op_expect_float("splice", "text", text, 2, (int64_t[]){-1, H});
    }
    if (image) {
        lv_op_expect_float("splice", "image", image, 2, (int64_t[]){-1, H});
        LV_CHECK(image->dtype == one->dtype, "splice: image is %s, expected %s as text is",
                 lv_dtype_name(image->dtype), lv_dtype_name(one->dtype));
    }
    lv_op_expect_indices("splice", "source", source, T, image ? -image->shape[0] : 0,
                         text ? text->shape[0] : 0);
    lv_tensor *out = lv_tape_tensor(tape, one->dtype, 2, (int64_t[]){T, H});
    lv_tensor *in[] = {text, image};
    lv_tape_record(tape, &lv_op_splice, out, 2, in, source);
    if (!lv_tape_is_dry(tape)) {
        lv_rows_gather(out->data, out->dtype, text ? text->data : NULL, image ? image->data : NULL,
                       out->dtype, source, T, H);
    }
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    const int32_t *source = node->saved;
    const lv_tensor *y = node->out;
    int64_t T = y->shape[0];
    for (int i = 0; i < 2; i++) { /* y[t] = text[s], s >= 0; y[t] = image[-1 - s], s < 0 */
        lv_tensor *x = node->in[i];
        if (!x || !x->requires_grad) {
            continue;
        }
        lv_grad dx = lv_tape_grad(tape, x);
        size_t mark = lv_tape_mark(tape);
        int64_t n = lv_rows_scatter_count(x->shape[0], T);
        int32_t *scratch = lv_tape_alloc(tape, (size_t)n * sizeof *scratch);
        int32_t *index = lv_tape_alloc(tape, (size_t)T * sizeof *index);
        if (!lv_tape_is_dry(tape)) {
            for (int64_t t = 0; t < T; t++) {
                index[t] = i == 0 ? source[t] : -1 - source[t];
            }
            lv_rows_scatter(dx, x->shape[0], index, y->grad, y->dtype, T, y->shape[1], scratch);
        }
        lv_tape_release(tape, mark);
    }
}

static unsigned needs(const lv_node *node)
{
    (void)node;
    return 0;
}

const lv_op lv_op_splice = {"splice", backward, needs};
