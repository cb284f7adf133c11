/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention and cross-entropy of bf16 against plain loops in double over the same rounded inputs,
 * at every CPU level and with several numbers of threads. A bf16 value is off by up to 2^-9 of
 * itself, evenly spread by 2^-9 / sqrt 3 = 1.1e-3: results that were rounded once are that far off
 * by norm; those that come from rounded p and ds as well, up to about twice as far. */
#include "autograd/cpu.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/pointwise.h"
#include "autograd/ops.h"
#include "tests/support/reference.h"
#include "tests/support/visible.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_THREADS = 4, N_GRADS = 3 };
static const double ROUNDED_ONCE = 1.7e-3, ROUNDED_TWICE = 3.5e-3;

static lv_tape *tape;

/* What the tape hands out is NaN from here on: nothing may be read before it was written. */
static void poison(size_t bytes)
{
    lv_tape_reset(tape);
    memset(lv_tape_alloc(tape, bytes), 0xff, bytes);
    lv_tape_reset(tape);
}

/* The gradient that reaches y, as an op of the test's own: d sum(y dy) / dy, twice if there are two
 * outputs. */
static void given_backward(lv_tape *on, const lv_node *node)
{
    const lv_tensor *dy = node->saved;
    for (int i = 0; i < node->n_in; i++) {
        lv_grad to = lv_tape_grad(on, node->in[i]);
        lv_add_to(to.data, to.dtype, to.add, dy->data, dy->dtype, lv_tensor_count(dy));
    }
}

static void backward_from(int n, lv_tensor *const *y, const lv_tensor *dy)
{
    static const lv_op given = {"given", given_backward, NULL};
    lv_tensor *loss = lv_tape_tensor(tape, LV_F32, 1, (int64_t[]){1});
    lv_tape_record(tape, &given, loss, n, y, dy);
    lv_backward(tape, loss);
}

typedef struct {
    lv_tensor *q, *k, *v, *dy, *o;
} run;

/* Forward and backward of uses outputs of the same inputs; wants: a bit each for q, k, v. */
static run run_attention(const attention_shape *of, lv_dtype dtype, int uses, int wants)
{
    const lv_attention_layout *l = &of->layout;
    int64_t Tq = of->Tq, Tk = of->Tk;
    poison((size_t)64 << 20);
    run r = {reference_random(tape, dtype, Tq, l->n_heads * l->head_dim, wants & 1, 1),
             reference_random(tape, dtype, Tk, l->n_kv_heads * l->head_dim, wants & 2, 2),
             reference_random(tape, dtype, Tk, l->n_kv_heads * l->head_dim, wants & 4, 3),
             reference_random(tape, dtype, Tq, l->n_heads * l->head_dim, false, 4), NULL};
    lv_tensor *o[2];
    for (int i = 0; i < uses; i++) {
        o[i] = lv_attention(tape, r.q, r.k, r.v, l);
    }
    r.o = o[0];
    backward_from(uses, o, r.dy);
    return r;
}

static void assert_near(const char *what, const void *found, const double *expected, int64_t n,
                        double tolerance)
{
    double distance = reference_distance(found, LV_BF16, expected, n);
    if (!(distance <= tolerance)) {
        fail_msg("%s at %s with %d threads: off by %.3g, more than %.3g", what,
                 lv_cpu_name(lv_cpu()), omp_get_max_threads(), distance, tolerance);
    }
}

static attention_reference expected_of(const attention_shape *of)
{
    const run r = run_attention(of, LV_BF16, 1, 7);
    const lv_tensor *const in[] = {r.q, r.k, r.v, r.dy};
    double *x[4];
    for (int i = 0; i < 4; i++) {
        x[i] = reference_values(in[i]->data, LV_BF16, lv_tensor_count(in[i]));
    }
    attention_reference expected = reference_attention(of, x[0], x[1], x[2], x[3]);
    for (int i = 0; i < 4; i++) {
        free(x[i]);
    }
    return expected;
}

/* The outcome of one number of threads is that of any other, bit by bit. */
static void check_same_bits(const attention_shape *of, lv_dtype dtype)
{
    char *first[4] = {NULL};
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        omp_set_num_threads(threads);
        run r = run_attention(of, dtype, 1, 7);
        size_t one = lv_dtype_bytes(dtype);
        size_t q_bytes = (size_t)lv_tensor_count(r.q) * one;
        size_t k_bytes = (size_t)lv_tensor_count(r.k) * one;
        const void *const found[] = {r.o->data, r.q->grad, r.k->grad, r.v->grad};
        for (int i = 0; i < 4; i++) {
            size_t bytes = i < 2 ? q_bytes : k_bytes;
            if (threads == 1) {
                first[i] = malloc(bytes);
                assert_non_null(first[i]);
                memcpy(first[i], found[i], bytes);
            }
            assert_memory_equal(found[i], first[i], bytes);
        }
    }
    for (int i = 0; i < 4; i++) {
        free(first[i]);
    }
    omp_set_num_threads(2);
}

