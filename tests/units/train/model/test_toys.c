/* SPDX-License-Identifier: Apache-2.0
 *
 * A connector, a vision tower, a family of language models and a format of weights, each added by
 * one file and one line of a table: the models that they make are initialised, trained, saved and
 * opened again.
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "tests/support/toys/toys.h"
#include "tests/units/train/fixture.h"
#include "train/model/connector/connector.h"
#include "train/model/language/families.h"
#include "train/model/llava/init.h"
#include "train/model/llava/llava.h"
#include "train/model/vision/vision.h"
#include "train/model/weights/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { S = 8, ROWS = 3, T = ROWS + 4 }; /* 5 rows of the tower, one of two of them */

static const char *const everything[] = {"vision_tower", "projector", "language_model"};

static const char shape[] =
    "{\"vision_tower\":{\"model_type\":\"toy_vision\",\"hidden_size\":12,\"num_hidden_layers\":3,"
    "\"image_size\":8,\"patch_size\":4,\"toy_scale\":50},"
    "\"language_model\":{\"model_type\":\"toy_lm\",\"vocab_size\":16,\"hidden_size\":8,"
    "\"intermediate_size\":16,\"num_hidden_layers\":2,\"num_attention_heads\":2}}";

static const char *init_parts(void **state)
{
    fixture_write(state, "shape.json", shape);
    assert_int_equal(lv_model_init(fixture_path(state, "shape.json"), 3, NULL, *state), LV_OK);
    return *state;
}

static lv_llava *open_parts(void **state, const char *projector_weights)
{
    lv_llava *model = NULL;
    const lv_llava_options options = {
        .vision_tower = fixture_path(state, "vision_tower"),
        .language_model = fixture_path(state, "language_model"),
        .projector_type = "every2",
        .projector_weights = projector_weights,
        .trainable = everything,
        .n_trainable = 3,
    };
    if (lv_llava_open(&model, &options) < 0) {
        fail_msg("%s", lv_error_message());
    }
    return model;
}

/* One image and a few tokens. returns the loss; with a rate, one step of gradient descent */
static double run_step(lv_llava *model, double rate)
{
    float pixels[3 * S * S];
    int64_t seq_start[] = {0, T};
    int32_t source[T] = {1}, position[T], label[T];
    for (int i = 0; i < 3 * S * S; i++) {
        pixels[i] = (float)sin(i);
    }
    for (int t = 0; t < T; t++) {
        position[t] = t;
        source[t] = t == 0 ? 1 : t <= ROWS ? -t : 2 + t;
        label[t] = t < ROWS ? LV_NO_LABEL : 3 + t;
    }
    const lv_batch batch = {.n_samples = 1,
                            .seq_start = seq_start,
                            .source = source,
                            .position = position,
                            .label = label,
                            .n_supervised = T - ROWS,
                            .n_images = 1,
                            .pixels = pixels};
    lv_params *params = lv_llava_params(model);
    lv_tape *tape = NULL;
    double loss = 0;
    assert_int_equal(lv_tape_create(&tape, 0), LV_OK);
    lv_params_grad_begin(params);
    lv_backward(tape, lv_llava_loss(model, tape, &batch, &loss));
    lv_params_grad_end(params);
    const int64_t n = lv_params_flat_count(params);
    const lv_real *grad = lv_params_flat_grad(params);
    for (int64_t i = 0; i < n; i++) {
        masters_of(params)[i] -= (lv_real)rate * grad[i];
    }
    lv_tape_destroy(&tape);
    return loss;
}

static bool has_gradient(lv_llava *model, const char *name)
{
    const lv_param *param = lv_params_find(lv_llava_params(model), name);
    bool found = false;
    assert_non_null(param);
    for (int64_t i = 0; i < lv_tensor_count(&param->tensor); i++) {
        found = found || ((const lv_real *)param->tensor.grad)[i] != 0;
    }
    return found;
}

static void toys_are_initialised_trained_saved_and_opened_again(void **state)
{
    bool original = false;
    char type[64];
    init_parts(state);
    lv_llava *model = open_parts(state, NULL), *again = NULL;
    const lv_llava_config *config = lv_llava_config_of(model);
    assert_int_equal(config->vision.own[0], 50);
    assert_true(config->text.qkv_bias && !config->text.o_bias);
    assert_true(config->image_mean[0] == 0.5f && config->image_std[2] == 0.25f);
    assert_int_equal(lv_llava_rows_per_image(config), ROWS);

    const double before = run_step(model, 0.02);
    assert_true(has_gradient(model, "projector.mix.weight"));
    assert_true(has_gradient(model, "vision_tower.patch.weight"));
    assert_true(has_gradient(model, "vision_tower.blocks.1.weight"));
    assert_true(has_gradient(model, "language_model.model.layers.1.self_attn.q_proj.bias"));
    const double after = run_step(model, 0.02);
    assert_true(after < before);

    const char *dir = fixture_path(state, "saved");
    assert_int_equal(
        lv_hf_save_llava(lv_llava_params(model), config, NULL, false, LV_F32, dir, &original),
        LV_OK);
    assert_true(original);
    assert_int_equal(unlink(fixture_path(state, "saved/preprocessor_config.json")), 0);
    const lv_llava_options options = {.llava = dir, .trainable = everything, .n_trainable = 3};
    assert_int_equal(lv_llava_open(&again, &options), LV_OK);
    const lv_llava_config *found = lv_llava_config_of(again);
    assert_ptr_equal(found->vision.tower, lv_tower_find("toy_vision"));
    assert_ptr_equal(found->text.family, lv_family_find("toy_lm"));
    assert_string_equal(lv_connector_type(type, sizeof type, &found->connector), "every2");
    assert_int_equal(found->vision.own[0], 50);
    assert_true(found->image_mean[0] == 0.5f && found->image_std[2] == 0.25f);
    assert_true(run_step(again, 0) == run_step(model, 0));
    lv_llava_close(&again);
    lv_llava_close(&model);
}

