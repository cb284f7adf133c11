/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "tests/units/train/fixture.h"
#include "train/model/params/dense.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static lv_params *declare_four(void)
{
    lv_params *params = NULL;
    assert_int_equal(lv_params_create(&params), LV_OK);
    lv_params_declare(params, "vision_tower.a.weight", 2, (int64_t[]){2, 3}, true, true);
    lv_params_declare(params, "vision_tower.unused.weight", 1, (int64_t[]){3}, true, false);
    lv_params_declare(params, "projector.0.weight", 2, (int64_t[]){5, 3}, true, true);
    lv_params_declare(params, "projector.0.bias", 1, (int64_t[]){5}, false, true);
    return params;
}

static int train(lv_params *params, const char *glob)
{
    return lv_params_set_trainable(params, &glob, 1);
}

static bool trains(lv_params *params, const char *name)
{
    const lv_param *param = lv_params_find(params, name);
    assert_int_equal(param->trainable, param->tensor.requires_grad);
    return param->trainable;
}

static void trainable_ones_lie_end_to_end_in_order(void **state)
{
    (void)state;
    lv_params *params = declare_four();
    assert_int_equal(train(params, "projector"), LV_OK);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    const lv_param *w = lv_params_find(params, "projector.0.weight");
    const lv_param *b = lv_params_find(params, "projector.0.bias");
    assert_int_equal(lv_params_flat_count(params), 20);
    assert_int_equal(w->offset, 0);
    assert_int_equal(b->offset, 15);
    assert_ptr_equal(b->tensor.data, masters_of(params) + 15);
    assert_ptr_equal(b->tensor.grad, lv_params_flat_grad(params) + 15);
    assert_int_equal((uintptr_t)masters_of(params) % 64, 0);
    assert_int_equal((uintptr_t)lv_params_flat_grad(params) % 64, 0);
    for (int i = 0; i < 20; i++) {
        assert_true(lv_params_flat_grad(params)[i] == 0);
    }
    assert_null(lv_params_find(params, "vision_tower.a.weight")->tensor.data);
    lv_params_destroy(&params);
    assert_null(params);
    lv_params_destroy(&params);
}

static void nothing_trainable_gives_no_flat_buffers(void **state)
{
    (void)state;
    lv_params *params = declare_four();
    assert_int_equal(lv_params_set_trainable(params, NULL, 0), LV_OK);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    assert_int_equal(lv_params_flat_count(params), 0);
    assert_null(masters_of(params));
    lv_params_destroy(&params);
}

static void a_bare_word_is_a_prefix_that_ends_at_a_dot(void **state)
{
    (void)state;
    lv_params *params = declare_four();
    assert_int_equal(train(params, "projector.0"), LV_OK);
    assert_true(trains(params, "projector.0.bias"));
    assert_false(trains(params, "vision_tower.a.weight"));
    assert_int_equal(train(params, "vision_tower.a.weight"), LV_OK);
    assert_true(trains(params, "vision_tower.a.weight"));
    assert_false(trains(params, "projector.0.bias"));
    assert_fails(train(params, "project"), LV_ERR_CONFIG, "project");
    assert_fails(train(params, ""), LV_ERR_CONFIG, "fits no parameter");
    lv_params_destroy(&params);
}

static void globs_choose_by_name_and_never_what_is_unused(void **state)
{
    (void)state;
    lv_params *params = declare_four();
    assert_int_equal(train(params, "*.weight"), LV_OK);
    assert_true(trains(params, "vision_tower.a.weight"));
    assert_true(trains(params, "projector.0.weight"));
    assert_false(trains(params, "projector.0.bias"));
    assert_false(trains(params, "vision_tower.unused.weight"));
    assert_int_equal(train(params, "projector.[0-9].b???"), LV_OK);
    assert_true(trains(params, "projector.0.bias"));
    lv_params_destroy(&params);
}