static void check_shape(const attention_shape *of)
{
    attention_reference expected = expected_of(of);
    for (int level = 0; level <= (int)lv_cpu_found(); level++) {
        lv_cpu_limit((lv_cpu_level)level);
        run r = run_attention(of, LV_BF16, 1, 7);
        int64_t n_q = lv_tensor_count(r.q), n_k = lv_tensor_count(r.k);
        assert_near("o", r.o->data, expected.o, n_q, ROUNDED_ONCE * 1.5);
        assert_near("dq", r.q->grad, expected.dq, n_q, ROUNDED_TWICE);
        assert_near("dk", r.k->grad, expected.dk, n_k, ROUNDED_TWICE);
        assert_near("dv", r.v->grad, expected.dv, n_k, ROUNDED_TWICE);
    }
    lv_cpu_limit(LV_CPU_AMX);
    check_same_bits(of, LV_BF16);
    check_same_bits(of, LV_F32);
    attention_reference_free(&expected);
}

static void check_attention(const attention_case *of)
{
    lv_range visible[1024];
    const attention_shape shape = attention_shape_of(of, visible);
    check_shape(&shape);
}

static const int64_t LENGTHS[] = {0, 1, 64, 193, 393}; /* 1, 63, 129, 200 */

static void attention_agrees_with_plain_loops_at_every_cpu_level(void **state)
{
    (void)state;
    attention_case l = {4, LENGTHS, LENGTHS, 4, 4, 64, true, 0.125};
    check_attention(&l);
    l.causal = false;
    check_attention(&l);
    l.n_kv_heads = 2;
    l.head_dim = 80;
    l.causal = true;
    check_attention(&l);
    l.n_kv_heads = 1;
    l.head_dim = 7;
    l.scale = 0.37;
    check_attention(&l);
    const int64_t one[] = {0, 600}; /* one sequence: cut for four threads */
    l = (attention_case){1, one, one, 2, 2, 16, true, 0.25};
    check_attention(&l);
    l.causal = false;
    l.n_kv_heads = 1;
    check_attention(&l);
}

static void attention_over_a_cache_agrees_with_plain_loops(void **state)
{
    (void)state;
    const int64_t queries[] = {0, 1, 4, 71, 71};
    const int64_t keys[] = {0, 2100, 2107, 2290, 2293}; /* the last one has no query */
    attention_case l = {4, queries, keys, 4, 2, 128, true, 0.09};
    check_attention(&l);
    l.causal = false;
    l.head_dim = 33;
    check_attention(&l);
    const int64_t few[] = {0, 3, 4, 40, 41}; /* more queries than keys */
    l.k_start = few;
    check_attention(&l);
}

static void attention_over_any_keys_and_with_a_softcap_agrees_with_plain_loops(void **state)
{
    (void)state;
    for (int kind = VISIBLE_WINDOW; kind < N_VISIBLE; kind++) {
        visible_rows rows = visible_fill((visible_kind)kind, kind == VISIBLE_ANY ? 70 : 100);
        const double softcap = kind == VISIBLE_CACHE || kind == VISIBLE_ANY ? 1.5 : 0;
        const attention_shape of = {{rows.at, 2, 1, 24, 0.2, softcap}, rows.Tq, rows.Tk};
        check_shape(&of);
    }
    visible_rows rows = visible_fill(VISIBLE_CACHE, 8); /* too few rows to pack keys for */
    const attention_shape few = {{rows.at, 4, 2, 40, 0.2, 1.5}, 1, rows.Tk};
    check_shape(&few);
}

static bool is_seen(const visible_rows *rows, int64_t key)
{
    for (int64_t t = 0; t < rows->Tq; t++) {
        if (rows->at[t].begin <= key && key < rows->at[t].end) {
            return true;
        }
    }
    return false;
}

static bool is_zero(const void *x, lv_dtype dtype, int64_t row, int64_t columns)
{
    double *values = reference_values(lv_element_const(x, dtype, row * columns), dtype, columns);
    bool zero = true;
    for (int64_t i = 0; i < columns; i++) {
        zero = zero && values[i] == 0;
    }
    free(values);
    return zero;
}

