/* SPDX-License-Identifier: Apache-2.0
 *
 * linear of bf16 activations against the same op of floats on the same rounded values. */
#include "autograd/kernels/convert.h"
#include "autograd/ops.h"
#include "autograd/rng.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const double HALF_ULP = 0x1p-8; /* of bf16, relative */
static const double SUM = 1e-6;        /* of f32 sums, relative to the sum of magnitudes */

static lv_tape *tape;

/* What one run of the op reads and gives, all widened. dx, dw, db begin undefined. */
typedef struct {
    int64_t T, K, N;
    bool frozen_w, bias, residual_is_x;
    bool again; /* dw and db are added to once more */
    lv_real *y, *dx, *dw, *db, *dresidual;
} run;

static lv_real *values(int64_t n, uint64_t seed)
{
    lv_real *x = lv_tape_alloc(tape, (size_t)n * sizeof *x + 1);
    for (int64_t i = 0; i < n; i++) {
        uint16_t rounded;
        x[i] = (lv_real)lv_random_normal(seed, 0, (uint64_t)i);
        lv_convert_from_real(&rounded, LV_BF16, &x[i], 1);
        lv_convert_to_real(&x[i], &rounded, LV_BF16, 1);
    }
    return x;
}

static lv_tensor *tensor(lv_dtype dtype, int64_t rows, int64_t columns, uint64_t seed)
{
    lv_tensor *x = lv_tape_tensor(tape, dtype, 2, (int64_t[]){rows, columns});
    lv_convert_from_real(x->data, dtype, values(rows * columns, seed), rows * columns);
    x->requires_grad = true;
    return x;
}

static lv_tensor *param(lv_dtype dtype, int64_t rows, int64_t columns, uint64_t seed)
{
    lv_tensor *x = tensor(dtype, rows, columns, seed);
    lv_real *grad = lv_tape_alloc(tape, (size_t)(rows * columns) * sizeof *grad + 1);
    for (int64_t i = 0; i < rows * columns; i++) {
        grad[i] = NAN; /* not to be read before it was written */
    }
    x->grad = grad;
    x->is_param = true;
    return x;
}

static lv_real *widened(const void *data, lv_dtype dtype, int64_t n)
{
    lv_real *x = malloc((size_t)n * sizeof *x + 1);
    assert_non_null(x);
    lv_convert_to_real(x, data, dtype, n);
    return x;
}

/* sum y dy with a given dy, which reaches y's gradient in y's dtype. */
static void given_backward(lv_tape *on, const lv_node *node)
{
    lv_tensor *y = node->in[0];
    lv_grad dy = lv_tape_grad(on, y);
    lv_convert_from_real(dy.data, dy.dtype, node->saved, lv_tensor_count(y));
}

static const lv_op given_op = {.name = "given", .backward = given_backward};

/* Keeps its input's gradient, which the tape would take back. */
static void keep_backward(lv_tape *on, const lv_node *node)
{
    (void)on;
    lv_real **to = (lv_real **)(uintptr_t)node->saved;
    *to = widened(node->out->grad, node->out->dtype, lv_tensor_count(node->out));
}

static const lv_op keep_op = {.name = "keep", .backward = keep_backward};

static void run_linear(run *r, lv_dtype dtype)
{
    lv_tensor *w = param(dtype, r->N, r->K, 2);
    lv_tensor *b = r->bias ? param(LV_F32, r->N, 1, 3) : NULL;
    if (b) {
        b->n_dims = 1;
    }
    w->requires_grad = !r->frozen_w;
    for (int pass = 0; pass <= r->again; pass++) {
        free(r->y);
        free(r->dx);
        free(r->dresidual);
        r->dresidual = NULL;
        lv_tensor *x = tensor(dtype, r->T, r->K, 1);
        lv_tensor *residual = r->residual_is_x ? x : tensor(dtype, r->T, r->N, 4);
        lv_tape_record(tape, &keep_op, x, 1, &x, &r->dx);
        if (!r->residual_is_x) {
            lv_tape_record(tape, &keep_op, residual, 1, &residual, &r->dresidual);
        }
        lv_tensor *y = lv_linear(tape, x, w, b, residual);
        assert_int_equal(y->dtype, dtype);
        r->y = widened(y->data, dtype, r->T * r->N);
        lv_tensor *loss = lv_tape_tensor(tape, LV_F32, 1, (int64_t[]){1});
        lv_tape_record(tape, &given_op, loss, 1, &y, values(r->T * r->N, 5));
        lv_backward(tape, loss);
    }
    assert_true(w->grad_begun == !r->frozen_w);
    r->dw = r->frozen_w ? NULL : widened(w->grad, LV_F32, r->N * r->K);
    r->db = b ? widened(b->grad, LV_F32, r->N) : NULL;
    lv_tape_reset(tape);
}

