/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/gradients/grad_check.h"

static lv_tensor *attention(lv_tape *tape, lv_tensor *const *in, const void *context)
{
    return lv_attention(tape, in[0], in[1], in[2], context);
}

static void check(const lv_attention_layout *l)
{
    int64_t Tq = l->q_start[l->n_sequences];
    int64_t Tk = l->k_start[l->n_sequences];
    lv_tensor *in[] = {grad_param(SHAPE(Tq, l->n_heads * l->head_dim)),
                       grad_param(SHAPE(Tk, l->n_kv_heads * l->head_dim)),
                       grad_param(SHAPE(Tk, l->n_kv_heads * l->head_dim))};
    grad_check(attention, l, 3, in);
}

void grad_case_attention(void)
{
    const int64_t three[] = {0, 5, 6, 13};
    lv_attention_layout l = {.n_sequences = 3,
                             .q_start = three,
                             .k_start = three,
                             .n_heads = 2,
                             .n_kv_heads = 2,
                             .head_dim = 3,
                             .causal = true,
                             .scale = 0.577};
    check(&l);
    l.causal = false;
    check(&l);
    l.n_heads = 4; /* two heads share one */
    l.causal = true;
    check(&l);

    const int64_t longer[] = {0, 9, 10, 18}; /* a cache of earlier keys */
    l.k_start = longer;
    check(&l);
    l.causal = false;
    check(&l);

    const int64_t fewer[] = {0, 2, 3, 5}; /* cross-attention */
    l.k_start = fewer;
    check(&l);

    const int64_t wide[] = {0, 70, 137}; /* more than one tile of queries */
    l = (lv_attention_layout){.n_sequences = 2,
                              .q_start = wide,
                              .k_start = wide,
                              .n_heads = 1,
                              .n_kv_heads = 1,
                              .head_dim = 2,
                              .causal = true,
                              .scale = 0.7};
    check(&l);

    const int64_t queries[] = {0, 66}; /* and of keys */
    const int64_t keys[] = {0, 300};
    l.n_sequences = 1;
    l.q_start = queries;
    l.k_start = keys;
    l.head_dim = 1;
    check(&l);

    l.head_dim = 2;
    l.n_sequences = 2;
    l.q_start = wide;
    l.k_start = wide;
    lv_tensor *only_v[] = {grad_frozen(SHAPE(137, 2)), grad_frozen(SHAPE(137, 2)),
                           grad_param(SHAPE(137, 2))};
    grad_check(attention, &l, 3, only_v);
    lv_tensor *only_k[] = {grad_frozen(SHAPE(137, 2)), grad_param(SHAPE(137, 2)),
                           grad_frozen(SHAPE(137, 2))};
    grad_check(attention, &l, 3, only_k);
    lv_tensor *only_q[] = {grad_param(SHAPE(137, 2)), grad_frozen(SHAPE(137, 2)),
                           grad_frozen(SHAPE(137, 2))};
    grad_check(attention, &l, 3, only_q);
}