static void rows_that_see_nothing_and_keys_that_no_row_sees_are_zero(void **state)
{
    (void)state;
    const visible_kind kinds[] = {VISIBLE_IMAGES, VISIBLE_ANY, VISIBLE_CACHE, VISIBLE_REVERSED};
    for (int i = 0; i < 8; i++) {
        const lv_dtype dtype = i % 2 == 0 ? LV_BF16 : LV_F32;
        const visible_rows rows = visible_fill(kinds[i / 2], 20);
        const attention_shape of = {{rows.at, 2, 1, 16, 0.25, 0}, rows.Tq, rows.Tk};
        const run r = run_attention(&of, dtype, 1, 7);
        for (int64_t t = 0; t < of.Tq; t++) {
            bool empty = rows.at[t].begin == rows.at[t].end;
            assert_int_equal(is_zero(r.o->data, dtype, t, 32), empty);
            bool one = rows.at[t].end - rows.at[t].begin == 1; /* p is 1 whatever q is */
            assert_true(one || is_zero(r.q->grad, dtype, t, 32) == empty);
        }
        for (int64_t key = 0; key < of.Tk; key++) {
            assert_int_equal(is_zero(r.v->grad, dtype, key, 16), !is_seen(&rows, key));
            assert_true(is_seen(&rows, key) || is_zero(r.k->grad, dtype, key, 16));
        }
    }
}

static void gradients_of_attention_are_added_to_what_is_there(void **state)
{
    (void)state;
    lv_range visible[393];
    const attention_shape of =
        attention_shape_of(&(attention_case){4, LENGTHS, LENGTHS, 4, 2, 32, true, 0.18}, visible);
    attention_reference expected = expected_of(&of);
    run r = run_attention(&of, LV_BF16, 2, 7);
    int64_t n_q = lv_tensor_count(r.q), n_k = lv_tensor_count(r.k);
    double *const sums[N_GRADS] = {expected.dq, expected.dk, expected.dv};
    const lv_tensor *const in[N_GRADS] = {r.q, r.k, r.v};
    for (int i = 0; i < N_GRADS; i++) {
        for (int64_t j = 0; j < (i == 0 ? n_q : n_k); j++) {
            sums[i][j] *= 2;
        }
        assert_near("a gradient", in[i]->grad, sums[i], i == 0 ? n_q : n_k, ROUNDED_TWICE);
    }
    attention_reference_free(&expected);
}

static void each_gradient_of_attention_is_the_same_without_the_others(void **state)
{
    (void)state;
    const int64_t one[] = {0, 300};
    lv_range visible[300];
    const attention_shape of =
        attention_shape_of(&(attention_case){1, one, one, 2, 1, 24, true, 0.2}, visible);
    run r = run_attention(&of, LV_BF16, 1, 7);
    size_t bytes[N_GRADS] = {300 * 48 * 2, 300 * 24 * 2, 300 * 24 * 2};
    char *all[N_GRADS];
    for (int i = 0; i < N_GRADS; i++) {
        all[i] = malloc(bytes[i]);
        assert_non_null(all[i]);
        memcpy(all[i], (i == 0 ? r.q : i == 1 ? r.k : r.v)->grad, bytes[i]);
    }
    for (int wants = 1; wants < 7; wants++) {
        r = run_attention(&of, LV_BF16, 1, wants);
        const lv_tensor *const in[N_GRADS] = {r.q, r.k, r.v};
        for (int i = 0; i < N_GRADS; i++) {
            if (wants & 1 << i) {
                assert_memory_equal(in[i]->grad, all[i], bytes[i]);
            } else {
                assert_null(in[i]->grad);
            }
        }
    }
    for (int i = 0; i < N_GRADS; i++) {
        free(all[i]);
    }
}

static void keys_that_no_sequence_has_get_zeros(void **state)
{
    (void)state;
    poison((size_t)16 << 20);
    const int64_t queries[] = {0, 10}, keys[] = {3, 23};
    lv_range visible[10];
    const attention_shape of =
        attention_shape_of(&(attention_case){1, queries, keys, 1, 1, 16, true, 0.25}, visible);
    lv_tensor *x[3] = {reference_random(tape, LV_BF16, 10, 16, true, 1),
                       reference_random(tape, LV_BF16, 30, 16, true, 2),
                       reference_random(tape, LV_BF16, 30, 16, true, 3)};
    lv_tensor *o = lv_attention(tape, x[0], x[1], x[2], &of.layout);
    backward_from(1, &o, x[0]);
    for (int i = 1; i < 3; i++) {
        const uint16_t *grad = x[i]->grad;
        for (int64_t j = 0; j < 30 * 16; j++) {
            bool inside = j >= 3 * 16 && j < 23 * 16;
            assert_true(inside ? grad[j] != 0 : grad[j] == 0);
        }
    }
}

