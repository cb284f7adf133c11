/* SPDX-License-Identifier: Apache-2.0
 *
 * Ops that choose rows. */
#include "tests/gradients/grad_check.h"

typedef struct {
    const int32_t *index;
    int64_t n;
} rows;

static lv_tensor *embedding(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    const rows *ids = context;
    return lv_embedding(tape, in[0], ids->index, ids->n);
}

void grad_case_embedding(void)
{
    rows ids = {(int32_t[]){3, 0, 3, 3, 6}, 5};
    grad_check(embedding, &ids, 1, (lv_tensor *[]){grad_param(SHAPE(7, 33))});
    grad_check(embedding, &ids, 1, (lv_tensor *[]){grad_param(SHAPE(8, 1))});
}

static lv_tensor *select_rows(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    const rows *chosen = context;
    return lv_select_rows(tape, in[0], chosen->index, chosen->n);
}

void grad_case_select_rows(void)
{
    rows chosen = {(int32_t[]){4, 1, 1, 0}, 4};
    grad_check(select_rows, &chosen, 1, (lv_tensor *[]){grad_param(SHAPE(5, 17))});
    chosen.n = 1;
    grad_check(select_rows, &chosen, 1, (lv_tensor *[]){grad_param(SHAPE(5, 3))});
}

static lv_tensor *splice(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    const rows *source = context;
    return lv_splice(tape, in[0], in[1], source->index, source->n);
}

void grad_case_splice(void)
{
    rows both = {(int32_t[]){0, -1, -2, -3, 1, 2, -2, 0}, 8};
    grad_check(splice, &both, 2,
               (lv_tensor *[]){grad_param(SHAPE(4, 19)), grad_param(SHAPE(3, 19))});
    grad_check(splice, &both, 2,
               (lv_tensor *[]){grad_frozen(SHAPE(4, 5)), grad_param(SHAPE(3, 5))});
    grad_check(splice, &both, 2,
               (lv_tensor *[]){grad_param(SHAPE(3, 5)), grad_frozen(SHAPE(4, 5))});
    rows text = {(int32_t[]){2, 1, 0}, 3};
    grad_check(splice, &text, 2, (lv_tensor *[]){grad_param(SHAPE(3, 4)), NULL});
    rows image = {(int32_t[]){-2, -1}, 2};
    grad_check(splice, &image, 2, (lv_tensor *[]){NULL, grad_param(SHAPE(2, 4))});
}
