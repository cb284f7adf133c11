/* SPDX-License-Identifier: Apache-2.0
 *
 * Features, logits, loss and gradients of four small models, against transformers in f64.
 */
#include "autograd/cpu.h"
#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "golden.h"
#include "train/model/llava/internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Relative, by norm; gradients against at least `floor` of the norm of all of them.
 *   f32: measured below 1e-6.
 *   bf16 rounds every activation, weight and gradient to 8 bits, off by 0.2% at the most; of some
 *   tens of such roundings, one after the other and independent, 1% to 4% remain: measured up to
 *   3.8% at the bottom of the tower. The loss is a sum in which they cancel: measured up to 1.3e-3.
 */
typedef struct {
    lv_precision precision;
    double loss, tensor, floor;
} tolerance;

static const tolerance F32 = {LV_PRECISION_F32, 1e-5, 1e-5, 1e-2},
                       BF16 = {LV_PRECISION_BF16, 3e-3, 6e-2, 1e-2};
static const char *const everything[] = {"vision_tower", "projector", "language_model"};

static void check(const char *what, double error, double at_most)
{
    if (!(error <= at_most)) {
        fail_msg("%s is apart by %.2e, at most %.0e is right", what, error, at_most);
    }
}

/* The error of a tensor of either dtype. */
static double error_of(const lv_tensor *x, int64_t begin, const float *want, int64_t n)
{
    lv_real *values = calloc((size_t)n, sizeof *values);
    lv_convert_to_real(values, lv_element(x->data, x->dtype, begin), x->dtype, n);
    double error = golden_error(values, want, n, 0);
    free(values);
    return error;
}

static void features_equal(const golden *g, lv_llava *model, lv_tape *tape, lv_batch *batch,
                           const tolerance *allowed)
{
    /* transformers' features are those after the connector */
    int64_t n = 0;
    float *want = golden_values(g->reference, "features", &n);
    const lv_tensor *x = lv_llava_embed(model, tape, batch);
    const int64_t T = x->shape[0], H = x->shape[1];
    lv_real *found = calloc((size_t)n, sizeof *found);
    int64_t n_rows = 0;
    assert_int_equal(x->dtype, lv_llava_dtype(model));
    for (int64_t t = 0; t < T; t++) {
        if (batch->source[t] < 0) {
            const int64_t at = (-1 - batch->source[t]) * H;
            assert_true(at + H <= n);
            lv_convert_to_real(found + at, lv_element(x->data, x->dtype, t * H), x->dtype, H);
            n_rows++;
        }
    }
    assert_int_equal(n_rows * H, n);
    check("features", golden_error(found, want, n, 0), allowed->tensor);
    free(found);
    free(want);
}

static void logits_equal(const golden *g, lv_llava *model, lv_tape *tape, lv_batch *batch,
                         const tolerance *allowed)
{
    const int64_t T = batch->seq_start[batch->n_samples];
    int32_t *rows = calloc((size_t)T, sizeof *rows);
    for (int64_t t = 0; t < T; t++) {
        rows[t] = (int32_t)t;
    }
    lv_tensor *logits = golden_logits(model, tape, batch, rows, T);
    for (int i = 0; i < g->n_samples; i++) {
        char name[32];
        int64_t n = 0;
        snprintf(name, sizeof name, "logits.%d", i);
        float *want = golden_values(g->reference, name, &n);
        assert_int_equal((batch->seq_start[i + 1] - batch->seq_start[i]) * logits->shape[1], n);
        check(name, error_of(logits, batch->seq_start[i] * logits->shape[1], want, n),
              allowed->tensor);
        free(want);
    }
    free(rows);
}

static double norm_of_all_gradients(const golden *g)
{
    double sum = 0;
    for (size_t i = 0; i < lv_weights_count(g->reference); i++) {
        const lv_weight *weight = lv_weights_at(g->reference, i);
        if (strncmp(weight->name, "grad.", 5) == 0) {
            int64_t n = 0;
            float *values = golden_values(g->reference, weight->name, &n);
            sum += pow(golden_norm(values, n), 2);
            free(values);
        }
    }
    return sqrt(sum);
}

/* Every trained parameter has a reference, and every reference a trained parameter. k_proj.bias of
 * CLIP has a gradient that is zero but for rounding, hence the floor. */
static void gradients_equal(const golden *g, lv_llava *model, const tolerance *allowed)
{
    const double floor = allowed->floor * norm_of_all_gradients(g);
    lv_params *params = lv_llava_params(model);
    size_t n_references = 0, n_compared = 0;
    for (size_t i = 0; i < lv_weights_count(g->reference); i++) {
        n_references += strncmp(lv_weights_at(g->reference, i)->name, "grad.", 5) == 0;
    }
    for (size_t i = 0; i < lv_params_count(params); i++) {
        const lv_param *param = lv_params_at(params, i);
        char name[256];
        int64_t n = 0;
        snprintf(name, sizeof name, "grad.%s", param->name);
        float *want = golden_values(g->reference, name, &n);
        if ((want != NULL) != param->trainable) {
            fail_msg("%s: trainable %d, in the reference %d", param->name, param->trainable,
                     want != NULL);
        }
        if (want) {
            assert_int_equal(lv_tensor_count(&param->tensor), n);
            check(name, golden_error(param->tensor.grad, want, n, floor), allowed->tensor);
            n_compared++;
        }
        free(want);
    }
    assert_int_equal(n_compared, n_references);
}