static void a_glob_that_fits_nothing_names_what_there_is(void **state)
{
    (void)state;
    lv_params *params = declare_four();
    assert_fails(train(params, "langauge_model"), LV_ERR_CONFIG, "langauge_model");
    assert_non_null(strstr(lv_error_message(), "vision_tower, projector"));
    assert_fails(train(params, "vision_tower.unused"), LV_ERR_CONFIG, "vision_tower.unused");
    lv_params_destroy(&params);
}

/* lv_params_map of a file's bytes. */
static int map(lv_params *params, lv_param *param, const void *data, lv_dtype dtype, int n_dims,
               int64_t rows, int64_t columns)
{
    const lv_weight weight = {.name = param->name,
                              .dtype = dtype,
                              .n_dims = n_dims,
                              .shape = {rows, columns, 1, 1},
                              .data = data};
    return lv_params_map(params, param, &weight);
}

static void map_converts_unaligned_values_and_refuses_another_shape(void **state)
{
    (void)state;
    lv_params *params = declare_four();
    assert_int_equal(train(params, "projector.0.bias"), LV_OK);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    lv_param *bias = lv_params_find(params, "projector.0.bias");
    lv_param *frozen = lv_params_find(params, "projector.0.weight");
    /* bf16 1, -2, 0.5, NaN, 3 behind one odd byte; f16 1, -2, 65504 */
    const uint8_t bf16[] = {9, 0x80, 0x3f, 0x00, 0xc0, 0x00, 0x3f, 0xc0, 0x7f, 0x40, 0x40};
    const uint8_t f16[1 + 2 * 15] = {9, 0x00, 0x3c, 0x00, 0xc0, 0xff, 0x7b};
    assert_int_equal(map(params, bias, bf16 + 1, LV_BF16, 1, 5, 1), LV_OK);
    assert_int_equal(map(params, frozen, f16 + 1, LV_F16, 2, 5, 3), LV_OK);
    const lv_real *x = masters_of(params), *y = lv_tensor_real(&frozen->tensor);
    assert_true(x[0] == 1 && x[1] == -2 && x[2] == 0.5f && isnan(x[3]) && x[4] == 3);
    assert_true(y[0] == 1 && y[1] == -2 && y[2] == 65504);
    assert_fails(map(params, bias, bf16, LV_BF16, 1, 4, 1), LV_ERR_SHAPE, "projector.0.bias");
    assert_non_null(strstr(lv_error_message(), "(4)"));
    assert_non_null(strstr(lv_error_message(), "(5)"));
    assert_int_equal(map(params, bias, bf16, LV_BF16, 2, 5, 1), LV_ERR_SHAPE);
    lv_params_destroy(&params);
}

static double index_of(const void *context, int64_t i)
{
    (void)context;
    return (double)i;
}

static void frozen_values_are_read_where_they_lie_if_the_ops_can(void **state)
{
    (void)state;
    lv_params *params = declare_four();
    const uint8_t bytes[1 + 15 * 2] = {9, 0x80, 0x3f, 0x00, 0xc0}; /* bf16 1, -2, 0, ... */
    lv_weight bf16 = {.dtype = LV_BF16, .n_dims = 2, .shape = {5, 3}, .data = bytes + 1};
    const float values[6] = {1, 2, 3, 4, 5, 6};
    lv_weight f32 = {.dtype = LV_F32, .n_dims = 2, .shape = {2, 3}, .data = values};
    lv_param *projector = lv_params_find(params, "projector.0.weight");
    lv_param *tower = lv_params_find(params, "vision_tower.a.weight");
    assert_int_equal(lv_params_allocate(params), LV_OK);

    assert_int_equal(lv_params_map(params, projector, &bf16), LV_OK);
    assert_int_equal(projector->tensor.dtype, LV_F32); /* its ops do not say that they take bf16 */
    assert_true(lv_tensor_real(&projector->tensor)[1] == -2);

    projector->takes_bf16 = true;
    assert_int_equal(lv_params_map(params, tower, &f32), LV_OK);
    assert_ptr_equal(tower->tensor.data, values);
    bf16.shape[0] = 2;
    tower->takes_bf16 = true;
    assert_int_equal(lv_params_map(params, tower, &bf16), LV_OK);
    assert_ptr_equal(tower->tensor.data, bytes + 1);
    assert_int_equal(tower->tensor.dtype, LV_BF16);

    assert_int_equal(lv_params_fill(params, tower, index_of, NULL), LV_OK);
    assert_ptr_not_equal(tower->tensor.data, bytes + 1);
    assert_int_equal(tower->tensor.dtype, LV_F32);
    assert_true(lv_tensor_real(&tower->tensor)[5] == 5);
    bf16.shape[1] = 4;
    assert_fails(lv_params_map(params, tower, &bf16), LV_ERR_SHAPE, "vision_tower.a.weight");
    lv_params_destroy(&params);
}

