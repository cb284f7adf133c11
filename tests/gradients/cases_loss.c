/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/gradients/grad_check.h"

static lv_tensor *cross_entropy(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    return lv_cross_entropy(tape, in[0], in[1], context, NULL);
}

void grad_case_cross_entropy(void)
{
    const int32_t labels[5] = {0, 10, 3, 3, 7};
    grad_check(cross_entropy, labels, 2,
               (lv_tensor *[]){grad_param(SHAPE(5, 6)), grad_param(SHAPE(11, 6))});
    grad_check(cross_entropy, labels, 2,
               (lv_tensor *[]){grad_param(SHAPE(1, 9)), grad_frozen(SHAPE(70, 9))});
    grad_check(cross_entropy, labels, 2,
               (lv_tensor *[]){grad_frozen(SHAPE(4, 3)), grad_param(SHAPE(13, 3))});
    grad_check(cross_entropy, labels, 2,
               (lv_tensor *[]){grad_param(SHAPE(5, 5)), grad_bf16(SHAPE(12, 5))});
}

typedef struct {
    lv_tensor *w, *b;
} layer;

static lv_tensor *layer_forward(lv_tape *tape, const void *context, lv_tensor *x)
{
    const layer *of = context;
    return lv_linear(tape, lv_gelu(tape, x), of->w, of->b, x);
}

/* Two layers, one in the other's segment, with a use of x outside. */
static lv_tensor *outer_forward(lv_tape *tape, const void *context, lv_tensor *x)
{
    lv_tensor *y = lv_recompute(tape, layer_forward, context, x);
    return lv_silu_mul(tape, lv_quick_gelu(tape, y), x);
}

/* in context: the inputs again: a segment reaches its weights past the tape, so they are always
 * parameters. */
static lv_tensor *recompute(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    lv_tensor *const *params = context;
    static layer of; /* read again in the backward pass */
    of = (layer){params[1], params[2]};
    lv_tensor *y = lv_recompute(tape, outer_forward, &of, in[0]);
    return lv_silu_mul(tape, lv_recompute(tape, layer_forward, &of, y), in[0]);
}

void grad_case_recompute(void)
{
    lv_tensor *const cases[][3] = {
        {grad_param(SHAPE(5, 6)), grad_param(SHAPE(6, 6)), grad_param(SHAPE(6))},
        {grad_frozen(SHAPE(5, 6)), grad_param(SHAPE(6, 6)), grad_param(SHAPE(6))},
        {grad_param(SHAPE(3, 4)), grad_frozen(SHAPE(4, 4)), NULL},
    };
    for (int i = 0; i < 3; i++) {
        grad_check(recompute, cases[i], 3, cases[i]);
    }
}