static void loss_equal(double want, double got, const tolerance *allowed)
{
    check("loss", fabs(got / want - 1), allowed->loss);
}

static void compare(const char *shape, bool recompute, const tolerance *allowed)
{
    golden g;
    lv_batch batch;
    lv_tape *tape = NULL;
    double loss_sum = 0, want = 0;
    golden_open(&g, shape);
    lv_llava *model = golden_model(&g, everything, 3, recompute, allowed->precision);
    golden_ok(lv_tape_create(&tape, 0));
    lv_tape_dtype_set(tape, lv_llava_dtype(model));
    golden_batch_all(&batch, &g, model);
    for (int i = 0; i < g.n_samples; i++) {
        want += g.samples[i].loss;
    }

    lv_tape_recording_set(tape, false);
    features_equal(&g, model, tape, &batch, allowed);
    lv_tape_reset(tape);
    logits_equal(&g, model, tape, &batch, allowed);
    lv_tape_reset(tape);
    lv_tape_recording_set(tape, true);

    lv_tensor *loss = lv_llava_loss(model, tape, &batch, &loss_sum);
    loss_equal(want, loss_sum, allowed);
    loss_equal(want, (double)*lv_tensor_real(loss), allowed);
    lv_backward(tape, loss);
    gradients_equal(&g, model, allowed);

    golden_batch_free(&batch);
    lv_tape_destroy(&tape);
    lv_llava_close(&model);
    golden_close(&g);
}

static void gqa_untied_mlp2x(void **state)
{
    (void)state;
    compare("gqa", false, &F32);
}

static void biases_tied_linear_gelu_last_layer_with_class_row(void **state)
{
    (void)state;
    compare("bias", false, &F32);
}

static void own_head_dim_one_kv_head_and_another_theta(void **state)
{
    (void)state;
    compare("headdim", false, &F32);
}

static void a_llava_directory_in_bf16(void **state)
{
    (void)state;
    compare("llava_bf16", false, &F32);
}

static void recomputation_gives_the_same_gradients(void **state)
{
    (void)state;
    compare("gqa", true, &F32);
    compare("bias", true, &F32);
}

/* Each sample alone, gradients added up: no sample sees another one of its micro-batch. */
static void one_sample_a_micro_batch_gives_the_same_gradients(void **state)
{
    (void)state;
    golden g;
    lv_tape *tape = NULL;
    golden_open(&g, "headdim");
    lv_llava *model = golden_model(&g, everything, 3, false, LV_PRECISION_F32);
    golden_ok(lv_tape_create(&tape, 0));
    for (int i = 0; i < g.n_samples; i++) {
        lv_batch batch;
        double loss_sum = 0;
        golden_batch(&batch, &g, model, &i, 1);
        lv_backward(tape, lv_llava_loss(model, tape, &batch, &loss_sum));
        loss_equal(g.samples[i].loss, loss_sum, &F32);
        lv_tape_reset(tape);
        golden_batch_free(&batch);
    }
    gradients_equal(&g, model, &F32);
    lv_tape_destroy(&tape);
    lv_llava_close(&model);
    golden_close(&g);
}

static void bf16_is_near_the_reference_in_every_shape(void **state)
{
    (void)state;
    compare("gqa", false, &BF16);
    compare("bias", false, &BF16);
    compare("headdim", false, &BF16);
    compare("llava_bf16", false, &BF16);
}

static void recomputation_in_bf16_is_as_near(void **state)
{
    (void)state;
    compare("gqa", true, &BF16);
    compare("bias", true, &BF16);
}

static void every_cpu_level_is_as_near(void **state)
{
    (void)state;
    for (int level = LV_CPU_PORTABLE; level <= (int)lv_cpu_found(); level++) {
        lv_cpu_limit((lv_cpu_level)level);
        compare("gqa", false, &F32);
        compare("gqa", false, &BF16);
    }
    lv_cpu_limit(LV_CPU_AMX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gqa_untied_mlp2x),
        cmocka_unit_test(biases_tied_linear_gelu_last_layer_with_class_row),
        cmocka_unit_test(own_head_dim_one_kv_head_and_another_theta),
        cmocka_unit_test(a_llava_directory_in_bf16),
        cmocka_unit_test(recomputation_gives_the_same_gradients),
        cmocka_unit_test(bf16_is_near_the_reference_in_every_shape),
        cmocka_unit_test(recomputation_in_bf16_is_as_near),
        cmocka_unit_test(every_cpu_level_is_as_near),
        cmocka_unit_test(one_sample_a_micro_batch_gives_the_same_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
