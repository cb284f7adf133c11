/* SPDX-License-Identifier: Apache-2.0
 *
 * Ops of rows and elements on bf16 activations against the same ops on floats of the same values,
 * forward and backward; and on a dry tape. */
#include "autograd/kernels/convert.h"
#include "autograd/kernels/gemm.h"
#include "autograd/ops.h"
#include "autograd/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_IN = 4 };

/* An op over its inputs. */
typedef lv_tensor *op_function(lv_tape *tape, lv_tensor *const *in);

typedef struct {
    bool is_param, frozen, bf16; /* bf16: a weight that is so in a bf16 run */
    int n_dims;
    int64_t shape[LV_MAX_DIMS];
} input;

typedef struct {
    const char *name;
    op_function *function;
    int n_in;
    input in[MAX_IN];
} op_case;

/* What a run gave, widened: y, then the gradients of the inputs that want one. */
typedef struct {
    int64_t n;
    lv_real *values;
    bool is_bf16[MAX_IN + 1];
    int64_t end[MAX_IN + 1];
    size_t peak_bytes;
    double flop;
} outcome;

static lv_arena *arena; /* of inputs */

/* ---- the ops ---- */

static lv_tensor *gelu(lv_tape *tape, lv_tensor *const *in)
{
    return lv_gelu(tape, in[0]);
}

static lv_tensor *quick_gelu(lv_tape *tape, lv_tensor *const *in)
{
    return lv_quick_gelu(tape, in[0]);
}

static lv_tensor *silu_mul(lv_tape *tape, lv_tensor *const *in)
{
    return lv_silu_mul(tape, in[0], in[1]);
}

static lv_tensor *rmsnorm(lv_tape *tape, lv_tensor *const *in)
{
    return lv_rmsnorm(tape, in[0], in[1], 1e-5);
}

static lv_tensor *layernorm(lv_tape *tape, lv_tensor *const *in)
{
    return lv_layernorm(tape, in[0], in[1], in[2], 1e-5);
}

static lv_tensor *rope(lv_tape *tape, lv_tensor *const *in)
{
    static lv_real cosine[16 * 5], sine[16 * 5];
    static lv_rope_table table = {16, 10, cosine, sine};
    static const int32_t position[] = {0, 3, 15, 1, 2, 0, 7};
    lv_rope_table_fill(&table, 10000);
    return lv_rope(tape, in[0], position, &table);
}

static lv_tensor *embedding(lv_tape *tape, lv_tensor *const *in)
{
    static const int32_t ids[] = {3, 0, 3, 3, 6};
    return lv_embedding(tape, in[0], ids, 5);
}

static lv_tensor *select_rows(lv_tape *tape, lv_tensor *const *in)
{
    static const int32_t rows[] = {4, 1, 1, 0};
    return lv_select_rows(tape, in[0], rows, 4);
}

static const int32_t spliced[] = {0, -1, -2, -3, 1, 2, -2, 0};

static lv_tensor *splice(lv_tape *tape, lv_tensor *const *in)
{
    return lv_splice(tape, in[0], in[1], spliced, 8);
}

static lv_tensor *patch_embed(lv_tape *tape, lv_tensor *const *in)
{
    return lv_patch_embed(tape, in[0], in[1], in[2], in[3]);
}

#define X(...)                                                                                     \
    {                                                                                              \
        .n_dims = 2, .shape = { __VA_ARGS__ }                                                      \
    }
#define FROZEN_X(...)                                                                              \
    {                                                                                              \
        .frozen = true, .n_dims = 2, .shape = { __VA_ARGS__ }                                      \
    }
#define W(dims, ...)                                                                               \
    {                                                                                              \
        .is_param = true, .n_dims = dims, .shape = { __VA_ARGS__ }                                 \
    }
#define FROZEN_W(dims, ...)                                                                        \
    {                                                                                              \
        .is_param = true, .frozen = true, .n_dims = dims, .shape = { __VA_ARGS__ }                 \
    }
#define BF16_W(dims, ...)                                                                          \
    {                                                                                              \
        .is_param = true, .bf16 = true, .n_dims = dims, .shape = { __VA_ARGS__ }                   \
    }

