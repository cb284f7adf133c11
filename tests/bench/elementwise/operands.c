/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/convert.h"
#include "autograd/rng.h"
#include "tests/bench/elementwise/bench.h"

enum { PERIOD = 4099 }; /* values repeat: drawing 2^24 of them takes longer than all runs */

static void fill(void *data, lv_dtype dtype, int64_t n, uint64_t seed, double offset, double scale)
{
    lv_real period[PERIOD];
    for (uint64_t i = 0; i < PERIOD; i++) {
        period[i] = (lv_real)(offset + scale * lv_random_normal(seed, 0, i));
    }
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < n; at += PERIOD) {
        int64_t m = n - at < PERIOD ? n - at : PERIOD;
        lv_convert_from_real(lv_element(data, dtype, at), dtype, period, m);
    }
}

lv_tensor *bench_random(bench *b, uint64_t seed, double scale)
{
    lv_tensor *x = lv_tape_tensor(b->tape, b->dtype, 2, (int64_t[]){b->T, b->H});
    fill(x->data, b->dtype, b->T * b->H, seed, 0, scale);
    return x;
}

lv_tensor *bench_weight(bench *b, uint64_t seed)
{
    lv_tensor *w = lv_tape_tensor(b->tape, LV_F32, 1, &b->H);
    fill(w->data, LV_F32, b->H, seed, 1, 0.2);
    w->is_param = true;
    return w;
}

void bench_refill(void *data, lv_dtype dtype, int64_t n)
{
    fill(data, dtype, n, 99, 0, 0.1);
}

void bench_grad(bench *b, lv_tensor *x, bool begun)
{
    int64_t n = lv_tensor_count(x);
    if (!x->grad) {
        x->grad = lv_tape_alloc(b->tape, (size_t)n * lv_dtype_bytes(lv_grad_dtype(x)));
        x->grad_lent = true; /* not the tape's to take back */
    }
    bench_refill(x->grad, lv_grad_dtype(x), n);
    x->requires_grad = true;
    x->grad_begun = begun;
}

void bench_result(bench *b, void *data, lv_dtype dtype, int64_t n)
{
    b->result[b->n_results++] = (bench_array){data, dtype, n};
}

void bench_moves(bench *b, int read, int written, int updated)
{
    double bytes = (double)(b->T * b->H) * (double)lv_dtype_bytes(b->dtype);
    b->read_bytes = read * bytes;
    b->written_bytes = written * bytes;
    b->updated_bytes = updated * bytes;
}
