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

static lv_tensor *layer_forward(lv_tape *tape, const void *context, lv_tensor *const *in)
{
    const layer *of = context;
    return lv_linear(tape, lv_gelu(tape, in[0]), of->w, of->b, in[0]);
}

/* Two layers, one in the other's segment, with a use of x outside. */
static lv_tensor *outer_forward(lv_tape *tape, const void *context, lv_tensor *const *in)
{
    lv_tensor *y = lv_recompute(tape, layer_forward, context, 1, in);
    return lv_silu_mul(tape, lv_quick_gelu(tape, y), in[0]);
}

/* in context: the inputs again: a segment reaches its weights past the tape, so they are always
 * parameters. */
static lv_tensor *recompute(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    lv_tensor *const *params = context;
    static layer of; /* read again in the backward pass */
    of = (layer){params[1], params[2]};
    lv_tensor *y = lv_recompute(tape, outer_forward, &of, 1, in);
    return lv_silu_mul(tape, lv_recompute(tape, layer_forward, &of, 1, &y), in[0]);
}

/* A layer that reads a second activation. */
static lv_tensor *pair_forward(lv_tape *tape, const void *context, lv_tensor *const *in)
{
    lv_tensor *y = layer_forward(tape, context, in);
    return lv_silu_mul(tape, y, lv_quick_gelu(tape, in[1]));
}

/* The same within another segment. */
static lv_tensor *outer_pair_forward(lv_tape *tape, const void *context, lv_tensor *const *in)
{
    lv_tensor *y = lv_recompute(tape, pair_forward, context, 2, in);
    return lv_silu_mul(tape, in[1], y);
}

/* Layers that all read one activation beside the one that they hand on: its gradient is a sum over
 * segments. */
static lv_tensor *recompute_pairs(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    lv_tensor *const *params = context;
    static layer of;
    of = (layer){params[1], NULL};
    lv_tensor *features = lv_gelu(tape, in[2]), *x = in[0];
    x = lv_recompute(tape, pair_forward, &of, 2, (lv_tensor *[]){x, features});
    x = lv_recompute(tape, outer_pair_forward, &of, 2, (lv_tensor *[]){x, features});
    return lv_recompute(tape, pair_forward, &of, 2, (lv_tensor *[]){x, features});
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
    lv_tensor *const pairs[][3] = {
        {grad_param(SHAPE(5, 6)), grad_param(SHAPE(6, 6)), grad_param(SHAPE(5, 6))},
        {grad_frozen(SHAPE(5, 6)), grad_frozen(SHAPE(6, 6)), grad_param(SHAPE(5, 6))},
        {grad_param(SHAPE(3, 4)), grad_param(SHAPE(4, 4)), grad_frozen(SHAPE(3, 4))},
    };
    for (int i = 0; i < 3; i++) {
        grad_check(recompute_pairs, pairs[i], 3, pairs[i]);
    }
}