static const op_case cases[] = {
    {"gelu", gelu, 1, {X(7, 171)}},
    {"quick_gelu", quick_gelu, 1, {X(33, 1024)}},
    {"silu_mul", silu_mul, 2, {X(33, 1024), X(33, 1024)}},
    {"silu_mul, gate frozen", silu_mul, 2, {FROZEN_X(3, 5), X(3, 5)}},
    {"rmsnorm", rmsnorm, 2, {X(131, 75), W(1, 75)}},
    {"rmsnorm, w frozen", rmsnorm, 2, {X(20, 600), FROZEN_W(1, 600)}},
    {"rmsnorm, x frozen", rmsnorm, 2, {FROZEN_X(131, 75), W(1, 75)}},
    {"layernorm", layernorm, 3, {X(131, 75), W(1, 75), W(1, 75)}},
    {"layernorm, w frozen", layernorm, 3, {X(131, 75), FROZEN_W(1, 75), W(1, 75)}},
    {"layernorm, w and b frozen", layernorm, 3, {X(9, 1030), FROZEN_W(1, 1030), FROZEN_W(1, 1030)}},
    {"rope", rope, 1, {X(7, 30)}},
    {"embedding of f32", embedding, 1, {W(2, 7, 33)}},
    {"embedding of bf16", embedding, 1, {BF16_W(2, 7, 33)}},
    {"select_rows", select_rows, 1, {X(5, 17)}},
    {"splice", splice, 2, {X(4, 19), X(3, 19)}},
    {"splice, image frozen", splice, 2, {X(4, 19), FROZEN_X(3, 19)}},
    {"patch_embed",
     patch_embed,
     4,
     {FROZEN_W(4, 2, 3, 6, 6), W(4, 5, 3, 2, 2), W(1, 5), W(2, 10, 5)}},
    {"patch_embed of bf16",
     patch_embed,
     4,
     {FROZEN_W(4, 2, 3, 6, 6), BF16_W(4, 5, 3, 2, 2), FROZEN_W(1, 5), FROZEN_W(2, 10, 5)}},
};
enum { N_CASES = sizeof cases / sizeof *cases };

/* ---- one run ---- */

/* Values that bf16 has. */
static void fill(void *data, lv_dtype dtype, int64_t n, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        lv_real value = (lv_real)lv_random_normal(seed, 0, (uint64_t)i);
        uint16_t narrow;
        lv_convert_from_real(&narrow, LV_BF16, &value, 1);
        value = lv_bf16_to_float(narrow);
        lv_convert_from_real(lv_element(data, dtype, i), dtype, &value, 1);
    }
}

/* dry: without memory. */
static lv_tensor *make_input(const input *as, lv_dtype run, uint64_t seed, bool dry)
{
    lv_tensor *x = lv_arena_alloc(arena, sizeof *x);
    *x = (lv_tensor){.dtype = as->is_param && !as->bf16 ? LV_F32 : run,
                     .n_dims = as->n_dims,
                     .is_param = as->is_param,
                     .requires_grad = !as->frozen};
    for (int i = 0; i < LV_MAX_DIMS; i++) {
        x->shape[i] = i < as->n_dims ? as->shape[i] : 1;
    }
    int64_t n = lv_tensor_count(x);
    if (as->is_param && x->requires_grad) {
        x->grad = lv_arena_alloc(arena, (size_t)n * sizeof(lv_real));
        memset(x->grad, 0xff, (size_t)n * sizeof(lv_real)); /* NaN: not begun, to be written */
    }
    if (!dry) {
        x->data = lv_arena_alloc(arena, (size_t)n * lv_dtype_bytes(x->dtype));
        fill(x->data, x->dtype, n, seed);
    }
    return x;
}

/* The gradient that reaches y. */
static void given_backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *y = node->in[0];
    lv_grad dy = lv_tape_grad(tape, y);
    if (!lv_tape_is_dry(tape)) {
        fill(dy.data, dy.dtype, lv_tensor_count(y), 99);
    }
}

