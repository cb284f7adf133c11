/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/gradients/grad_check.h"
#include "tests/support/visible.h"

static lv_tensor *attention(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    return lv_attention(tape, in[0], in[1], in[2], context);
}

static void check(const lv_attention_layout *l, int64_t Tq, int64_t Tk)
{
    lv_tensor *in[] = {grad_param(SHAPE(Tq, l->n_heads * l->head_dim)),
                       grad_param(SHAPE(Tk, l->n_kv_heads * l->head_dim)),
                       grad_param(SHAPE(Tk, l->n_kv_heads * l->head_dim))};
    grad_check(attention, l, 3, in);
}

static void each_way_to_fill_what_rows_see(double softcap)
{
    for (int kind = 0; kind < N_VISIBLE; kind++) {
        visible_rows rows = visible_fill((visible_kind)kind, 9);
        lv_attention_layout l = {.visible = rows.at,
                                 .n_heads = 2,
                                 .n_kv_heads = 2,
                                 .head_dim = 3,
                                 .scale = 0.577,
                                 .softcap = softcap};
        check(&l, rows.Tq, rows.Tk);
        l.n_heads = 4; /* two heads share one */
        l.head_dim = 2;
        check(&l, rows.Tq, rows.Tk);
    }
}

void grad_case_attention(void)
{
    each_way_to_fill_what_rows_see(0);
    each_way_to_fill_what_rows_see(1.3);

    visible_rows rows = {.Tq = 66,
                         .Tk = 300}; /* more than one block of rows, than a tile of keys */
    lv_visible_causal(rows.at, 1, (const int64_t[]){0, 66}, &(const lv_range){0, 300});
    lv_attention_layout l = {
        .visible = rows.at, .n_heads = 1, .n_kv_heads = 1, .head_dim = 1, .scale = 0.7};
    check(&l, rows.Tq, rows.Tk);
    for (int64_t t = 0; t < rows.Tq; t++) { /* rows that see nothing of the first tile */
        rows.at[t].begin = rows.at[t].end - (t < 50 ? 7 : 40);
    }
    check(&l, rows.Tq, rows.Tk);

    const int64_t wide[] = {0, 70, 137};
    lv_visible_causal(rows.at, 2, wide, (const lv_range[]){{0, 70}, {70, 137}});
    l.head_dim = 2;
    lv_tensor *only_v[] = {grad_frozen(SHAPE(137, 2)), grad_frozen(SHAPE(137, 2)),
                           grad_param(SHAPE(137, 2))};
    lv_tensor *only_k[] = {grad_frozen(SHAPE(137, 2)), grad_param(SHAPE(137, 2)),
                           grad_frozen(SHAPE(137, 2))};
    lv_tensor *only_q[] = {grad_param(SHAPE(137, 2)), grad_frozen(SHAPE(137, 2)),
                           grad_frozen(SHAPE(137, 2))};
    for (int capped = 0; capped < 2; capped++) {
        l.softcap = capped ? 0.9 : 0;
        grad_check(attention, &l, 3, only_v);
        grad_check(attention, &l, 3, only_k);
        grad_check(attention, &l, 3, only_q);
    }
}