static void nan_reaches_the_rows_that_see_it_alone(void **state)
{
    (void)state;
    const int64_t start[] = {0, 100, 150};
    lv_range visible[150];
    const attention_shape of =
        attention_shape_of(&(attention_case){2, start, start, 1, 1, 16, true, 0.5}, visible);
    for (int level = 0; level <= (int)lv_cpu_found(); level++) {
        lv_cpu_limit((lv_cpu_level)level);
        for (int what = 0; what < 2; what++) { /* infinity is NaN in a softmax */
            poison((size_t)16 << 20);
            lv_tensor *x[3];
            for (int i = 0; i < 3; i++) {
                x[i] = reference_random(tape, LV_BF16, 150, 16, true, (uint64_t)i);
            }
            ((uint16_t *)x[1]->data)[70 * 16 + 1] = what == 0 ? 0x7fff : 0x7f80;
            for (int t = 0; t < 150; t++) { /* so that infinity has one sign */
                ((uint16_t *)x[0]->data)[t * 16 + 1] = 0x3f80;
            }
            lv_tensor *o = lv_attention(tape, x[0], x[1], x[2], &of.layout);
            backward_from(1, &o, x[2]);
            for (int t = 0; t < 150; t++) {
                bool sees = t >= 70 && t < 100;
                assert_true(isnan(lv_bf16_to_float(((uint16_t *)o->data)[t * 16])) == sees);
                assert_true(isnan(lv_bf16_to_float(((uint16_t *)x[0]->grad)[t * 16])) == sees);
            }
        }
    }
    lv_cpu_limit(LV_CPU_AMX);
}

static void scores_far_beyond_the_range_of_exp_give_finite_rows(void **state)
{
    (void)state;
    const int64_t start[] = {0, 130};
    lv_range visible[130];
    const attention_shape of =
        attention_shape_of(&(attention_case){1, start, start, 1, 1, 4, false, 1000}, visible);
    run r = run_attention(&of, LV_BF16, 1, 7);
    for (int t = 0; t < 130 * 4; t++) {
        assert_true(isfinite(lv_bf16_to_float(((uint16_t *)r.o->data)[t])));
        assert_true(isfinite(lv_bf16_to_float(((uint16_t *)r.q->grad)[t])));
    }
}

static void a_dry_tape_takes_the_same_memory_and_counts_the_same_work(void **state)
{
    (void)state;
    size_t peak[2];
    double flop[2];
    for (int dry = 0; dry < 2; dry++) {
        lv_tape *own;
        assert_int_equal(lv_tape_create(&own, (size_t)1 << 30), 0);
        lv_tape *before = tape;
        tape = own;
        lv_range visible[393];
        const attention_shape of = attention_shape_of(
            &(attention_case){4, LENGTHS, LENGTHS, 4, 2, 64, true, 0.125}, visible);
        lv_tensor *x[] = {reference_random(tape, LV_BF16, 393, 256, true, 1),
                          reference_random(tape, LV_BF16, 393, 128, true, 2),
                          reference_random(tape, LV_BF16, 393, 128, true, 3),
                          reference_random(tape, LV_BF16, 1000, 256, false, 4)};
        int32_t labels[393] = {0};
        lv_tape_dry_set(tape, dry);
        lv_tensor *o = lv_attention(tape, x[0], x[1], x[2], &of.layout);
        lv_backward(tape, lv_cross_entropy(tape, o, x[3], labels, NULL));
        peak[dry] = lv_tape_peak_bytes(tape);
        flop[dry] = lv_tape_flop(tape);
        tape = before;
        lv_tape_destroy(&own);
    }
    assert_int_equal(peak[0], peak[1]);
    assert_true(flop[0] == flop[1]);
    const double pairs = 4 * (1 + 63 * 64 / 2 + 129 * 130 / 2 + 200 * 201 / 2);
    assert_true(flop[0] == 12.0 * 64 * pairs + 4.0 * 393 * 1000 * 256);
}

