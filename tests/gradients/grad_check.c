/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/gradients/grad_check.h"

#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/gemm.h"
#include "autograd/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const double STEP = 1e-5;
static const double TOLERANCE = 1e-7;

static lv_arena *arena;
static lv_tape *tape;
static uint64_t n_random;

void *grad_alloc(size_t bytes)
{
    return lv_arena_alloc(arena, bytes);
}

static lv_real random_value(void)
{
    return (lv_real)lv_random_normal(7, 0, n_random++);
}

lv_tensor *grad_frozen(int n_dims, const int64_t *shape)
{
    lv_tensor *x = grad_alloc(sizeof *x);
    *x = (lv_tensor){.dtype = LV_F32, .n_dims = n_dims, .is_param = true};
    for (int i = 0; i < LV_MAX_DIMS; i++) {
        x->shape[i] = i < n_dims ? shape[i] : 1;
    }
    int64_t n = lv_tensor_count(x);
    lv_real *data = grad_alloc((size_t)n * sizeof *data);
    for (int64_t i = 0; i < n; i++) {
        data[i] = random_value();
    }
    x->data = data;
    return x;
}

lv_tensor *grad_param(int n_dims, const int64_t *shape)
{
    lv_tensor *x = grad_frozen(n_dims, shape);
    x->requires_grad = true;
    x->grad = grad_alloc((size_t)lv_tensor_count(x) * sizeof(lv_real));
    return x;
}

lv_tensor *grad_bf16(int n_dims, const int64_t *shape)
{
    lv_tensor *x = grad_frozen(n_dims, shape);
    int64_t n = lv_tensor_count(x);
    char *bytes = grad_alloc((size_t)n * 2 + 1);
    lv_convert_from_real(bytes + 1, LV_BF16, x->data, n);
    x->data = bytes + 1;
    x->dtype = LV_BF16;
    return x;
}

/* sum_i y[i] weight(i), as an op of the test's own. */
static lv_real weight(int64_t i)
{
    return (lv_real)(lv_random_uniform(11, 0, (uint64_t)i) + 0.5);
}

static void weighted_sum_backward(lv_tape *on, const lv_node *node)
{
    lv_real *dy = lv_tape_grad_cleared(on, node->in[0]).data;
    for (int64_t i = 0; i < lv_tensor_count(node->in[0]); i++) {
        dy[i] += weight(i) * *(const lv_real *)node->out->grad;
    }
}

static unsigned needs_nothing(const lv_node *node)
{
    (void)node;
    return 0;
}

static const lv_op weighted_sum_op = {
    .name = "weighted_sum", .backward = weighted_sum_backward, .needs = needs_nothing};

static lv_tensor *weighted_sum(lv_tensor *y)
{
    lv_tensor *loss = lv_tape_tensor(tape, LV_F32, 1, (int64_t[]){1});
    lv_real sum = 0;
    for (int64_t i = 0; i < lv_tensor_count(y); i++) {
        sum += weight(i) * lv_tensor_real(y)[i];
    }
    *lv_tensor_real(loss) = sum;
    lv_tape_record(tape, &weighted_sum_op, loss, 1, &y, NULL);
    return loss;
}

static lv_tensor *loss_of(grad_function *function, const void *context, lv_tensor *const *in)
{
    return weighted_sum(function(tape, in, context));
}

static lv_real loss_value(grad_function *function, const void *context, lv_tensor *const *in)
{
    bool recording = lv_tape_recording_set(tape, false);
    lv_real value = *lv_tensor_real(loss_of(function, context, in));
    lv_tape_recording_set(tape, recording);
    lv_tape_reset(tape);
    return value;
}

static lv_real grad_before(int64_t i)
{
    return (lv_real)(i % 5) - 2;
}

static void check_input(grad_function *function, const void *context, lv_tensor *const *in, int k,
                        bool begun)
{
    double difference = 0;
    double norm = 0;
    const lv_real *grad = in[k]->grad;
    for (int64_t i = 0; i < lv_tensor_count(in[k]); i++) {
        lv_real *at = (lv_real *)in[k]->data + i;
        lv_real value = *at;
        *at = value + (lv_real)STEP;
        lv_real above = loss_value(function, context, in);
        *at = value - (lv_real)STEP;
        lv_real below = loss_value(function, context, in);
        *at = value;
        double expected = (double)(above - below) / (2 * STEP);
        double found = (double)(grad[i] - (begun ? grad_before(i) : 0));
        difference += (expected - found) * (expected - found);
        norm += expected * expected;
    }
    if (!(sqrt(difference) <= TOLERANCE * fmax(sqrt(norm), 1e-3))) {
        fail_msg("input %d: the gradient is off by %.3g of %.3g", k, sqrt(difference), sqrt(norm));
    }
}