static void what_is_trained_is_never_mapped(void **state)
{
    (void)state;
    lv_params *params = declare_four();
    const float values[6] = {1, 2, 3, 4, 5, 6};
    const lv_weight f32 = {.dtype = LV_F32, .n_dims = 2, .shape = {2, 3}, .data = values};
    assert_int_equal(train(params, "vision_tower.a.weight"), LV_OK);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    assert_int_equal(lv_params_map(params, lv_params_find(params, "vision_tower.a.weight"), &f32),
                     LV_OK);
    assert_true(masters_of(params)[5] == 6);
    assert_ptr_not_equal(masters_of(params), values);
    lv_params_destroy(&params);
}

/* ---- a bf16 run ---- */

/* The weights take bf16, the bias does not. */
static lv_params *declare_bf16_run(const char *trained)
{
    lv_params *params = declare_four();
    lv_params_dtype_set(params, LV_BF16);
    lv_params_find(params, "projector.0.weight")->takes_bf16 = true;
    lv_params_find(params, "vision_tower.a.weight")->takes_bf16 = true;
    lv_params_find(params, "vision_tower.unused.weight")->takes_bf16 = true;
    assert_int_equal(train(params, trained), LV_OK);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    return params;
}

static void what_is_trained_in_bf16_has_an_f32_master_and_a_working_copy(void **state)
{
    (void)state;
    lv_params *params = declare_bf16_run("projector");
    lv_param *w = lv_params_find(params, "projector.0.weight");
    lv_param *b = lv_params_find(params, "projector.0.bias");
    const lv_real *master = masters_of(params);
    const uint16_t *working = working_of(params);
    float values[15] = {1, 1.00390625f, 1.01171875f, 1.005f, -3.0e38f}; /* 1 + 2^-8: half a step */
    assert_int_equal((uintptr_t)working % 64, 0);
    assert_int_equal(map(params, w, values, LV_F32, 2, 5, 3), LV_OK);
    assert_int_equal(map(params, b, values, LV_F32, 1, 5, 1), LV_OK);

    assert_int_equal(w->tensor.dtype, LV_BF16);
    assert_ptr_equal(w->tensor.data, working);
    assert_ptr_equal(w->tensor.grad, lv_params_flat_grad(params));
    assert_int_equal(lv_grad_dtype(&w->tensor), LV_F32);
    assert_memory_equal(master, values, sizeof values);
    const uint16_t rounded[] = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xff62, 0}; /* halves to even */
    assert_memory_equal(working, rounded, sizeof rounded);

    assert_int_equal(b->tensor.dtype, LV_F32); /* a bias: the master itself */
    assert_ptr_equal(b->tensor.data, master + 15);
    assert_true(master[15 + 3] == 1.005f);

    lv_tensor exact = lv_params_exact(params, w);
    assert_int_equal(exact.dtype, LV_F32);
    assert_ptr_equal(exact.data, master);

    masters_of(params)[14] = -2; /* as a checkpoint's values come */
    lv_params_refresh(params);
    assert_int_equal(working[14], 0xc000);
    assert_memory_equal(working, rounded, sizeof rounded);
    assert_int_equal(lv_params_fill(params, w, index_of, NULL), LV_OK);
    assert_true(master[14] == 14 && working[14] == 0x4160);
    lv_params_destroy(&params);
}

