/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "tests/support/weights_find.h"
#include "tests/units/train/fixture.h"
#include "train/model/params/params.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MEMORY_BYTES = 3 * 64 };

/* In the file: bf16 1, -2, 0.5; f32 1 + 2^-20, 2, 3, 4; f16 1, -2, at odd offsets. */
static void write_file(void **state)
{
    const uint8_t data[] = {7,    0x80, 0x3f, 0x00, 0xc0, 0x00, 0x3f, 0x08, 0x00,
                            0x80, 0x3f, 0,    0,    0,    0x40, 0,    0,    0x40,
                            0x40, 0,    0,    0x80, 0x40, 0,    0x3c, 0x00, 0xc0};
    fixture_safetensors(state, "a.safetensors",
                        "{\"byte\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                        "\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[1,7]},"
                        "\"f\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[7,23]},"
                        "\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[23,27]},"
                        "\"none\":{\"dtype\":\"F16\",\"shape\":[0],\"data_offsets\":[27,27]}}",
                        data, sizeof data);
}

/* A model of these three, of another that is in no file and one that no step reads. */
static lv_params *declare(void **state, lv_dtype dtype, const char *trained)
{
    lv_params *params = NULL;
    lv_weights *weights = NULL;
    assert_int_equal(lv_params_create(&params), LV_OK);
    lv_params_dtype_set(params, dtype);
    lv_params_copy_set(params);
    lv_params_declare(params, "b", 1, (int64_t[]){3}, true, true);
    lv_params_declare(params, "fresh", 1, (int64_t[]){2}, true, true);
    lv_params_declare(params, "f", 2, (int64_t[]){2, 2}, true, true);
    lv_params_declare(params, "h", 1, (int64_t[]){2}, true, true);
    lv_params_declare(params, "unused", 1, (int64_t[]){2}, true, false);
    lv_params_find(params, "b")->takes_bf16 = true;
    lv_params_find(params, "h")->takes_bf16 = true;
    if (trained) {
        assert_int_equal(lv_params_set_trainable(params, &trained, 1), LV_OK);
    }
    assert_int_equal(lv_params_allocate(params), LV_OK);
    write_file(state);
    assert_int_equal(lv_weights_open(&weights, fixture_path(state, "a.safetensors")), LV_OK);
    const char *const names[] = {"b", "f", "h", "unused"}, *const from[] = {"b", "f", "h", "h"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(
            lv_params_map(params, lv_params_find(params, names[i]), weights_find(weights, from[i])),
            LV_OK);
    }
    lv_params_keep(params, &weights);
    return params;
}

static void *memory_of(const lv_params *params)
{
    assert_int_equal(lv_params_copy_bytes(params), MEMORY_BYTES);
    void *memory = aligned_alloc(64, MEMORY_BYTES);
    assert_non_null(memory);
    memset(memory, 0xff, MEMORY_BYTES);
    return memory;
}

static void assert_in(const lv_param *param, const char *memory)
{
    const char *data = param->tensor.data;
    assert_true(data >= memory && data < memory + MEMORY_BYTES);
    assert_int_equal((uintptr_t)data % 64, 0);
}

static void frozen_values_are_copied_in_the_dtype_that_the_ops_would_have_read(void **state)
{
    lv_params *params = declare(state, LV_F32, NULL);
    char *memory = memory_of(params);
    const lv_param *b = lv_params_find(params, "b"), *f = lv_params_find(params, "f");
    const lv_param *h = lv_params_find(params, "h"), *unused = lv_params_find(params, "unused");
    assert_null(b->tensor.data);
    assert_int_equal(b->tensor.dtype, LV_BF16); /* known before there are values */
    assert_int_equal(lv_params_copy_frozen(params, memory, 0, 1), LV_OK);
    assert_in(b, memory);
    assert_in(f, memory);
    assert_in(h, memory);
    assert_memory_equal(b->tensor.data, ((uint16_t[]){0x3f80, 0xc000, 0x3f00}), 6);
    const lv_real *x = lv_tensor_real(&f->tensor), *y = lv_tensor_real(&h->tensor);
    assert_true(x[0] == 1 + 0x1p-20f && x[1] == 2 && x[2] == 3 && x[3] == 4);
    assert_true(y[0] == 1 && y[1] == -2);
    assert_true(unused->mapped && !unused->copied);
    lv_params_destroy(&params);
    free(memory);
}