static void free_run(run *r)
{
    free(r->y);
    free(r->dx);
    free(r->dw);
    free(r->db);
    free(r->dresidual);
}

static void assert_near(const char *what, const lv_real *found, const lv_real *expected, int64_t n,
                        double relative, double absolute)
{
    for (int64_t i = 0; i < n; i++) {
        double error = fabs((double)found[i] - (double)expected[i]);
        if (!(error <= relative * fabs((double)expected[i]) + absolute)) {
            fail_msg("%s, element %lld: %.9g, in floats %.9g", what, (long long)i, (double)found[i],
                     (double)expected[i]);
        }
    }
}

/* Sums of n products of normal values: their magnitudes add up to about 0.6 n. */
static void check(run settings)
{
    run half = settings, full = settings;
    full.again = false;
    run_linear(&half, LV_BF16);
    run_linear(&full, LV_F32);
    int64_t T = half.T, K = half.K, N = half.N;
    assert_near("y", half.y, full.y, T * N, HALF_ULP, SUM * (double)K);
    if (half.residual_is_x) { /* the product is rounded before dy is added: by no more than 2^4 */
        assert_near("dx", half.dx, full.dx, T * K, HALF_ULP, 16 * HALF_ULP);
    } else {
        assert_near("dx", half.dx, full.dx, T * K, HALF_ULP, SUM * (double)N);
        assert_near("dresidual", half.dresidual, full.dresidual, T * N, 0, 0);
    }
    double most = 2 * SUM * (double)T;
    for (int64_t i = 0; settings.again && i < N * K; i++) {
        full.dw[i] *= 2;
    }
    for (int64_t i = 0; settings.again && i < N; i++) {
        full.db[i] *= 2;
    }
    if (half.dw) { /* f32 both: no rounding but the sums' */
        assert_near("dw", half.dw, full.dw, N * K, 0, most);
    }
    if (half.db) {
        assert_near("db", half.db, full.db, N, 0, settings.again ? most : 0);
    }
    free_run(&half);
    free_run(&full);
}

static void bf16_linear_is_the_linear_of_floats_rounded_once(void **state)
{
    (void)state;
    check((run){.T = 37, .K = 65, .N = 51, .bias = true});
    check((run){.T = 1, .K = 3, .N = 1, .bias = true});
    check((run){.T = 130, .K = 33, .N = 300, .bias = true});
    check((run){.T = 19, .K = 40, .N = 24});
}

static void gradients_of_bf16_weights_and_biases_add_up_in_f32(void **state)
{
    (void)state;
    check((run){.T = 37, .K = 65, .N = 51, .bias = true, .again = true});
    check((run){.T = 130, .K = 8, .N = 600, .bias = true, .again = true});
}

static void a_frozen_bf16_weight_takes_no_gradient(void **state)
{
    (void)state;
    check((run){.T = 37, .K = 65, .N = 51, .bias = true, .frozen_w = true});
}

static void the_residual_may_be_the_input_itself(void **state)
{
    (void)state;
    check((run){.T = 37, .K = 65, .N = 65, .bias = true, .residual_is_x = true});
}

static void bias_gradients_have_the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    int before = omp_get_max_threads();
    run one = {.T = 77, .K = 2, .N = 333, .bias = true};
    omp_set_num_threads(1);
    run_linear(&one, LV_BF16);
    for (int threads = 2; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        run more = {.T = 77, .K = 2, .N = 333, .bias = true};
        run_linear(&more, LV_BF16);
        assert_memory_equal(more.db, one.db, 333 * sizeof *one.db);
        free_run(&more);
    }
    omp_set_num_threads(before);
    free_run(&one);
}

static int start(void **state)
{
    (void)state;
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
        cmocka_unit_test(bf16_linear_is_the_linear_of_floats_rounded_once),
        cmocka_unit_test(gradients_of_bf16_weights_and_biases_add_up_in_f32),
        cmocka_unit_test(a_frozen_bf16_weight_takes_no_gradient),
        cmocka_unit_test(the_residual_may_be_the_input_itself),
        cmocka_unit_test(bias_gradients_have_the_same_bits_for_any_number_of_threads),
    };
    return cmocka_run_group_tests_name("linear of bf16", tests, start, stop);
}