static void check_cross_entropy(int64_t R, int64_t V, int64_t H, bool trains_w)
{
    for (int level = 0; level <= (int)lv_cpu_found(); level++) {
        lv_cpu_limit((lv_cpu_level)level);
        poison((size_t)64 << 20);
        lv_tensor *x = reference_random(tape, LV_BF16, R, H, true, 1);
        lv_tensor *w = reference_random(tape, LV_BF16, V, H, trains_w, 2);
        w->is_param = true; /* its gradient is f32 */
        w->grad = trains_w ? lv_tape_alloc(tape, (size_t)(V * H) * sizeof(lv_real)) : NULL;
        int32_t *labels = lv_tape_alloc(tape, (size_t)R * sizeof *labels);
        lv_real *rows = lv_tape_alloc(tape, (size_t)R * sizeof *rows);
        for (int64_t r = 0; r < R; r++) {
            labels[r] = (int32_t)(r == 0 ? V - 1 : r * 7919 % V);
        }
        double *xs = reference_values(x->data, LV_BF16, R * H);
        double *ws = reference_values(w->data, LV_BF16, V * H);
        loss_reference expected = reference_cross_entropy(xs, ws, labels, R, V, H);
        lv_tensor *loss = lv_cross_entropy(tape, x, w, labels, rows);
        assert_true(reference_distance(loss->data, LV_F32, &expected.loss, 1) < 1e-6);
        assert_true(reference_distance(rows, LV_F32, expected.rows, R) < 1e-6);
        lv_backward(tape, loss);
        assert_near("dx", x->grad, expected.dx, R * H, ROUNDED_TWICE);
        if (trains_w) {
            assert_true(reference_distance(w->grad, LV_F32, expected.dw, V * H) < ROUNDED_ONCE);
        }
        loss_reference_free(&expected);
        free(xs);
        free(ws);
    }
    lv_cpu_limit(LV_CPU_AMX);
}

static void cross_entropy_agrees_with_plain_loops_at_every_cpu_level(void **state)
{
    (void)state;
    check_cross_entropy(1, 11, 5, true);
    check_cross_entropy(33, 2050, 20, true);
    check_cross_entropy(1030, 1100, 6, true); /* two tiles of rows, two of words */
    check_cross_entropy(1030, 1100, 6, false);
}

static void cross_entropy_passes_nan_to_its_row_and_the_loss(void **state)
{
    (void)state;
    poison((size_t)16 << 20);
    const int32_t labels[] = {0, 1};
    lv_tensor *x = reference_random(tape, LV_BF16, 2, 3, true, 1);
    lv_tensor *w = reference_random(tape, LV_BF16, 200, 3, false, 2);
    ((uint16_t *)x->data)[4] = 0x7fff;
    lv_real rows[2];
    lv_tensor *loss = lv_cross_entropy(tape, x, w, labels, rows);
    assert_true(isnan(*lv_tensor_real(loss)));
    assert_true(isfinite(rows[0]) && isnan(rows[1]));
    lv_backward(tape, loss);
    for (int i = 0; i < 6; i++) {
        assert_true(isnan(lv_bf16_to_float(((uint16_t *)x->grad)[i])) == (i >= 3));
    }
}

static int start(void **state)
{
    (void)state;
    lv_blas_start();
    omp_set_num_threads(2);
    return lv_tape_create(&tape, (size_t)1 << 30);
}

static int stop(void **state)
{
    (void)state;
    lv_tape_destroy(&tape);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_agrees_with_plain_loops_at_every_cpu_level),
        cmocka_unit_test(attention_over_a_cache_agrees_with_plain_loops),
        cmocka_unit_test(attention_over_any_keys_and_with_a_softcap_agrees_with_plain_loops),
        cmocka_unit_test(rows_that_see_nothing_and_keys_that_no_row_sees_are_zero),
        cmocka_unit_test(gradients_of_attention_are_added_to_what_is_there),
        cmocka_unit_test(each_gradient_of_attention_is_the_same_without_the_others),
        cmocka_unit_test(keys_that_no_sequence_has_get_zeros),
        cmocka_unit_test(nan_reaches_the_rows_that_see_it_alone),
        cmocka_unit_test(scores_far_beyond_the_range_of_exp_give_finite_rows),
        cmocka_unit_test(a_dry_tape_takes_the_same_memory_and_counts_the_same_work),
        cmocka_unit_test(cross_entropy_agrees_with_plain_loops_at_every_cpu_level),
        cmocka_unit_test(cross_entropy_passes_nan_to_its_row_and_the_loss),
    };
    return cmocka_run_group_tests_name("attention and cross-entropy of bf16", tests, start, stop);
}