static void in_a_bf16_run_what_takes_bf16_is_narrowed_once_for_all(void **state)
{
    lv_params *params = declare(state, LV_BF16, NULL);
    char *memory = memory_of(params);
    const lv_param *f = lv_params_find(params, "f"), *h = lv_params_find(params, "h");
    assert_int_equal(lv_params_copy_frozen(params, memory, 0, 1), LV_OK);
    assert_memory_equal(h->tensor.data, ((uint16_t[]){0x3f80, 0xc000}), 4);
    assert_int_equal(f->tensor.dtype, LV_F32);
    /* what is saved is what the file has, narrowed or not */
    lv_tensor exact = lv_params_exact(params, h);
    assert_int_equal(exact.dtype, LV_F16);
    assert_memory_equal(exact.data, ((uint16_t[]){0x3c00, 0xc000}), 4);
    assert_ptr_equal(lv_params_exact(params, f).data, f->tensor.data);
    lv_params_destroy(&params);
    free(memory);
}

static void each_part_copies_its_pieces_and_all_parts_copy_everything(void **state)
{
    lv_params *params = declare(state, LV_F32, NULL);
    char *all = memory_of(params), *parts = memory_of(params), *before = memory_of(params);
    assert_int_equal(lv_params_copy_frozen(params, all, 0, 1), LV_OK);
    lv_params_destroy(&params);
    for (int part = 0; part < 5; part++) { /* more than there are pieces */
        params = declare(state, LV_F32, NULL);
        memcpy(before, parts, MEMORY_BYTES);
        assert_int_equal(lv_params_copy_frozen(params, parts, part, 5), LV_OK);
        assert_int_equal(memcmp(before, parts, MEMORY_BYTES) != 0, part < 3);
        lv_params_destroy(&params);
    }
    assert_memory_equal(all, parts, MEMORY_BYTES);
    free(all);
    free(parts);
    free(before);
}

static double index_of(const void *context, int64_t i)
{
    (void)context;
    return (double)i;
}

static void what_is_trained_or_fresh_has_memory_of_its_own(void **state)
{
    lv_params *params = declare(state, LV_F32, "f");
    lv_param *fresh = lv_params_find(params, "fresh");
    assert_int_equal(lv_params_copy_bytes(params), 2 * 64);
    assert_int_equal(lv_params_fill(params, fresh, index_of, NULL), LV_OK);
    assert_int_equal(lv_params_copy_bytes(params), 2 * 64);
    assert_true(lv_tensor_real(&lv_params_find(params, "f")->tensor)[3] == 4);
    assert_true(lv_tensor_real(&fresh->tensor)[1] == 1);
    /* a value that is set afterwards is the rank's own again */
    lv_param *h = lv_params_find(params, "h");
    assert_int_equal(lv_params_fill(params, h, index_of, NULL), LV_OK);
    assert_false(h->copied);
    assert_int_equal(lv_params_copy_bytes(params), 64);
    lv_params_memory memory = lv_params_memory_of(params);
    assert_int_equal(memory.frozen_bytes, 4 * (int64_t)sizeof(lv_real));
    lv_params_destroy(&params);
}

static void a_file_that_was_cut_meanwhile_is_named(void **state)
{
    lv_params *params = declare(state, LV_F32, NULL);
    char *memory = memory_of(params);
    assert_int_equal(truncate(fixture_path(state, "a.safetensors"), 100), 0);
    assert_fails(lv_params_copy_frozen(params, memory, 0, 1), LV_ERR_IO, "a.safetensors: it had ");
    assert_non_null(strstr(lv_error_message(), "cut short"));
    assert_null(lv_params_find(params, "b")->tensor.data);
    lv_params_destroy(&params);
    free(memory);
}

static void a_plan_counts_what_would_be_copied(void **state)
{
    lv_params *params = NULL;
    lv_weight weight = {.dtype = LV_F16, .n_dims = 1, .shape = {5}};
    (void)state;
    assert_int_equal(lv_params_create(&params), LV_OK);
    assert_int_equal(lv_params_dry_set(params), LV_OK);
    lv_params_copy_set(params);
    lv_params_declare(params, "a", 1, weight.shape, true, true);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    assert_int_equal(lv_params_map(params, lv_params_at(params, 0), &weight), LV_OK);
    lv_params_memory memory = lv_params_memory_of(params);
    assert_int_equal(memory.copied_bytes, 5 * (int64_t)sizeof(lv_real));
    assert_int_equal(memory.mapped_bytes + memory.frozen_bytes, 0);
    lv_params_destroy(&params);
}

