/* SPDX-License-Identifier: Apache-2.0
 *
 * The f32 build's ops against plain loops in double. */
#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/gemm.h"
#include "autograd/ops.h"
#include "autograd/rng.h"
#include "tests/support/reference.h"
#include "tests/support/visible.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static lv_tape *tape;

/* Random values in the tape's arena; gradients taken by the tape, kept until it is reset. */
static lv_tensor *random_tensor(int64_t rows, int64_t columns, bool requires_grad, uint64_t seed)
{
    lv_tensor *x = lv_tape_tensor(tape, LV_F32, 2, (int64_t[]){rows, columns});
    for (int64_t i = 0; i < rows * columns; i++) {
        lv_tensor_real(x)[i] = (lv_real)lv_random_normal(seed, 0, (uint64_t)i);
    }
    x->requires_grad = requires_grad;
    return x;
}

static double *zeros(int64_t n)
{
    double *x = calloc((size_t)n + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

static void assert_near(const lv_real *found, const double *expected, int64_t n, double tolerance)
{
    double error = 0;
    double norm = 0;
    for (int64_t i = 0; i < n; i++) {
        error += ((double)found[i] - expected[i]) * ((double)found[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    if (!(sqrt(error) <= tolerance * sqrt(norm))) {
        fail_msg("off by %.3g of %.3g", sqrt(error), sqrt(norm));
    }
}

/* The gradient that reaches an op's output, as an op of the test's own: d sum(y dy) / dy. */
static void given_backward(lv_tape *on, const lv_node *node)
{
    const lv_tensor *dy = node->saved;
    lv_real *to = lv_tape_grad_cleared(on, node->in[0]).data;
    for (int64_t i = 0; i < lv_tensor_count(dy); i++) {
        to[i] += lv_tensor_real(dy)[i];
    }
}

static void backward_from(lv_tensor *y, lv_tensor *dy)
{
    static const lv_op given = {.name = "given", .backward = given_backward};
    lv_tensor *loss = lv_tape_tensor(tape, LV_F32, 1, (int64_t[]){1});
    lv_tape_record(tape, &given, loss, 1, &y, dy);
    lv_backward(tape, loss);
}

static void check_shape(const attention_shape *of)
{
    const lv_attention_layout *l = &of->layout;
    int64_t q_columns = l->n_heads * l->head_dim;
    int64_t k_columns = l->n_kv_heads * l->head_dim;
    lv_tensor *q = random_tensor(of->Tq, q_columns, true, 1);
    lv_tensor *k = random_tensor(of->Tk, k_columns, true, 2);
    lv_tensor *v = random_tensor(of->Tk, k_columns, true, 3);
    lv_tensor *dy = random_tensor(of->Tq, q_columns, false, 4);
    const lv_tensor *const in[] = {q, k, v, dy};
    double *x[4];
    for (int i = 0; i < 4; i++) {
        x[i] = reference_values(in[i]->data, LV_F32, lv_tensor_count(in[i]));
    }
    attention_reference r = reference_attention(of, x[0], x[1], x[2], x[3]);
    lv_tensor *o = lv_attention(tape, q, k, v, l);
    assert_near(lv_tensor_real(o), r.o, lv_tensor_count(q), 1e-6);
    backward_from(o, dy);
    assert_near(q->grad, r.dq, lv_tensor_count(q), 2e-6);
    assert_near(k->grad, r.dk, lv_tensor_count(k), 2e-6);
    assert_near(v->grad, r.dv, lv_tensor_count(k), 2e-6);
    lv_tape_reset(tape);
    attention_reference_free(&r);
    for (int i = 0; i < 4; i++) {
        free(x[i]);
    }
}

static void check_attention(const attention_case *of)
{
    lv_range visible[512];
    attention_shape shape = attention_shape_of(of, visible);
    check_shape(&shape);
}

static void attention_agrees_with_plain_loops(void **state)
{
    (void)state;
    const int64_t lengths[] = {0, 1, 64, 193, 393}; /* 1, 63, 129, 200 */
    attention_case l = {4, lengths, lengths, 4, 4, 24, true, 0.2};
    check_attention(&l);
    l.causal = false;
    check_attention(&l);
    l.n_kv_heads = 2;
    l.causal = true;
    check_attention(&l);
    const int64_t queries[] = {0, 1, 2, 67};
    const int64_t keys[] = {0, 5000, 5001, 5167}; /* decoding over a cache of 4999 */
    l = (attention_case){3, queries, keys, 2, 1, 16, true, 0.25};
    check_attention(&l);
    l.causal = false;
    check_attention(&l);
    const int64_t few[] = {0, 3, 4, 7}; /* more queries than keys */
    l.k_start = few;
    check_attention(&l);
    const int64_t nothing[] = {0, 0, 5}; /* a sequence without queries */
    const int64_t some[] = {0, 3, 8};
    l = (attention_case){2, nothing, some, 2, 1, 8, true, 0.3};
    check_attention(&l);
}

static void attention_over_any_keys_and_with_a_softcap_agrees_with_plain_loops(void **state)
{
    (void)state;
    for (int kind = 0; kind < N_VISIBLE; kind++) {
        visible_rows rows = visible_fill((visible_kind)kind, kind == VISIBLE_ANY ? 100 : 130);
        attention_shape of = {{rows.at, 4, 2, 24, 0.2, 0}, rows.Tq, rows.Tk};
        check_shape(&of);
        of.layout.softcap = 1.5;
        check_shape(&of);
    }
}

static void attention_passes_nan_to_the_rows_that_see_it_alone(void **state)
{
    (void)state;
    const int64_t start[] = {0, 100, 150};
    lv_range visible[150];
    const attention_shape of =
        attention_shape_of(&(attention_case){2, start, start, 1, 1, 4, true, 0.5}, visible);
    lv_tensor *q = random_tensor(150, 4, false, 1);
    lv_tensor *k = random_tensor(150, 4, false, 2);
    lv_tensor *v = random_tensor(150, 4, false, 3);
    lv_tensor_real(k)[70 * 4 + 1] = NAN;
    lv_tensor *o = lv_attention(tape, q, k, v, &of.layout);
    for (int t = 0; t < 150; t++) {
        bool sees = t >= 70 && t < 100;
        assert_true(isnan(lv_tensor_real(o)[t * 4]) == sees);
    }
}

static void attention_takes_scores_far_beyond_the_range_of_exp(void **state)
{
    (void)state;
    const int64_t start[] = {0, 130};
    lv_range visible[130];
    const attention_shape of =
        attention_shape_of(&(attention_case){1, start, start, 1, 1, 4, false, 1000}, visible);
    lv_tensor *q = random_tensor(130, 4, false, 1);
    lv_tensor *k = random_tensor(130, 4, false, 2);
    lv_tensor *v = random_tensor(130, 4, false, 3);
    lv_tensor *o = lv_attention(tape, q, k, v, &of.layout);
    for (int t = 0; t < 130 * 4; t++) {
        assert_true(isfinite(lv_tensor_real(o)[t]));
    }
}

static void check_cross_entropy(int64_t R, int64_t V, int64_t H, bool bf16)
{
    lv_tensor *x = random_tensor(R, H, true, 1);
    lv_tensor *w = random_tensor(V, H, !bf16, 2);
    if (bf16) {
        char *narrow = lv_tape_alloc(tape, (size_t)(V * H) * 2 + 1);
        lv_convert_from_real(narrow + 1, LV_BF16, w->data, V * H);
        w = lv_tape_view(tape, narrow + 1, LV_BF16, 2, w->shape);
    }
    int32_t *labels = lv_tape_alloc(tape, (size_t)R * sizeof *labels);
    lv_real *rows = lv_tape_alloc(tape, (size_t)R * sizeof *rows);
    for (int64_t r = 0; r < R; r++) {
        labels[r] = (int32_t)(r == 0 ? V - 1 : r * 7919 % V);
    }
    double *xs = reference_values(x->data, LV_F32, R * H);
    double *ws = reference_values(w->data, w->dtype, V * H);
    loss_reference expected = reference_cross_entropy(xs, ws, labels, R, V, H);
    lv_tensor *loss = lv_cross_entropy(tape, x, w, labels, rows);
    assert_near(lv_tensor_real(loss), &expected.loss, 1, 1e-6);
    assert_near(rows, expected.rows, R, 1e-6);
    lv_backward(tape, loss);
    assert_near(x->grad, expected.dx, R * H, 2e-6);
    if (!bf16) {
        assert_near(w->grad, expected.dw, V * H, 2e-6);
    }
    lv_tape_reset(tape);
    loss_reference_free(&expected);
    free(xs);
    free(ws);
}

static void cross_entropy_agrees_with_plain_loops_over_all_tiles(void **state)
{
    (void)state;
    check_cross_entropy(1, 11, 5, false);
    check_cross_entropy(33, 2050, 20, false);
    check_cross_entropy(1100, 2500, 6, false); /* two tiles of rows, three of words */
    check_cross_entropy(1100, 2500, 6, true);
}

static void cross_entropy_of_large_logits_is_finite_and_of_nan_is_nan(void **state)
{
    (void)state;
    const int32_t labels[] = {0, 1};
    lv_tensor *x = random_tensor(2, 3, false, 1);
    lv_tensor *w = random_tensor(200, 3, false, 2);
    for (int i = 0; i < 600; i++) {
        lv_tensor_real(w)[i] *= 10000;
    }
    assert_true(isfinite(*lv_tensor_real(lv_cross_entropy(tape, x, w, labels, NULL))));
    lv_real rows[2];
    lv_tensor_real(x)[4] = NAN;
    assert_true(isnan(*lv_tensor_real(lv_cross_entropy(tape, x, w, labels, rows))));
    assert_true(isfinite(rows[0]) && isnan(rows[1]));
}

static void norms_agree_with_plain_loops_far_from_zero(void **state)
{
    (void)state;
    enum { T = 5, H = 1027 };
    lv_tensor *x = random_tensor(T, H, false, 1);
    lv_tensor *w =
        lv_tape_view(tape, random_tensor(1, H, false, 2)->data, LV_F32, 1, (int64_t[]){H});
    lv_tensor *b =
        lv_tape_view(tape, random_tensor(1, H, false, 3)->data, LV_F32, 1, (int64_t[]){H});
    double *layer = zeros(T * H);
    double *rms = zeros(T * H);
    for (int t = 0; t < T; t++) {
        double mean = 0, variance = 0, square = 0;
        lv_real *row = lv_tensor_real(x) + t * H;
        for (int h = 0; h < H; h++) {
            row[h] += 8; /* the variance of x^2 - mean^2 would lose digits */
            mean += (double)row[h] / H;
            square += (double)row[h] * (double)row[h] / H;
        }
        for (int h = 0; h < H; h++) {
            variance += ((double)row[h] - mean) * ((double)row[h] - mean) / H;
        }
        for (int h = 0; h < H; h++) {
            double weight = (double)lv_tensor_real(w)[h];
            layer[t * H + h] = ((double)row[h] - mean) / sqrt(variance + 1e-5) * weight +
                               (double)lv_tensor_real(b)[h];
            rms[t * H + h] = (double)row[h] / sqrt(square + 1e-5) * weight;
        }
    }
    assert_near(lv_tensor_real(lv_layernorm(tape, x, w, b, 1e-5)), layer, T * H, 1e-6);
    assert_near(lv_tensor_real(lv_rmsnorm(tape, x, w, 1e-5)), rms, T * H, 1e-6);
    free(layer);
    free(rms);
}

/* source: torch 2.13, as transformers' LlamaRotaryEmbedding, D 64, theta 10000 */
static void rope_angles_are_those_of_transformers(void **state)
{
    (void)state;
    enum { D = 64, N = 4096 };
    static lv_real cosine[N * D / 2], sine[N * D / 2];
    static const struct {
        int p, d;
        float cosine, sine;
    } expected[] = {
        {0, 0, 1, 0},
        {1, 0, 0x1.14a282p-1f, 0x1.aed548p-1f},
        {1, 5, 0x1.f1abe0p-1f, 0x1.e11e4cp-3f},
        {100, 3, -0x1.ea7e72p-3f, -0x1.f1195cp-1f},
        {2047, 1, -0x1.6deedep-2f, 0x1.de3110p-1f},
        {2047, 17, -0x1.df9b0ap-1f, 0x1.667468p-2f},
        {4095, 0, -0x1.0e3cd8p-4f, -0x1.fee26cp-1f},
        {4095, 31, 0x1.b589fep-1f, 0x1.09e6c8p-1f},
    };
    lv_rope_table table = {N, D, cosine, sine};
    lv_rope_table_fill(&table, 10000);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        int at = expected[i].p * D / 2 + expected[i].d;
        assert_true(fabsf(cosine[at] - expected[i].cosine) <= 0x1p-24f);
        assert_true(fabsf(sine[at] - expected[i].sine) <= 0x1p-24f);
    }
}

static void bf16_rows_are_widened_exactly(void **state)
{
    (void)state;
    char bytes[1 + 3 * 5 * 2];
    const lv_real values[15] = {1, 2, 3, 4, 5, -1, -2, -3, -4, -5, 0.5f, 0.25f, 8, 16, 32};
    lv_convert_from_real(bytes + 1, LV_BF16, values, 15);
    lv_tensor *w = lv_tape_view(tape, bytes + 1, LV_BF16, 2, (int64_t[]){3, 5});
    lv_tensor *y = lv_embedding(tape, w, (int32_t[]){2, 0}, 2);
    assert_memory_equal(y->data, values + 10, 5 * sizeof *values);
    assert_memory_equal(lv_tensor_real(y) + 5, values, 5 * sizeof *values);
}

/* A convolution by its definition, with the class row in front. */
static void patch_embedding_is_a_convolution(void **state)
{
    (void)state;
    enum { I = 2, C = 3, S = 6, P = 3, N = S / P, O = 4 };
    lv_tensor *pixels = lv_tape_view(tape, random_tensor(I * C * S, S, false, 1)->data, LV_F32, 4,
                                     (int64_t[]){I, C, S, S});
    lv_tensor *w = lv_tape_view(tape, random_tensor(O * C * P, P, false, 2)->data, LV_F32, 4,
                                (int64_t[]){O, C, P, P});
    lv_tensor *class_embedding =
        lv_tape_view(tape, random_tensor(1, O, false, 3)->data, LV_F32, 1, (int64_t[]){O});
    lv_tensor *position = random_tensor(N * N + 1, O, false, 4);
    double expected[I * (N * N + 1) * O];
    const lv_real *px = pixels->data, *pw = w->data, *pos = position->data;
    for (int t = 0; t < I * (N * N + 1); t++) {
        int i = t / (N * N + 1), l = t % (N * N + 1);
        for (int o = 0; o < O; o++) {
            double sum = (double)pos[l * O + o];
            sum += l == 0 ? (double)lv_tensor_real(class_embedding)[o] : 0;
            for (int at = 0; l > 0 && at < C * P * P; at++) {
                int c = at / (P * P), y = (l - 1) / N * P + at / P % P,
                    x = (l - 1) % N * P + at % P;
                sum += (double)pw[o * C * P * P + at] * (double)px[((i * C + c) * S + y) * S + x];
            }
            expected[t * O + o] = sum;
        }
    }
    lv_tensor *found = lv_patch_embed(tape, pixels, w, class_embedding, position);
    assert_near(lv_tensor_real(found), expected, I * (N * N + 1) * O, 1e-6);
}

static void leave(void)
{
    _exit(42);
}

static void a_wrong_shape_ends_the_job_with_op_and_shapes(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    lv_tensor *x = random_tensor(3, 5, false, 1);
    lv_tensor *w = random_tensor(4, 6, false, 2);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        lv_abort_hook_set(leave);
        lv_linear(tape, x, w, NULL, NULL);
        _exit(0);
    }
    close(ends[1]);
    char message[500];
    ssize_t n = read(ends[0], message, sizeof message - 1);
    close(ends[0]);
    assert_true(n > 0);
    message[n] = '\0';
    assert_non_null(strstr(message, "linear: W is (4, 6), expected (-1, 5)"));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static int start(void **state)
{
    (void)state;
    lv_blas_start();
    return lv_tape_create(&tape, (size_t)1 << 28);
}

static int stop(void **state)
{
    (void)state;
    lv_tape_destroy(&tape);
    return 0;
}

static int reset(void **state)
{
    (void)state;
    lv_tape_reset(tape);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(attention_agrees_with_plain_loops, reset),
        cmocka_unit_test_setup(attention_over_any_keys_and_with_a_softcap_agrees_with_plain_loops,
                               reset),
        cmocka_unit_test_setup(attention_passes_nan_to_the_rows_that_see_it_alone, reset),
        cmocka_unit_test_setup(attention_takes_scores_far_beyond_the_range_of_exp, reset),
        cmocka_unit_test_setup(cross_entropy_agrees_with_plain_loops_over_all_tiles, reset),
        cmocka_unit_test_setup(cross_entropy_of_large_logits_is_finite_and_of_nan_is_nan, reset),
        cmocka_unit_test_setup(norms_agree_with_plain_loops_far_from_zero, reset),
        cmocka_unit_test_setup(rope_angles_are_those_of_transformers, reset),
        cmocka_unit_test_setup(bf16_rows_are_widened_exactly, reset),
        cmocka_unit_test_setup(patch_embedding_is_a_convolution, reset),
        cmocka_unit_test_setup(a_wrong_shape_ends_the_job_with_op_and_shapes, reset),
    };
    return cmocka_run_group_tests_name("ops", tests, start, stop);
}
