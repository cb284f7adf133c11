/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/gradients/grad_check.h"

static lv_tensor *gelu(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    (void)context;
    return lv_gelu(tape, in[0]);
}

void grad_case_gelu(void)
{
    grad_check(gelu, NULL, 1, (lv_tensor *[]){grad_param(SHAPE(7, 19))});
}

static lv_tensor *quick_gelu(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    (void)context;
    return lv_quick_gelu(tape, in[0]);
}

void grad_case_quick_gelu(void)
{
    grad_check(quick_gelu, NULL, 1, (lv_tensor *[]){grad_param(SHAPE(7, 19))});
    grad_check(quick_gelu, NULL, 1, (lv_tensor *[]){grad_param(SHAPE(1))});
}

static lv_tensor *silu_mul(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    (void)context;
    return lv_silu_mul(tape, in[0], in[1]);
}

void grad_case_silu_mul(void)
{
    grad_check(silu_mul, NULL, 2,
               (lv_tensor *[]){grad_param(SHAPE(5, 13)), grad_param(SHAPE(5, 13))});
    grad_check(silu_mul, NULL, 2,
               (lv_tensor *[]){grad_param(SHAPE(2, 3)), grad_frozen(SHAPE(2, 3))});
    grad_check(silu_mul, NULL, 2,
               (lv_tensor *[]){grad_frozen(SHAPE(2, 3)), grad_param(SHAPE(2, 3))});
}

typedef struct {
    const int32_t *position;
    lv_rope_table table;
} rope_context;

static lv_tensor *rope(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    const rope_context *rope_of = context;
    lv_tensor *x = lv_gelu(tape, in[0]); /* an activation, which may be overwritten */
    return lv_rope(tape, x, rope_of->position, &rope_of->table);
}

void grad_case_rope(void)
{
    lv_real cosine[64], sine[64];
    rope_context context = {
        .position = (int32_t[]){0, 1, 2, 3, 0, 1, 15},
        .table = {.n_positions = 16, .head_dim = 8, .cos = cosine, .sin = sine}};
    lv_rope_table_fill(&context.table, 10000);
    grad_check(rope, &context, 1, (lv_tensor *[]){grad_param(SHAPE(7, 24))});
    context.table.head_dim = 2;
    lv_rope_table_fill(&context.table, 500);
    grad_check(rope, &context, 1, (lv_tensor *[]){grad_param(SHAPE(3, 6))});
}