static const lv_op given = {.name = "given", .backward = given_backward};

static void keep(outcome *to, int i, const void *data, lv_dtype dtype, int64_t n)
{
    to->values = realloc(to->values, (size_t)(to->n + n + 1) * sizeof *to->values);
    assert_non_null(to->values);
    lv_convert_to_real(to->values + to->n, data, dtype, n);
    to->n += n;
    to->end[i] = to->n;
    to->is_bf16[i] = dtype == LV_BF16;
}

/* begun: the gradients of activations are sums already. */
static outcome run(const op_case *c, lv_dtype dtype, bool begun, bool dry)
{
    outcome result = {.n = 0};
    lv_tape *tape;
    lv_tensor *in[MAX_IN] = {0};
    assert_int_equal(lv_tape_create(&tape, (size_t)1 << 28), 0);
    lv_tape_dtype_set(tape, dtype);
    lv_tape_dry_set(tape, dry);
    for (int i = 0; i < c->n_in; i++) {
        in[i] = make_input(&c->in[i], dtype, (uint64_t)i + 1, dry);
        if (begun && !in[i]->is_param && in[i]->requires_grad) {
            lv_grad dx = lv_tape_grad(tape, in[i]);
            fill(dx.data, dx.dtype, lv_tensor_count(in[i]), 50);
        }
    }
    lv_tensor *y = c->function(tape, in);
    assert_int_equal(y->dtype, dtype);
    if (!dry || y->data) { /* rope's is its input's, which a dry run has not */
        keep(&result, 0, y->data, y->dtype, lv_tensor_count(y));
    }
    lv_tensor *loss = lv_tape_tensor(tape, LV_F32, 1, (int64_t[]){1});
    lv_tape_record(tape, &given, loss, 1, &y, NULL);
    lv_backward(tape, loss);
    for (int i = 0; i < c->n_in; i++) {
        result.end[i + 1] = result.n;
        if (in[i]->requires_grad) {
            assert_true(in[i]->grad && in[i]->grad_begun);
            keep(&result, i + 1, in[i]->grad, lv_grad_dtype(in[i]), lv_tensor_count(in[i]));
        }
    }
    result.peak_bytes = lv_tape_peak_bytes(tape);
    result.flop = lv_tape_flop(tape);
    lv_tape_destroy(&tape);
    lv_arena_release(arena, 0);
    return result;
}

/* ---- the tests ---- */

static void compare(const op_case *c, bool begun)
{
    outcome expected = run(c, LV_F32, begun, false);
    outcome found = run(c, LV_BF16, begun, false);
    assert_int_equal(expected.n, found.n);
    double largest = 0;
    for (int64_t i = 0; i < found.n; i++) {
        largest = fmax(largest, fabs((double)expected.values[i]));
    }
    for (int64_t i = 0; i < found.n; i++) {
        int part = 0;
        while (i >= found.end[part]) {
            part++;
        }
        double e = (double)expected.values[i];
        bool in_place = c->function == rope; /* dy becomes dx, rounded, and is then added */
        double rounded = begun && in_place ? largest : fabs(e);
        /* half a unit in the last place of bf16, and what floats lose in another order */
        double tolerance = (found.is_bf16[part] ? 0x1p-8 * rounded : 0) + 2e-6 * largest;
        if (!(fabs((double)found.values[i] - e) <= tolerance)) {
            fail_msg("%s: part %d is %g, with floats %g", c->name, part, (double)found.values[i],
                     e);
        }
    }
    free(expected.values);
    free(found.values);
}

static void bf16_differs_from_floats_by_one_rounding(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        compare(&cases[i], false);
    }
}

static void a_gradient_that_has_begun_is_added_to_before_it_is_rounded(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        compare(&cases[i], true);
    }
}