/* ---- the checksum ---- */

/* Two of 40000 and one of 3 values, of which only the last is frozen. */
static lv_params *declare_trained(lv_dtype dtype)
{
    static const char *const trained[] = {"x", "y"};
    lv_params *params = NULL;
    assert_int_equal(lv_params_create(&params), LV_OK);
    lv_params_dtype_set(params, dtype);
    for (int i = 0; i < 3; i++) {
        const char *name = ((const char *const[]){"x", "y", "z"})[i];
        lv_params_declare(params, name, 1, (int64_t[]){i < 2 ? 40000 : 3}, true, true);
        lv_params_at(params, (size_t)i)->takes_bf16 = i == 0;
    }
    assert_int_equal(lv_params_set_trainable(params, trained, 2), LV_OK);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(lv_params_fill(params, lv_params_at(params, i), index_of, NULL), LV_OK);
    }
    return params;
}

static void any_bit_of_a_trainable_value_changes_the_checksum(void **state)
{
    (void)state;
    for (lv_dtype dtype = LV_F32; dtype <= LV_BF16; dtype++) {
        lv_params *params = declare_trained(dtype);
        const uint64_t sum = lv_params_checksum(params);
        assert_true(sum == lv_params_checksum(params));
        for (size_t i = 0; i < 2; i++) {
            const lv_tensor *x = &lv_params_at(params, i)->tensor;
            const size_t n_bytes = 40000 * lv_dtype_bytes(x->dtype);
            const size_t places[] = {0, 1, 31, 32, 65535, 65536, n_bytes - 1};
            for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
                for (int bit = 0; bit < 8; bit++) {
                    uint8_t *byte = (uint8_t *)x->data + places[p];
                    *byte ^= (uint8_t)(1 << bit);
                    assert_true(lv_params_checksum(params) != sum);
                    *byte ^= (uint8_t)(1 << bit);
                }
            }
        }
        ((lv_real *)lv_params_find(params, "z")->tensor.data)[1] = 7; /* frozen */
        assert_true(lv_params_checksum(params) == sum);
        lv_params_destroy(&params);
    }
}

static void values_that_change_places_change_the_checksum(void **state)
{
    (void)state;
    lv_params *params = declare_trained(LV_F32);
    lv_real *x = lv_tensor_real(&lv_params_find(params, "x")->tensor);
    lv_real *y = lv_tensor_real(&lv_params_find(params, "y")->tensor);
    const uint64_t sum = lv_params_checksum(params);
    for (int far = 1; far <= 16384; far *= 4) { /* in one lane, and in another piece */
        lv_real value = x[0];
        x[0] = x[far];
        x[far] = value;
        assert_true(lv_params_checksum(params) != sum);
        x[far] = x[0];
        x[0] = value;
        x[0] = -x[0]; /* the same bit twice */
        x[far] = -x[far];
        assert_true(lv_params_checksum(params) != sum);
        x[0] = -x[0];
        x[far] = -x[far];
    }
    assert_true(lv_params_checksum(params) == sum);
    x[1] = -x[1]; /* the highest bits of two words of a lane: products do not spread them */
    x[9] = -x[9];
    assert_true(lv_params_checksum(params) != sum);
    x[1] = -x[1];
    x[9] = -x[9];
    y[9] = 1;
    const uint64_t in_y = lv_params_checksum(params);
    y[9] = 9;
    x[9] = 1;
    assert_true(lv_params_checksum(params) != in_y);
    lv_params_destroy(&params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            frozen_values_are_copied_in_the_dtype_that_the_ops_would_have_read, fixture_open,
            fixture_close),
        cmocka_unit_test_setup_teardown(in_a_bf16_run_what_takes_bf16_is_narrowed_once_for_all,
                                        fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(each_part_copies_its_pieces_and_all_parts_copy_everything,
                                        fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(what_is_trained_or_fresh_has_memory_of_its_own,
                                        fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(a_file_that_was_cut_meanwhile_is_named, fixture_open,
                                        fixture_close),
        cmocka_unit_test(a_plan_counts_what_would_be_copied),
        cmocka_unit_test(any_bit_of_a_trainable_value_changes_the_checksum),
        cmocka_unit_test(values_that_change_places_change_the_checksum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
