/* SPDX-License-Identifier: Apache-2.0
 *
 * Features, logits, loss and gradients of four small models, against transformers in f64.
 */
#include "autograd/error.h"
#include "golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const double TOLERANCE = 1e-5; /* relative, by norm; measured: below 1e-6 */
static const char *const everything[] = {"vision_tower", "projector", "language_model"};

static void check(const char *what, double error)
{
    if (!(error <= TOLERANCE)) {
        fail_msg("%s is apart by %.2e, at most %.0e is right", what, error, TOLERANCE);
    }
}

static void features_equal(const golden *g, lv_llava *model, lv_tape *tape, lv_batch *batch)
{
    /* transformers' features are those after the connector */
    int64_t n = 0;
    float *want = golden_values(g->reference, "features", &n);
    lv_tensor *features = lv_llava_features(model, tape, batch);
    assert_int_equal(lv_tensor_count(features), n);
    check("features", golden_error(lv_tensor_real(features), want, n, 0));
    free(want);
}

static void logits_equal(const golden *g, lv_llava *model, lv_tape *tape, lv_batch *batch)
{
    const int64_t T = batch->seq_start[batch->n_samples];
    int32_t *rows = calloc((size_t)T, sizeof *rows);
    for (int64_t t = 0; t < T; t++) {
        rows[t] = (int32_t)t;
    }
    lv_tensor *logits = lv_llava_logits(model, tape, batch, rows, T);
    for (int i = 0; i < g->n_samples; i++) {
        char name[32];
        int64_t n = 0;
        snprintf(name, sizeof name, "logits.%d", i);
        float *want = golden_values(g->reference, name, &n);
        assert_int_equal((batch->seq_start[i + 1] - batch->seq_start[i]) * logits->shape[1], n);
        check(name, golden_error(lv_tensor_real(logits) + batch->seq_start[i] * logits->shape[1],
                                 want, n, 0));
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
static void gradients_equal(const golden *g, lv_llava *model)
{
    const double floor = 1e-7 * norm_of_all_gradients(g) / TOLERANCE;
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
            check(name, golden_error(param->tensor.grad, want, n, floor));
            n_compared++;
        }
        free(want);
    }
    assert_int_equal(n_compared, n_references);
}

static void loss_equal(double want, double got)
{
    check("loss", fabs(got / want - 1));
}

static void compare(const char *shape, bool recompute)
{
    golden g;
    lv_batch batch;
    lv_tape *tape = NULL;
    double loss_sum = 0, want = 0;
    golden_open(&g, shape);
    lv_llava *model = golden_model(&g, everything, 3, recompute);
    golden_ok(lv_tape_create(&tape, 0));
    golden_batch_all(&batch, &g, model);
    for (int i = 0; i < g.n_samples; i++) {
        want += g.samples[i].loss;
    }

    lv_tape_recording_set(tape, false);
    features_equal(&g, model, tape, &batch);
    lv_tape_reset(tape);
    logits_equal(&g, model, tape, &batch);
    lv_tape_reset(tape);
    lv_tape_recording_set(tape, true);

    lv_tensor *loss = lv_llava_loss(model, tape, &batch, &loss_sum);
    loss_equal(want, loss_sum);
    loss_equal(want, (double)*lv_tensor_real(loss));
    lv_backward(tape, loss);
    gradients_equal(&g, model);

    golden_batch_free(&batch);
    lv_tape_destroy(&tape);
    lv_llava_close(&model);
    golden_close(&g);
}

static void gqa_untied_mlp2x(void **state)
{
    (void)state;
    compare("gqa", false);
}

static void biases_tied_linear_gelu_last_layer_with_class_row(void **state)
{
    (void)state;
    compare("bias", false);
}

static void own_head_dim_one_kv_head_and_another_theta(void **state)
{
    (void)state;
    compare("headdim", false);
}

static void a_llava_directory_in_bf16(void **state)
{
    (void)state;
    compare("llava_bf16", false);
}

static void recomputation_gives_the_same_gradients(void **state)
{
    (void)state;
    compare("gqa", true);
    compare("bias", true);
}

/* Each sample alone, gradients added up: no sample sees another one of its micro-batch. */
static void one_sample_a_micro_batch_gives_the_same_gradients(void **state)
{
    (void)state;
    golden g;
    lv_tape *tape = NULL;
    golden_open(&g, "headdim");
    lv_llava *model = golden_model(&g, everything, 3, false);
    golden_ok(lv_tape_create(&tape, 0));
    for (int i = 0; i < g.n_samples; i++) {
        lv_batch batch;
        double loss_sum = 0;
        golden_batch(&batch, &g, model, &i, 1);
        lv_backward(tape, lv_llava_loss(model, tape, &batch, &loss_sum));
        loss_equal(g.samples[i].loss, loss_sum);
        lv_tape_reset(tape);
        golden_batch_free(&batch);
    }
    gradients_equal(&g, model);
    lv_tape_destroy(&tape);
    lv_llava_close(&model);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gqa_untied_mlp2x),
        cmocka_unit_test(biases_tied_linear_gelu_last_layer_with_class_row),
        cmocka_unit_test(own_head_dim_one_kv_head_and_another_theta),
        cmocka_unit_test(a_llava_directory_in_bf16),
        cmocka_unit_test(recomputation_gives_the_same_gradients),
        cmocka_unit_test(one_sample_a_micro_batch_gives_the_same_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