/* begun: there is a sum already, to be added to; otherwise what is there must not be read. */
static void check(grad_function *function, const void *context, int n_in, lv_tensor *const *in,
                  bool begun)
{
    for (int k = 0; k < n_in; k++) {
        for (int64_t i = 0; in[k] && in[k]->grad && i < lv_tensor_count(in[k]); i++) {
            ((lv_real *)in[k]->grad)[i] = begun ? grad_before(i) : (lv_real)NAN;
            in[k]->grad_begun = begun;
        }
    }
    lv_backward(tape, loss_of(function, context, in));
    lv_tape_reset(tape);
    for (int k = 0; k < n_in; k++) {
        if (in[k] && in[k]->requires_grad) {
            check_input(function, context, in, k, begun);
        } else if (in[k]) {
            assert_null(in[k]->grad);
        }
    }
}

/* y = x, an activation. */
static void copy_backward(lv_tape *on, const lv_node *node)
{
    lv_tape_grad_pass(on, node->out, node->in[0]);
}

static const lv_op copy_op = {.name = "copy", .backward = copy_backward, .needs = needs_nothing};

static lv_tensor *copy_of(lv_tensor *x)
{
    lv_tensor *y = lv_tape_tensor(tape, x->dtype, x->n_dims, x->shape);
    memcpy(y->data, x->data, (size_t)lv_tensor_count(x) * lv_dtype_bytes(x->dtype));
    lv_tape_record(tape, &copy_op, y, 1, &x, NULL);
    return y;
}

/* With inputs and output given back before the backward pass, as far as the op's needs let them:
 * what it reads although it did not say so is NULL. The gradients are those of before. */
static void check_needs(grad_function *function, const void *context, int n_in,
                        lv_tensor *const *in)
{
    lv_tensor *copies[LV_MAX_INPUTS] = {NULL};
    lv_real *expected[LV_MAX_INPUTS] = {NULL};
    for (int k = 0; k < n_in; k++) {
        if (in[k] && in[k]->grad) {
            size_t bytes = (size_t)lv_tensor_count(in[k]) * sizeof(lv_real);
            expected[k] = grad_alloc(bytes);
            memcpy(expected[k], in[k]->grad, bytes);
            in[k]->grad_begun = false;
        }
        copies[k] = in[k] ? copy_of(in[k]) : NULL;
    }
    lv_tensor *y = function(tape, copies, context);
    lv_tensor *loss = weighted_sum(y);
    for (int k = 0; k < n_in; k++) {
        if (copies[k] && copies[k] != y) {
            lv_tape_done(tape, copies[k]);
        }
    }
    lv_tape_done(tape, y);
    lv_backward(tape, loss);
    lv_tape_reset(tape);
    for (int k = 0; k < n_in; k++) {
        for (int64_t i = 0; expected[k] && i < lv_tensor_count(in[k]); i++) {
            const lv_real want = expected[k][i];
            assert_true(fabs(((lv_real *)in[k]->grad)[i] - want) <= 1e-12 * (1 + fabs(want)));
        }
    }
}

void grad_check(grad_function *function, const void *context, int n_in, lv_tensor *const *in)
{
    check(function, context, n_in, in, true);
    check(function, context, n_in, in, false);
    check_needs(function, context, n_in, in);
}

static int start(void **state)
{
    (void)state;
    lv_blas_start();
    return lv_arena_create(&arena, "test", (size_t)1 << 30) ||
           lv_tape_create(&tape, (size_t)1 << 30);
}

static int stop(void **state)
{
    (void)state;
    lv_tape_destroy(&tape);
    lv_arena_destroy(&arena);
    return 0;
}

static int clear(void **state)
{
    (void)state;
    lv_tape_reset(tape);
    lv_arena_release(arena, 0);
    return 0;
}

#define LV_OP(name)                                                                                \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        grad_case_##name();                                                                        \
    }
#include "autograd/ops.def"
#undef LV_OP

int main(void)
{
#define LV_OP(name) {"gradient_of_" #name, test_##name, clear, NULL, NULL},
    const struct CMUnitTest tests[] = {
#include "autograd/ops.def"
    };
#undef LV_OP
    return cmocka_run_group_tests_name("gradients against central differences", tests, start, stop);
}
