/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "tests/units/train/fixture.h"
#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double unit(const void *context, int64_t i)
{
    (void)context;
    return 1 + (double)i / 7;
}

/* Projector and language model, weights and biases: four stretches of learning rate and decay. */
static lv_params *four_stretches(lv_dtype dtype)
{
    static const char *const names[] = {"projector.0.weight", "projector.0.bias",
                                        "language_model.a.weight", "language_model.a.bias"};
    static const char *const trained[] = {"projector", "language_model"};
    lv_params *params = NULL;
    assert_int_equal(lv_params_create(&params), LV_OK);
    lv_params_dtype_set(params, dtype);
    for (int i = 0; i < 4; i++) {
        lv_params_part_begin(params, i < 2 ? LV_PART_CONNECTOR : LV_PART_LANGUAGE);
        lv_tensor *x =
            lv_params_declare(params, names[i], 1, (int64_t[]){37 + i}, i % 2 == 0, true);
        lv_params_of(params, x)->takes_bf16 = i % 2 == 0;
    }
    assert_int_equal(lv_params_set_trainable(params, trained, 2), LV_OK);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(lv_params_fill(params, lv_params_at(params, i), unit, NULL), LV_OK);
    }
    for (size_t p = 0; p < 4; p++) {
        const lv_param *param = lv_params_at(params, p);
        for (int64_t i = 0; i < lv_tensor_count(&param->tensor); i++) {
            ((lv_real *)param->tensor.grad)[i] = (lv_real)(i % 5) - 2;
        }
    }
    return params;
}

static void step_with(lv_params *params, lv_dtype moments, int64_t n_steps)
{
    const lv_adamw hyper = {
        .lr = 0.1, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.5};
    lv_optimizer *optimizer = NULL;
    assert_int_equal(lv_optimizer_create(&optimizer, params, &hyper, 0.01, moments), LV_OK);
    assert_int_equal(lv_optimizer_moments(optimizer).dtype, moments);
    for (int64_t t = 1; t <= n_steps; t++) {
        for (int64_t k = 0; k < lv_params_shard(params)->n_buckets; k++) {
            lv_optimizer_step(optimizer, params, k, &(lv_update){1, 1, t});
        }
    }
    lv_optimizer_destroy(&optimizer);
}

static void step(lv_params *params)
{
    step_with(params, LV_F32, 1);
}

static void moments_of_bf16_take_half_the_memory_and_lead_nearby(void **state)
{
    (void)state;
    lv_params *f32 = four_stretches(LV_F32), *bf16 = four_stretches(LV_F32);
    lv_params *again = four_stretches(LV_F32);
    const int64_t n = lv_params_flat_count(f32);
    double distance = 0, moved = 0;
    step_with(f32, LV_F32, 50);
    step_with(bf16, LV_BF16, 50);
    step_with(again, LV_BF16, 50);
    assert_int_equal(lv_optimizer_bytes(f32, LV_F32), 8 * n);
    assert_int_equal(lv_optimizer_bytes(f32, LV_BF16), 4 * n);
    assert_memory_equal(masters_of(bf16), masters_of(again), (size_t)n * sizeof(lv_real));
    for (size_t p = 0; p < 4; p++) {
        const lv_param *param = lv_params_at(f32, p);
        for (int64_t i = 0; i < lv_tensor_count(&param->tensor); i++) {
            const double a = (double)masters_of(f32)[param->offset + i];
            const double b = (double)masters_of(bf16)[param->offset + i];
            distance += (a - b) * (a - b);
            moved += (a - unit(NULL, i)) * (a - unit(NULL, i));
        }
    }
    assert_true(distance > 0 && sqrt(distance / moved) < 0.01);
    lv_params_destroy(&f32);
    lv_params_destroy(&bf16);
    lv_params_destroy(&again);
}

static void a_step_leaves_working_copies_that_are_the_rounded_masters(void **state)
{
    (void)state;
    lv_params *f32 = four_stretches(LV_F32), *bf16 = four_stretches(LV_BF16);
    const size_t n = 37 + 39; /* of the weights, which come before the biases */
    step(f32);
    step(bf16);
    for (size_t p = 0; p < 4; p++) {
        const lv_tensor want = lv_params_exact(f32, lv_params_at(f32, p));
        const lv_tensor have = lv_params_exact(bf16, lv_params_at(bf16, p));
        assert_int_equal(want.dtype, LV_F32);
        assert_int_equal(have.dtype, LV_F32);
        assert_memory_equal(have.data, want.data, (size_t)lv_tensor_count(&want) * sizeof(lv_real));
    }
    uint16_t *found = malloc(n * sizeof *found);
    memcpy(found, working_of(bf16), n * sizeof *found);
    lv_params_refresh(bf16);
    assert_memory_equal(found, working_of(bf16), n * sizeof *found);
    assert_null(working_of(f32));
    free(found);
    lv_params_destroy(&f32);
    lv_params_destroy(&bf16);
}

static void a_projector_has_its_own_rate_and_biases_do_not_decay(void **state)
{
    (void)state;
    lv_params *params = four_stretches(LV_F32);
    step(params);
    /* the first step moves by lr against the gradient's sign, decay by lr/2 of the value */
    const double lr[] = {0.01, 0.01, 0.1, 0.1}, decay[] = {0.5, 0, 0.5, 0};
    for (int p = 0; p < 4; p++) {
        const int64_t at = lv_params_at(params, (size_t)p)->offset;
        for (int64_t i = 0; i < 37 + p; i++) {
            const double g = (double)lv_params_flat_grad(params)[at + i], w = unit(NULL, i);
            const double want = w - lr[p] * decay[p] * w - (g > 0) * lr[p] + (g < 0) * lr[p];
            assert_true(fabs((double)masters_of(params)[at + i] - want) < 1e-5);
        }
    }
    lv_params_destroy(&params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_leaves_working_copies_that_are_the_rounded_masters),
        cmocka_unit_test(moments_of_bf16_take_half_the_memory_and_lead_nearby),
        cmocka_unit_test(a_projector_has_its_own_rate_and_biases_do_not_decay),
    };
    return cmocka_run_group_tests_name("optimizer", tests, NULL, NULL);
}