static void a_toy_tower_and_family_have_the_form_of_transformers(void **state)
{
    bool original = true;
    cJSON *root = NULL;
    init_parts(state);
    lv_llava *model = NULL, *again = NULL;
    lv_llava_options options = {
        .vision_tower = fixture_path(state, "vision_tower"),
        .language_model = fixture_path(state, "language_model"),
        .projector_type = "linear",
    };
    assert_int_equal(lv_llava_open(&model, &options), LV_OK);
    const char *dir = fixture_path(state, "saved");
    assert_int_equal(lv_hf_save_llava(lv_llava_params(model), lv_llava_config_of(model), NULL,
                                      false, LV_BF16, dir, &original),
                     LV_OK);
    assert_false(original);
    assert_int_equal(lv_json_read(&root, fixture_path(state, "saved/config.json")), LV_OK);
    assert_string_equal(lv_json_find(lv_json_find(root, "text_config"), "model_type")->valuestring,
                        "toy_lm");
    assert_string_equal(
        lv_json_find(lv_json_find(root, "vision_config"), "model_type")->valuestring, "toy_vision");
    cJSON_Delete(root);
    options = (lv_llava_options){.llava = dir};
    assert_int_equal(lv_llava_open(&again, &options), LV_OK);
    assert_int_equal(lv_llava_config_of(again)->text.qkv_bias, true);
    lv_llava_close(&again);
    lv_llava_close(&model);
}

static void put_tensor(FILE *file, const lv_param *param, const char *name)
{
    toy_record record = {.n_dims = param->tensor.n_dims};
    snprintf(record.name, sizeof record.name, "%s", name);
    memcpy(record.shape, param->tensor.shape, sizeof record.shape);
    assert_int_equal(fwrite(&record, sizeof record, 1, file), 1);
    const size_t n = (size_t)lv_tensor_count(&param->tensor);
    assert_int_equal(fwrite(param->tensor.data, sizeof(float), n, file), n);
}

static void a_toy_format_is_read_under_the_connectors_names_in_files(void **state)
{
    init_parts(state);
    lv_llava *model = open_parts(state, NULL);
    for (int named = 0; named < 2; named++) { /* by its suffix, by its content */
        const char *path = fixture_path(state, named ? "p.toy" : "p.weights");
        const char *const names[] = {"projector.mix.weight", "projector.mix.bias"};
        const char *const in_file[] = {"model.mm_projector.mixing.weight", "projector.mix.bias"};
        FILE *file = fopen(path, "w");
        assert_int_equal(fwrite("toy\0\0\0\0", TOY_BEGIN, 1, file), 1);
        run_step(model, 0.02);
        for (int i = 0; i < 2; i++) {
            put_tensor(file, lv_params_find(lv_llava_params(model), names[i]), in_file[i]);
        }
        assert_int_equal(fclose(file), 0);
        lv_llava *again = open_parts(state, path);
        for (int i = 0; i < 2; i++) {
            const lv_param *a = lv_params_find(lv_llava_params(model), names[i]);
            const lv_param *b = lv_params_find(lv_llava_params(again), names[i]);
            assert_memory_equal(a->tensor.data, b->tensor.data,
                                (size_t)lv_tensor_count(&a->tensor) * sizeof(float));
        }
        lv_llava_close(&again);
    }
    lv_llava_close(&model);
}

static void messages_list_the_toys_and_the_rest(void **state)
{
    lv_connector_config connector;
    lv_llava_config config;
    lv_hf_kind kind;
    assert_fails(lv_connector_config_parse(&connector, "every"), LV_ERR_CONFIG,
                 "linear, mlpNx_gelu (N from 1 to 16), identity, everyN");
    fixture_write(state, "config.json", "{\"model_type\":\"mistral\"}");
    assert_fails(lv_hf_any_config(&config, &kind, *state), LV_ERR_UNSUPPORTED,
                 "there are clip, clip_vision_model, toy_vision, llama, toy_lm, llava_llama, "
                 "llava_toy, llava");
    fixture_write(state, "config.json", "{\"model_type\":\"toy_lm\",\"toy_dropout\":0.5}");
    assert_fails(lv_hf_any_config(&config, &kind, *state), LV_ERR_UNSUPPORTED, "toy_dropout");
    assert_int_equal(kind, LV_HF_LANGUAGE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)
    const struct CMUnitTest tests[] = {
        TEST(toys_are_initialised_trained_saved_and_opened_again),
        TEST(a_toy_tower_and_family_have_the_form_of_transformers),
        TEST(a_toy_format_is_read_under_the_connectors_names_in_files),
        TEST(messages_list_the_toys_and_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
