/* SPDX-License-Identifier: Apache-2.0
 *
 * Ops that multiply by weights, and norms. */
#include "tests/gradients/grad_check.h"

static lv_tensor *linear(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    (void)context;
    return lv_linear(tape, in[0], in[1], in[2], in[3]);
}

/* x + x W^T, of an activation: its gradient is passed on and added to. */
static lv_tensor *residual_of_itself(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    (void)context;
    lv_tensor *x = lv_gelu(tape, in[0]);
    return lv_linear(tape, x, in[1], NULL, x);
}

void grad_case_linear(void)
{
    grad_check(linear, NULL, 4,
               (lv_tensor *[]){grad_param(SHAPE(5, 7)), grad_param(SHAPE(3, 7)),
                               grad_param(SHAPE(3)), grad_param(SHAPE(5, 3))});
    grad_check(linear, NULL, 4,
               (lv_tensor *[]){grad_param(SHAPE(1, 33)), grad_param(SHAPE(18, 33)), NULL, NULL});
    grad_check(linear, NULL, 4,
               (lv_tensor *[]){grad_frozen(SHAPE(70, 4)), grad_param(SHAPE(2, 4)),
                               grad_param(SHAPE(2)), grad_frozen(SHAPE(70, 2))});
    grad_check(linear, NULL, 4,
               (lv_tensor *[]){grad_param(SHAPE(4, 6)), grad_frozen(SHAPE(5, 6)),
                               grad_frozen(SHAPE(5)), NULL});
    grad_check(linear, NULL, 4,
               (lv_tensor *[]){grad_param(SHAPE(4, 9)), grad_bf16(SHAPE(5, 9)),
                               grad_param(SHAPE(5)), NULL});
    grad_check(residual_of_itself, NULL, 2,
               (lv_tensor *[]){grad_param(SHAPE(4, 3)), grad_param(SHAPE(3, 3))});
}

static lv_tensor *layernorm(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    (void)context;
    return lv_layernorm(tape, in[0], in[1], in[2], 1e-5);
}

void grad_case_layernorm(void)
{
    grad_check(
        layernorm, NULL, 3,
        (lv_tensor *[]){grad_param(SHAPE(5, 37)), grad_param(SHAPE(37)), grad_param(SHAPE(37))});
    grad_check(layernorm, NULL, 3,
               (lv_tensor *[]){grad_param(SHAPE(2, 600)), grad_frozen(SHAPE(600)),
                               grad_frozen(SHAPE(600))});
    grad_check(
        layernorm, NULL, 3,
        (lv_tensor *[]){grad_frozen(SHAPE(130, 4)), grad_param(SHAPE(4)), grad_param(SHAPE(4))});
}

static lv_tensor *rmsnorm(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    (void)context;
    return lv_rmsnorm(tape, in[0], in[1], 1e-5);
}

void grad_case_rmsnorm(void)
{
    grad_check(rmsnorm, NULL, 2, (lv_tensor *[]){grad_param(SHAPE(5, 37)), grad_param(SHAPE(37))});
    grad_check(rmsnorm, NULL, 2,
               (lv_tensor *[]){grad_param(SHAPE(2, 600)), grad_frozen(SHAPE(600))});
    grad_check(rmsnorm, NULL, 2, (lv_tensor *[]){grad_frozen(SHAPE(130, 4)), grad_param(SHAPE(4))});
}

static lv_tensor *patch_embed(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    (void)context;
    return lv_patch_embed(tape, in[0], in[1], in[2], in[3]);
}

void grad_case_patch_embed(void)
{
    grad_check(patch_embed, NULL, 4,
               (lv_tensor *[]){grad_frozen(SHAPE(2, 3, 6, 6)), grad_param(SHAPE(5, 3, 2, 2)),
                               grad_param(SHAPE(5)), grad_param(SHAPE(10, 5))});
    grad_check(patch_embed, NULL, 4,
               (lv_tensor *[]){grad_frozen(SHAPE(1, 1, 6, 6)), grad_frozen(SHAPE(7, 1, 3, 3)),
                               grad_param(SHAPE(7)), grad_frozen(SHAPE(5, 7))});
}
