/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/llava/init.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char *shape_of(const char *name)
{
    return lv_path("%s/configs/shapes/%s.json", getenv("LLAVA_TEST_SOURCE"), name);
}

static int open_folder(void **state)
{
    char *folder = strdup("/tmp/llava_init_XXXXXX");
    assert_non_null(mkdtemp(folder));
    *state = folder;
    return 0;
}

static int close_folder(void **state)
{
    lv_dir_remove(*state);
    free(*state);
    return 0;
}

static char *init_tiny(const char *folder, const char *name, uint64_t seed)
{
    char *shape = shape_of("tiny");
    char *out = lv_path("%s/%s", folder, name);
    golden_ok(lv_model_init(shape, seed, NULL, out));
    free(shape);
    return out;
}

static lv_llava *open_model(const char *dir, const char *projector)
{
    char *tower = lv_path("%s/vision_tower", dir), *text = lv_path("%s/language_model", dir);
    const lv_llava_options options = {
        .vision_tower = tower, .language_model = text, .projector_type = projector};
    lv_llava *model = NULL;
    golden_ok(lv_llava_open(&model, &options));
    free(tower);
    free(text);
    return model;
}

static void std_is(lv_llava *model, const char *name, double want)
{
    const lv_param *param = lv_params_find(lv_llava_params(model), name);
    assert_non_null(param);
    const int64_t n = lv_tensor_count(&param->tensor);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += pow((double)lv_tensor_real(&param->tensor)[i], 2);
    }
    double std = sqrt(sum / (double)n);
    if (!(fabs(std / want - 1) < 4 / sqrt(2.0 * (double)n))) {
        fail_msg("%s: std %g, wanted %g", name, std, want);
    }
}

static void all_are(lv_llava *model, const char *name, double want)
{
    const lv_param *param = lv_params_find(lv_llava_params(model), name);
    assert_non_null(param);
    for (int64_t i = 0; i < lv_tensor_count(&param->tensor); i++) {
        assert_true((double)lv_tensor_real(&param->tensor)[i] == want);
    }
}

static void a_random_model_opens_with_transformers_standard_deviations(void **state)
{
    char *dir = init_tiny(*state, "a", 1);
    lv_llava *model = open_model(dir, "linear");
    const double H = 64, L = 4;
#define LAYER "vision_tower.vision_model.encoder.layers.1."
    std_is(model, "language_model.model.embed_tokens.weight", 0.02);
    std_is(model, "language_model.model.layers.3.self_attn.k_proj.weight", 0.02);
    std_is(model, "language_model.model.layers.0.mlp.down_proj.weight", 0.02);
    all_are(model, "language_model.model.norm.weight", 1);
    all_are(model, "language_model.model.layers.2.post_attention_layernorm.weight", 1);
    std_is(model, "vision_tower.vision_model.embeddings.class_embedding", 1 / sqrt(H));
    std_is(model, "vision_tower.vision_model.embeddings.patch_embedding.weight", 0.02);
    std_is(model, LAYER "self_attn.v_proj.weight", 1 / sqrt(2 * H * L));
    std_is(model, LAYER "self_attn.out_proj.weight", 1 / sqrt(H));
    std_is(model, LAYER "mlp.fc1.weight", 1 / sqrt(2 * H));
    std_is(model, LAYER "mlp.fc2.weight", 1 / sqrt(2 * H * L));
    all_are(model, LAYER "mlp.fc1.bias", 0);
    all_are(model, LAYER "layer_norm1.weight", 1);
    all_are(model, LAYER "layer_norm1.bias", 0);
    all_are(model, "vision_tower.vision_model.pre_layrnorm.weight", 1);
#undef LAYER
    assert_int_equal(lv_llava_rows_per_image(lv_llava_config_of(model)), 64);
    lv_llava_close(&model);
    free(dir);
}

static void files_equal(const char *a, const char *b, const char *name, bool equal)
{
    uint32_t crc_a = 0, crc_b = 0;
    int64_t n_a = 0, n_b = 0;
    char *path_a = lv_path("%s/%s", a, name), *path_b = lv_path("%s/%s", b, name);
    golden_ok(lv_file_crc32(&crc_a, &n_a, path_a));
    golden_ok(lv_file_crc32(&crc_b, &n_b, path_b));
    assert_int_equal(n_a, n_b);
    assert_int_equal(crc_a == crc_b, equal);
    free(path_a);
    free(path_b);
}

static void the_seed_decides_every_byte(void **state)
{
    char *b = init_tiny(*state, "b", 2), *same = init_tiny(*state, "same", 2);
    char *other = init_tiny(*state, "other", 3);
    files_equal(b, same, "vision_tower/model.safetensors", true);
    files_equal(b, same, "language_model/model.safetensors", true);
    files_equal(b, other, "vision_tower/model.safetensors", false);
    files_equal(b, other, "language_model/model.safetensors", false);
    free(b);
    free(same);
    free(other);
}

static void a_model_is_never_overwritten(void **state)
{
    char *dir = init_tiny(*state, "c", 1), *shape = shape_of("tiny");
    assert_int_equal(lv_model_init(shape, 2, NULL, dir), LV_ERR_CONFIG);
    assert_non_null(strstr(lv_error_message(), "already has"));
    free(dir);
    free(shape);
}

static void bad_shape(const char *folder, const char *json, int code, const char *part_of_message)
{
    char *shape = lv_path("%s/shape.json", folder), *out = lv_path("%s/bad", folder);
    char *tower = lv_path("%s/vision_tower", out);
    golden_ok(lv_file_write(shape, json, strlen(json)));
    int status = lv_model_init(shape, 1, NULL, out);
    if (status != code || !strstr(lv_error_message(), part_of_message)) {
        fail_msg("status %d, wanted %d; \"%s\" should say \"%s\"", status, code, lv_error_message(),
                 part_of_message);
    }
    assert_false(lv_file_exists(tower));
    free(shape);
    free(out);
    free(tower);
}

static void impossible_shapes_are_refused_and_leave_nothing(void **state)
{
    bad_shape(*state, "[]", LV_ERR_CONFIG, "must be an object");
    bad_shape(*state, "{}", LV_ERR_CONFIG, "neither vision_tower nor language_model");
    bad_shape(*state, "{\"tower\": {}}", LV_ERR_CONFIG, "unknown key \"tower\"");
    bad_shape(*state, "{\"vision_tower\": 3}", LV_ERR_CONFIG, "must be an object");
    bad_shape(*state,
              "{\"vision_tower\": {\"model_type\": \"clip_vision_model\", \"hidden_size\": 64,"
              " \"intermediate_size\": 96, \"num_hidden_layers\": 2, \"num_attention_heads\": 5,"
              " \"image_size\": 28, \"patch_size\": 14}}",
              LV_ERR_FORMAT, "num_attention_heads");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_random_model_opens_with_transformers_standard_deviations),
        cmocka_unit_test(the_seed_decides_every_byte),
        cmocka_unit_test(a_model_is_never_overwritten),
        cmocka_unit_test(impossible_shapes_are_refused_and_leave_nothing),
    };
    return cmocka_run_group_tests(tests, open_folder, close_folder);
}