static void a_dry_tape_takes_the_same_memory_and_touches_no_data(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        for (lv_dtype dtype = LV_F32; dtype <= LV_BF16; dtype++) {
            outcome wet = run(&cases[i], dtype, false, false);
            outcome dry = run(&cases[i], dtype, false, true);
            if (wet.peak_bytes != dry.peak_bytes || wet.flop != dry.flop) {
                fail_msg("%s: %zu bytes and %g flop, dry %zu and %g", cases[i].name, wet.peak_bytes,
                         wet.flop, dry.peak_bytes, dry.flop);
            }
            for (int64_t k = 0; k < dry.n; k++) { /* fresh pages, and gradients of NaN */
                assert_true(dry.values[k] == 0 || isnan(dry.values[k]));
            }
            free(wet.values);
            free(dry.values);
        }
    }
}

/* The projector sees each row of the image once: no pass of zeros, nothing read before. */
static void splice_writes_the_gradients_of_rows_that_are_named_and_clears_the_others(void **state)
{
    (void)state;
    lv_tape *tape;
    assert_int_equal(lv_tape_create(&tape, (size_t)1 << 28), 0);
    static const int32_t source[] = {1, -1, -2, 3};
    lv_tensor *in[2];
    for (int i = 0; i < 2; i++) {
        in[i] = lv_tape_tensor(tape, LV_F32, 2, (int64_t[]){4, 3});
        fill(in[i]->data, LV_F32, 12, 1);
        in[i]->requires_grad = true;
        in[i]->grad = lv_tape_alloc(tape, 12 * sizeof(lv_real));
        in[i]->grad_lent = true;
        memset(in[i]->grad, 0xff, 12 * sizeof(lv_real)); /* not begun */
    }
    lv_tensor *y = lv_splice(tape, in[0], in[1], source, 4);
    lv_tensor *loss = lv_tape_tensor(tape, LV_F32, 1, (int64_t[]){1});
    lv_tape_record(tape, &given, loss, 1, &y, NULL);
    lv_backward(tape, loss);
    lv_real dy[12];
    fill(dy, LV_F32, 12, 99);
    const lv_real *text = in[0]->grad, *image = in[1]->grad, zeros[6] = {0};
    assert_memory_equal(text, zeros, 3 * sizeof *text);
    assert_memory_equal(text + 3, dy, 3 * sizeof *text);
    assert_memory_equal(text + 6, zeros, 3 * sizeof *text);
    assert_memory_equal(text + 9, dy + 9, 3 * sizeof *text);
    assert_memory_equal(image, dy + 3, 6 * sizeof *text);
    assert_memory_equal(image + 6, zeros, 6 * sizeof *text);
    lv_tape_destroy(&tape);
}

static void rope_takes_over_the_memory_of_its_input_and_of_its_gradient(void **state)
{
    (void)state;
    lv_tape *tape;
    assert_int_equal(lv_tape_create(&tape, (size_t)1 << 28), 0);
    lv_tensor *x = lv_tape_tensor(tape, LV_BF16, 2, (int64_t[]){7, 30});
    fill(x->data, LV_BF16, 210, 1);
    x->requires_grad = true;
    lv_tensor *y = rope(tape, &x);
    assert_ptr_equal(y->data, x->data);
    lv_tensor *loss = lv_tape_tensor(tape, LV_F32, 1, (int64_t[]){1});
    lv_tape_record(tape, &given, loss, 1, &y, NULL);
    lv_grad dy = lv_tape_grad(tape, y);
    lv_backward(tape, loss);
    assert_ptr_equal(x->grad, dy.data);
    assert_null(y->grad);
    lv_tape_destroy(&tape);
}

static int start(void **state)
{
    (void)state;
    lv_blas_start();
    return lv_arena_create(&arena, "test", (size_t)1 << 28);
}

static int stop(void **state)
{
    (void)state;
    lv_arena_destroy(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_differs_from_floats_by_one_rounding),
        cmocka_unit_test(a_gradient_that_has_begun_is_added_to_before_it_is_rounded),
        cmocka_unit_test(a_dry_tape_takes_the_same_memory_and_touches_no_data),
        cmocka_unit_test(splice_writes_the_gradients_of_rows_that_are_named_and_clears_the_others),
        cmocka_unit_test(rope_takes_over_the_memory_of_its_input_and_of_its_gradient),
    };
    return cmocka_run_group_tests_name("ops of bf16", tests, start, stop);
}
