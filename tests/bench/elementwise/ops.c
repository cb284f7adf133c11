/* SPDX-License-Identifier: Apache-2.0
 *
 * Ops of the tape: each forward, and each backward into gradients that have begun (added) or not.
 */
#include "autograd/ops.h"
#include "tests/bench/elementwise/bench.h"

enum { HEAD_DIM = 64, N_POSITIONS = 512 };

/* ---- forward and backward of any op; b->out is its output ---- */

static void forget(bench *b)
{
    if (b->mark == 0) {
        b->mark = lv_tape_mark(b->tape);
    }
    lv_tape_forget(b->tape, NULL);
    lv_tape_release(b->tape, b->mark);
    b->n_results = 0;
}

static void result_is_out(bench *b)
{
    bench_result(b, b->out->data, b->out->dtype, lv_tensor_count(b->out));
}

/* After the forward pass: dy, and gradients of the n activations that came in. */
static void before_backward(bench *b, int n, bool begun)
{
    for (int i = 0; i < n; i++) {
        bench_grad(b, b->in[i], begun);
        bench_result(b, b->in[i]->grad, b->in[i]->dtype, lv_tensor_count(b->in[i]));
    }
    lv_grad dy = lv_tape_grad(b->tape, b->out);
    bench_refill(dy.data, dy.dtype, lv_tensor_count(b->out));
}

static void run_backward(bench *b)
{
    lv_tape_backward_to(b->tape, NULL);
}

/* x, and what the op takes beside it. */
static void start_inputs(bench *b, int n)
{
    for (int i = 0; i < n; i++) {
        b->in[i] = bench_random(b, (uint64_t)i, 1);
        bench_grad(b, b->in[i], false);
    }
}

/* ---- norms ---- */

static void start_norm(bench *b)
{
    start_inputs(b, 1);
    b->in[1] = bench_weight(b, 8);
    b->in[2] = bench_weight(b, 9);
    bench_moves(b, 1, 1, 0);
}

static void start_norm_write(bench *b)
{
    start_norm(b);
    bench_moves(b, 2, 1, 0);
}

static void start_norm_add(bench *b)
{
    start_norm(b);
    bench_moves(b, 2, 0, 1);
}

static void rmsnorm(bench *b)
{
    b->out = lv_rmsnorm(b->tape, b->in[0], b->in[1], 1e-5);
    result_is_out(b);
}

static void rmsnorm_then_write(bench *b)
{
    forget(b);
    b->out = lv_rmsnorm(b->tape, b->in[0], b->in[1], 1e-5);
    before_backward(b, 1, false);
}

static void rmsnorm_then_add(bench *b)
{
    forget(b);
    b->out = lv_rmsnorm(b->tape, b->in[0], b->in[1], 1e-5);
    before_backward(b, 1, true);
}

static void layernorm(bench *b)
{
    b->out = lv_layernorm(b->tape, b->in[0], b->in[1], b->in[2], 1e-5);
    result_is_out(b);
}

static void layernorm_then_add(bench *b)
{
    forget(b);
    b->out = lv_layernorm(b->tape, b->in[0], b->in[1], b->in[2], 1e-5);
    before_backward(b, 1, true);
}

const bench_row bench_norms[] = {
    {"rmsnorm forward", start_norm, forget, rmsnorm},
    {"rmsnorm backward, written", start_norm_write, rmsnorm_then_write, run_backward},
    {"rmsnorm backward, added", start_norm_add, rmsnorm_then_add, run_backward},
    {"layernorm forward", start_norm, forget, layernorm},
    {"layernorm backward, added", start_norm_add, layernorm_then_add, run_backward},
    {0},
};

/* ---- rotary ---- */

