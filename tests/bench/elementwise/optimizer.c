/* SPDX-License-Identifier: Apache-2.0
 *
 * What follows the backward pass: all f32, but for the working copy that a bf16 run has.
 */
#include "autograd/kernels/parallel.h"
#include "optim/adamw.h"
#include "tests/bench/elementwise/bench.h"

enum { W, M, V, GRAD };

/* As many as make an f32 array as large as those of other rows. */
static int64_t count(const bench *b)
{
    return b->T * b->H * (int64_t)lv_dtype_bytes(b->dtype) / (int64_t)sizeof(lv_real);
}

static lv_tensor *array(bench *b, lv_dtype dtype)
{
    int64_t n = count(b);
    lv_tensor *x = lv_tape_tensor(b->tape, dtype, 1, &n);
    bench_refill(x->data, dtype, n);
    return x;
}

static void start_adamw(bench *b)
{
    const double n = (double)count(b);
    for (int i = W; i <= GRAD; i++) {
        b->in[i] = array(b, LV_F32);
    }
    b->out = array(b, LV_BF16);
    b->read_bytes = n * sizeof(lv_real);
    b->updated_bytes = 3 * n * sizeof(lv_real);
    b->written_bytes = b->dtype == LV_BF16 ? n * sizeof(uint16_t) : 0;
}

static void before_adamw(bench *b)
{
    const int64_t n = count(b);
    b->n_results = 0;
    for (int i = W; i <= V; i++) {
        bench_refill(b->in[i]->data, LV_F32, n);
        bench_result(b, b->in[i]->data, LV_F32, n);
    }
    lv_real *v = b->in[V]->data;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        v[i] *= v[i];
    }
    if (b->dtype == LV_BF16) {
        bench_result(b, b->out->data, LV_BF16, n);
    }
}

static void adamw(bench *b)
{
    static const lv_adamw hyper = {
        .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1};
    lv_adamw_step(b->in[W]->data, b->in[M]->data, b->in[V]->data,
                  b->dtype == LV_BF16 ? b->out->data : NULL, b->in[GRAD]->data, count(b), &hyper,
                  0.5, 7);
}

static void start_norm(bench *b)
{
    b->in[0] = array(b, LV_F32);
    b->out = lv_tape_tensor(b->tape, LV_F32, 1, (int64_t[]){1});
    b->read_bytes = (double)count(b) * sizeof(lv_real);
}

static void norm(bench *b)
{
    *lv_tensor_real(b->out) = (lv_real)lv_sum_squares(b->in[0]->data, count(b));
    b->n_results = 0;
    bench_result(b, b->out->data, LV_F32, 1);
}

const bench_row bench_optimizer[] = {
    {"AdamW", start_adamw, before_adamw, adamw},
    {"gradient norm", start_norm, NULL, norm},
    {0},
};