static void bf16_values_are_the_same_bits_in_the_working_copy(void **state)
{
    (void)state;
    enum { N = 1 << 15 };
    lv_params *params = NULL;
    assert_int_equal(lv_params_create(&params), LV_OK);
    lv_params_dtype_set(params, LV_BF16);
    lv_params_declare(params, "a", 1, (int64_t[]){N}, true, true);
    lv_params_at(params, 0)->takes_bf16 = true;
    assert_int_equal(train(params, "a"), LV_OK);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    uint8_t *bytes = malloc(2 * N + 1); /* at an odd address */
    for (int i = 0; i < N; i++) {
        const uint16_t finite = (uint16_t)((i & 0x7f7f) | (i & 0x80 ? 0x8000 : 0)); /* no NaN */
        memcpy(bytes + 1 + 2 * i, &finite, 2);
    }
    assert_int_equal(map(params, lv_params_at(params, 0), bytes + 1, LV_BF16, 1, N, 1), LV_OK);
    assert_memory_equal(working_of(params), bytes + 1, 2 * N);
    lv_params_refresh(params);
    assert_memory_equal(working_of(params), bytes + 1, 2 * N);
    free(bytes);
    lv_params_destroy(&params);
}

static void frozen_values_become_bf16_and_the_file_keeps_what_they_were(void **state)
{
    (void)state;
    lv_params *params = declare_bf16_run("projector.0.bias");
    lv_param *tower = lv_params_find(params, "vision_tower.a.weight");
    lv_param *unused = lv_params_find(params, "vision_tower.unused.weight");
    lv_param *projector = lv_params_find(params, "projector.0.weight");
    const float values[6] = {1, 1.005f, 3, 4, 5, -6};
    const uint16_t halves[6] = {0x3c00, 0x3c01, 0, 0, 0, 0xc600}; /* 1, 1 + 2^-10, ..., -6 */
    lv_weight f32 = {.dtype = LV_F32, .n_dims = 2, .shape = {2, 3}, .data = values};
    lv_weight f16 = {.dtype = LV_F16, .n_dims = 2, .shape = {2, 3}, .data = halves};

    assert_int_equal(lv_params_map(params, tower, &f32), LV_OK);
    assert_int_equal(tower->tensor.dtype, LV_BF16);
    assert_false(tower->mapped);
    const uint16_t rounded[] = {0x3f80, 0x3f81, 0x4040, 0x4080, 0x40a0, 0xc0c0};
    assert_memory_equal(tower->tensor.data, rounded, sizeof rounded);
    assert_ptr_equal(lv_params_exact(params, tower).data, values);
    assert_int_equal(lv_params_exact(params, tower).dtype, LV_F32);

    assert_int_equal(lv_params_map(params, tower, &f16), LV_OK);
    const uint16_t of_f16[] = {0x3f80, 0x3f80, 0, 0, 0, 0xc0c0};
    assert_memory_equal(tower->tensor.data, of_f16, sizeof of_f16);
    assert_int_equal(lv_params_exact(params, tower).dtype, LV_F16);

    /* what nothing reads takes no memory */
    f32.n_dims = 1;
    f32.shape[0] = 3;
    f32.shape[1] = 1;
    assert_int_equal(lv_params_map(params, unused, &f32), LV_OK);
    assert_ptr_equal(unused->tensor.data, values);

    /* without a file the values in memory are all there is */
    assert_int_equal(lv_params_fill(params, projector, index_of, NULL), LV_OK);
    assert_int_equal(projector->tensor.dtype, LV_BF16);
    assert_int_equal(((uint16_t *)projector->tensor.data)[3], 0x4040);
    assert_ptr_equal(lv_params_exact(params, projector).data, projector->tensor.data);
    lv_params_destroy(&params);
}

static void memory_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    lv_params *params = NULL;
    assert_int_equal(lv_params_create(&params), LV_OK);
    lv_params_declare(params, "a.big", 2, (int64_t[]){1 << 30, 1 << 30}, true, true);
    lv_params_declare(params, "b.huge", 3, (int64_t[]){1 << 30, 1 << 30, 1 << 30}, true, true);