/* in[1]: the positions; in[2] and in[3]: cos and sin. */
static void start_rope(bench *b)
{
    start_inputs(b, 1);
    int32_t *position = lv_tape_alloc(b->tape, (size_t)b->T * sizeof *position);
    for (int64_t t = 0; t < b->T; t++) {
        position[t] = (int32_t)(t % N_POSITIONS);
    }
    b->in[1] = lv_tape_view(b->tape, position, LV_F32, 1, &b->T);
    lv_rope_table *table = lv_tape_alloc(b->tape, sizeof *table);
    size_t bytes = (size_t)N_POSITIONS * (HEAD_DIM / 2) * sizeof *table->cos;
    *table = (lv_rope_table){N_POSITIONS, HEAD_DIM, lv_tape_alloc(b->tape, bytes),
                             lv_tape_alloc(b->tape, bytes)};
    lv_rope_table_fill(table, 10000);
    b->in[2] = lv_tape_view(b->tape, table, LV_F32, 1, &b->T);
    bench_moves(b, 0, 0, 1);
}

static void before_rope(bench *b)
{
    forget(b);
    bench_refill(b->in[0]->data, b->dtype, b->T * b->H);
}

static void rope(bench *b)
{
    b->out = lv_rope(b->tape, b->in[0], b->in[1]->data, b->in[2]->data);
    result_is_out(b);
}

/* Its gradient is turned where it is and becomes that of the input. */
static void before_rope_backward(bench *b)
{
    before_rope(b);
    b->in[0]->grad = NULL;
    b->in[0]->grad_lent = b->in[0]->grad_begun = false;
    b->out = lv_rope(b->tape, b->in[0], b->in[1]->data, b->in[2]->data);
    lv_grad dy = lv_tape_grad(b->tape, b->out);
    bench_refill(dy.data, dy.dtype, b->T * b->H);
}

static void rope_backward(bench *b)
{
    lv_tape_backward_to(b->tape, NULL);
    bench_result(b, b->in[0]->grad, b->dtype, b->T * b->H);
}

const bench_row bench_rotary[] = {
    {"rotary forward", start_rope, before_rope, rope},
    {"rotary backward", start_rope, before_rope_backward, rope_backward},
    {0},
};

/* ---- activations ---- */

static void start_activation(bench *b)
{
    start_inputs(b, 1);
    bench_moves(b, 1, 1, 0);
}

static void start_activation_backward(bench *b)
{
    start_inputs(b, 1);
    bench_moves(b, 2, 1, 0);
}

static void gelu(bench *b)
{
    b->out = lv_gelu(b->tape, b->in[0]);
    result_is_out(b);
}

static void before_gelu_backward(bench *b)
{
    forget(b);
    b->out = lv_gelu(b->tape, b->in[0]);
    before_backward(b, 1, false);
}

static void quick_gelu(bench *b)
{
    b->out = lv_quick_gelu(b->tape, b->in[0]);
    result_is_out(b);
}

static void before_quick_gelu_backward(bench *b)
{
    forget(b);
    b->out = lv_quick_gelu(b->tape, b->in[0]);
    before_backward(b, 1, false);
}

static void start_silu_mul(bench *b)
{
    start_inputs(b, 2);
    bench_moves(b, 2, 1, 0);
}

static void start_silu_mul_backward(bench *b)
{
    start_inputs(b, 2);
    bench_moves(b, 3, 2, 0);
}

static void silu_mul(bench *b)
{
    b->out = lv_silu_mul(b->tape, b->in[0], b->in[1]);
    result_is_out(b);
}

static void before_silu_mul_backward(bench *b)
{
    forget(b);
    b->out = lv_silu_mul(b->tape, b->in[0], b->in[1]);
    before_backward(b, 2, false);
}

const bench_row bench_activations[] = {
    {"silu_mul forward", start_silu_mul, forget, silu_mul},
    {"silu_mul backward", start_silu_mul_backward, before_silu_mul_backward, run_backward},
    {"gelu forward", start_activation, forget, gelu},
    {"gelu backward", start_activation_backward, before_gelu_backward, run_backward},
    {"quick_gelu forward", start_activation, forget, quick_gelu},
    {"quick_gelu backward", start_activation_backward, before_quick_gelu_backward, run_backward},
    {0},
};
