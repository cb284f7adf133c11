/* SPDX-License-Identifier: Apache-2.0
 *
 * attention [f32]: GFLOP/s of attention, forward and forward with backward, and their share of
 * the rate of a large matrix product of the same dtype (bf16), timed in turns, medians. Only the
 * visible pairs of query and key count, the scores formed again in the backward pass do not. A
 * small case is verified against plain loops first. Exit 0, or 1 if it is wrong.
 */
#include "autograd/kernels/gemm.h"
#include "autograd/ops.h"
#include "autograd/tape_internal.h"
#include "tests/support/reference.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 7, GEMM = 2048 };

typedef struct {
    const char *name;
    int64_t n_sequences, length, n_heads, n_kv_heads, head_dim;
    bool causal;
} bench_case;

static const bench_case cases[] = {
    {"110M, 4 x 320", 4, 320, 12, 12, 64, true},    {"110M, 16 x 320", 16, 320, 12, 12, 64, true},
    {"CLIP-L, 4 x 577", 4, 577, 16, 16, 64, false}, {"TinyLlama, 4 x 640", 4, 640, 32, 4, 64, true},
    {"7B, 1 x 2048", 1, 2048, 32, 32, 128, true},
};

static lv_tape *tape;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The gradient that reaches the output is the output: anything will do. */
static void same_backward(lv_tape *on, const lv_node *node)
{
    lv_tensor *y = node->in[0];
    lv_grad dy = lv_tape_grad(on, y);
    memcpy(dy.data, y->data, (size_t)lv_tensor_count(y) * lv_dtype_bytes(y->dtype));
}

static double run(const lv_attention_layout *l, lv_tensor *const x[3], bool backward)
{
    static const lv_op same = {.name = "same", .backward = same_backward};
    bool recording = lv_tape_recording_set(tape, backward);
    double flop = lv_tape_flop(tape);
    for (int i = 0; i < 3; i++) {
        x[i]->grad = NULL;
        x[i]->grad_begun = false;
    }
    lv_tensor *o = lv_attention(tape, x[0], x[1], x[2], l);
    if (backward) {
        lv_tensor *loss = lv_tape_tensor(tape, LV_F32, 1, (int64_t[]){1});
        lv_tape_record(tape, &same, loss, 1, &o, NULL);
        lv_backward(tape, loss);
    }
    lv_tape_recording_set(tape, recording);
    return lv_tape_flop(tape) - flop;
}

static void gemm(lv_tensor *c, const lv_tensor *a, const lv_tensor *b)
{
    lv_gemm(&(lv_gemm_args){.M = GEMM,
                            .N = GEMM,
                            .K = GEMM,
                            .A = {a->data, a->dtype, GEMM, false},
                            .B = {b->data, b->dtype, GEMM, true},
                            .C = c->data,
                            .ldc = GEMM});
}

static bool is_right(lv_dtype dtype)
{
    const int64_t start[] = {0, 70, 200};
    lv_range visible[200];
    const attention_shape of =
        attention_shape_of(&(attention_case){2, start, start, 4, 2, 64, true, 0.125}, visible);
    lv_tensor *x[3] = {reference_random(tape, dtype, 200, 256, true, 1),
                       reference_random(tape, dtype, 200, 128, true, 2),
                       reference_random(tape, dtype, 200, 128, true, 3)};
    double *values[3];
    for (int i = 0; i < 3; i++) {
        values[i] = reference_values(x[i]->data, dtype, lv_tensor_count(x[i]));
    }
    double *zero = calloc(200 * 256, sizeof *zero);
    attention_reference r = reference_attention(&of, values[0], values[1], values[2], zero);
    lv_tensor *o = lv_attention(tape, x[0], x[1], x[2], &of.layout);
    double distance = reference_distance(o->data, dtype, r.o, 200 * 256);
    attention_reference_free(&r);
    free(zero);
    for (int i = 0; i < 3; i++) {
        free(values[i]);
    }
    lv_tape_reset(tape);
    return distance < (dtype == LV_BF16 ? 0x1p-8 : 1e-6);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double x[ROUNDS])
{
    qsort(x, ROUNDS, sizeof *x, by_size);
    return x[ROUNDS / 2];
}

/* GFLOP/s of as many runs as take a tenth of a second. */
static double rate(const lv_attention_layout *l, lv_tensor *const x[3], bool backward)
{
    double flop = 0, start = seconds(), now;
    do {
        size_t mark = lv_tape_mark(tape);
        flop += run(l, x, backward);
        lv_tape_release(tape, mark);
        now = seconds();
    } while (now - start < 0.1);
    return flop / (now - start) * 1e-9;
}

static double gemm_rate(lv_tensor *c, const lv_tensor *a, const lv_tensor *b)
{
    double start = seconds();
    gemm(c, a, b);
    return 2.0 * GEMM * GEMM * GEMM / (seconds() - start) * 1e-9;
}

static void bench(const bench_case *at, lv_dtype dtype)
{
    int64_t start[64];
    for (int64_t b = 0; b <= at->n_sequences; b++) {
        start[b] = b * at->length;
    }
    int64_t T = start[at->n_sequences];
    const attention_case of = {at->n_sequences, start,        start,      at->n_heads,
                               at->n_kv_heads,  at->head_dim, at->causal, 0.1};
    lv_attention_layout l =
        attention_shape_of(&of, lv_tape_alloc(tape, (size_t)T * sizeof(lv_range))).layout;
    lv_tensor *x[3] = {reference_random(tape, dtype, T, at->n_heads * at->head_dim, true, 1),
                       reference_random(tape, dtype, T, at->n_kv_heads * at->head_dim, true, 2),
                       reference_random(tape, dtype, T, at->n_kv_heads * at->head_dim, true, 3)};
    lv_tensor *a = reference_random(tape, dtype, GEMM, GEMM, true, 4),
              *b = reference_random(tape, dtype, GEMM, GEMM, true, 5);
    lv_tensor *c = lv_tape_tensor(tape, LV_F32, 2, a->shape);
    double forward[ROUNDS], both[ROUNDS], product[ROUNDS], share[ROUNDS], share_both[ROUNDS];
    for (int i = -1; i < ROUNDS; i++) { /* one round to warm up */
        int to = i < 0 ? 0 : i;
        product[to] = gemm_rate(c, a, b);
        forward[to] = rate(&l, x, false);
        both[to] = rate(&l, x, true);
        share[to] = forward[to] / product[to];
        share_both[to] = both[to] / product[to];
    }
    printf("%-20s %8.0f %8.0f %5.0f%% %8.0f %5.0f%%\n", at->name, median(product), median(forward),
           100 * median(share), median(both), 100 * median(share_both));
    lv_tape_reset(tape);
}

int main(int argc, char **argv)
{
    lv_dtype dtype = argc > 1 && strcmp(argv[1], "f32") == 0 ? LV_F32 : LV_BF16;
    lv_blas_start();
    if (lv_tape_create(&tape, 0) < 0 || !is_right(dtype)) {
        fprintf(stderr, "attention: wrong results\n");
        return 1;
    }
    printf("%s, %d threads, GFLOP/s\n", lv_dtype_name(dtype), omp_get_max_threads());
    printf("%-20s %8s %8s %6s %8s %6s\n", "", "product", "forward", "share", "both", "share");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench(&cases[i], dtype);
    }
    lv_tape_destroy(&tape);
    return 0;
}