#ifndef __SANITIZE_ADDRESS__ /* it ends the program instead of refusing */
    assert_int_equal(train(params, "a"), LV_OK);
    assert_fails(lv_params_allocate(params), LV_ERR_MEMORY, "4611686018427387904 bytes");
#endif
    assert_int_equal(train(params, "b"), LV_OK);
    assert_fails(lv_params_allocate(params), LV_ERR_MEMORY, "b.huge");
    lv_params_destroy(&params);
}

static void a_part_has_the_initial_values_that_it_was_declared_with(void **state)
{
    (void)state;
    lv_params *params = NULL;
    assert_int_equal(lv_params_create(&params), LV_OK);
    lv_params_part_begin(params, LV_PART_CONNECTOR);
    const lv_dense linear = lv_dense_declare(params, "projector.0", 40, 50, true, true,
                                             (lv_init){LV_INIT_UNIFORM, 0.25});
    const lv_dense gauss = lv_dense_declare(params, "projector.1", 40, 50, true, true,
                                            (lv_init){LV_INIT_NORMAL, 0.25});
    const lv_dense norm = lv_norm_declare(params, "projector.2", 50, true, true);
    lv_params_part_begin(params, LV_PART_LANGUAGE);
    lv_params_declare(params, "language_model.a", 1, (int64_t[]){3}, true, true);
    assert_int_equal(lv_params_count_of(params, LV_PART_CONNECTOR), 6);
    assert_int_equal(lv_params_count_of(params, LV_PART_ADAPTER), 0);
    assert_int_equal(train(params, "projector.2"), LV_OK);
    assert_true(lv_params_trains(params, LV_PART_CONNECTOR));
    assert_false(lv_params_trains(params, LV_PART_LANGUAGE));
    assert_int_equal(lv_params_allocate(params), LV_OK);
    assert_int_equal(lv_params_init_part(params, LV_PART_CONNECTOR, 7), LV_OK);
    double largest = 0, sum = 0, squares = 0;
    for (int i = 0; i < 2000; i++) {
        largest = fmax(largest, fabs((double)lv_tensor_real(linear.w)[i]));
        sum += (double)lv_tensor_real(gauss.w)[i];
        squares += pow((double)lv_tensor_real(gauss.w)[i], 2);
    }
    assert_true(largest > 0.249 && largest <= 0.25);
    assert_true(fabs(sum / 2000) < 0.03 && fabs(sqrt(squares / 2000) - 0.25) < 0.02);
    assert_true(lv_tensor_real(linear.b)[0] != 0 && lv_tensor_real(gauss.b)[0] == 0);
    assert_true(lv_tensor_real(norm.w)[49] == 1 && lv_tensor_real(norm.b)[49] == 0);
    assert_fails(lv_params_init_part(params, LV_PART_LANGUAGE, 7), LV_ERR_CONFIG,
                 "language_model.a");
    lv_params_destroy(&params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainable_ones_lie_end_to_end_in_order),
        cmocka_unit_test(nothing_trainable_gives_no_flat_buffers),
        cmocka_unit_test(a_bare_word_is_a_prefix_that_ends_at_a_dot),
        cmocka_unit_test(globs_choose_by_name_and_never_what_is_unused),
        cmocka_unit_test(a_glob_that_fits_nothing_names_what_there_is),
        cmocka_unit_test(a_part_has_the_initial_values_that_it_was_declared_with),
        cmocka_unit_test(map_converts_unaligned_values_and_refuses_another_shape),
        cmocka_unit_test(frozen_values_are_read_where_they_lie_if_the_ops_can),
        cmocka_unit_test(what_is_trained_is_never_mapped),
        cmocka_unit_test(what_is_trained_in_bf16_has_an_f32_master_and_a_working_copy),
        cmocka_unit_test(bf16_values_are_the_same_bits_in_the_working_copy),
        cmocka_unit_test(frozen_values_become_bf16_and_the_file_keeps_what_they_were),
        cmocka_unit_test(memory_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests_name("params", tests, NULL, NULL);
}
