/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "golden.h"
#include "train/model/llava/init.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_ONLY = 1, TWO_IMAGES = 2 };

static const char *const projector_only[] = {"projector"};
static const char *const everything[] = {"vision_tower", "projector", "language_model"};

static int open_golden(void **state)
{
    golden *g = calloc(1, sizeof *g);
    golden_open(g, "gqa");
    *state = g;
    return 0;
}

static int close_golden(void **state)
{
    golden_close(*state);
    free(*state);
    return 0;
}

/* ---- opening ---- */

static void refused(const lv_llava_options *options, int code, const char *part_of_message)
{
    lv_llava *model = NULL;
    int status = lv_llava_open(&model, options);
    if (status != code || !strstr(lv_error_message(), part_of_message)) {
        fail_msg("status %d, wanted %d; \"%s\" should say \"%s\"", status, code, lv_error_message(),
                 part_of_message);
    }
    assert_null(model);
}

static void parts_that_are_missing_or_too_many_are_named(void **state)
{
    lv_llava_options options;
    golden llava;
    golden_open(&llava, "llava_bf16");

    golden_options(*state, &options);
    options.vision_tower = NULL;
    refused(&options, LV_ERR_CONFIG, "model.vision_tower is missing");
    golden_options(*state, &options);
    options.language_model = NULL;
    refused(&options, LV_ERR_CONFIG, "model.language_model is missing");
    golden_options(*state, &options);
    options.projector_type = NULL;
    refused(&options, LV_ERR_CONFIG, "model.projector.type is missing");

    golden_options(&llava, &options);
    options.language_model = "somewhere";
    refused(&options, LV_ERR_CONFIG, "both given");
    golden_options(&llava, &options);
    options.vision_tower = "somewhere";
    refused(&options, LV_ERR_CONFIG, "a vision tower of its own");
    golden_options(&llava, &options);
    options.projector_type = "linear";
    refused(&options, LV_ERR_CONFIG, "mlp2x_gelu");
    golden_close(&llava);
}

static void identity_between_unequal_sizes_is_refused_with_both(void **state)
{
    lv_llava_options options;
    golden_options(*state, &options);
    options.projector_type = "identity";
    options.projector_weights = NULL;
    refused(&options, LV_ERR_CONFIG, "hidden_size is 16, the language model's 32");
}

static void a_select_layer_that_does_not_exist_is_refused_with_the_range(void **state)
{
    lv_llava_options options;
    golden_options(*state, &options);
    options.vision_select_layer = &(int){-5};
    refused(&options, LV_ERR_CONFIG, "-4 to 3");
    options.vision_select_layer = &(int){4};
    refused(&options, LV_ERR_CONFIG, "-4 to 3");
}

static void projector_weights_of_another_shape_name_tensor_shapes_and_what_is_wanted(void **state)
{
    lv_llava_options options;
    golden other;
    golden_open(&other, "headdim");
    golden_options(*state, &options);
    options.projector_weights = other.projector;
    refused(&options, LV_ERR_SHAPE, "the model has mlp2x_gelu from 16 to 32");
    assert_non_null(strstr(lv_error_message(), "projector.0.weight"));
    assert_non_null(strstr(lv_error_message(), "(32, 24)"));
    assert_non_null(strstr(lv_error_message(), "(32, 16)"));
    golden_close(&other);
}

/* All tensors of one file but one. */
static void write_without(const char *to, const lv_weights *weights, size_t left_out)
{
    const size_t n = lv_weights_count(weights);
    lv_tensor *tensors = calloc(n, sizeof *tensors);
    lv_weight_source *sources = calloc(n, sizeof *sources);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        const lv_weight *w = lv_weights_at(weights, i);
        tensors[i] =
            (lv_tensor){.dtype = w->dtype, .n_dims = w->n_dims, .data = (void *)(uintptr_t)w->data};
        memcpy(tensors[i].shape, w->shape, sizeof w->shape);
        sources[k] = (lv_weight_source){.name = w->name, .tensor = &tensors[i], .dtype = w->dtype};
        k += i != left_out;
    }
    golden_ok(lv_weights_write_file(to, sources, n - 1));
    free(tensors);
    free(sources);
}

/* path: the option of a part, of which each tensor in turn is left out. */
static void each_tensor_is_missed(const lv_llava_options *options, const char **path)
{
    char dir[] = "/tmp/llava-test-XXXXXX";
    const char *from = *path;
    lv_weights *weights = NULL;
    assert_non_null(mkdtemp(dir));
    char *config = lv_path("%s/config.json", from), *copy = lv_path("%s/config.json", dir);
    char *file = lv_path("%s/model.safetensors", dir);
    golden_ok(lv_weights_open(&weights, from));
    if (lv_dir_exists(from)) {
        golden_ok(lv_file_copy(copy, config));
    }
    *path = lv_dir_exists(from) ? dir : file;
    for (size_t i = 0; i < lv_weights_count(weights); i++) {
        write_without(file, weights, i);
        refused(options, LV_ERR_FORMAT, "there is no tensor for ");
        assert_non_null(strstr(lv_error_message(), lv_weights_at(weights, i)->name));
    }
    *path = from;
    lv_weights_close(&weights);
    golden_ok(lv_dir_remove(dir));
    free(config);
    free(copy);
    free(file);
}

static void any_tensor_that_a_directory_lacks_is_named(void **state)
{
    lv_llava_options options;
    golden_options(*state, &options);
    each_tensor_is_missed(&options, &options.vision_tower);
    each_tensor_is_missed(&options, &options.projector_weights);
    each_tensor_is_missed(&options, &options.language_model);
}

static void what_is_never_run_can_not_be_trained(void **state)
{
    static const char *const unused[] = {"vision_tower.vision_model.encoder.layers.2"};
    lv_llava_options options;
    golden_options(*state, &options);
    options.trainable = unused;
    options.n_trainable = 1;
    refused(&options, LV_ERR_CONFIG, "encoder.layers.2");
}

static lv_llava *open_fresh(const golden *g, const char *type, uint64_t seed)
{
    lv_llava_options options;
    lv_llava *model = NULL;
    golden_options(g, &options);
    options.projector_type = type;
    options.projector_weights = NULL;
    options.seed = seed;
    golden_ok(lv_llava_open(&model, &options));
    return model;
}

/* Uniform in 1/sqrt(fan_in): nothing outside, and the variance of a uniform distribution. */
static void is_uniform(lv_llava *model, const char *name, double fan_in, double *sum_squares,
                       int64_t *n)
{
    const lv_param *param = lv_params_find(lv_llava_params(model), name);
    assert_non_null(param);
    for (int64_t i = 0; i < lv_tensor_count(&param->tensor); i++) {
        double scaled = lv_tensor_real(&param->tensor)[i] * sqrt(fan_in);
        assert_true(fabs(scaled) <= 1);
        *sum_squares += scaled * scaled;
        (*n)++;
    }
}

static void a_fresh_projector_is_uniform_within_one_over_root_fan_in(void **state)
{
    lv_llava *model = open_fresh(*state, "mlp3x_gelu", 7);
    double sum_squares = 0;
    int64_t n = 0;
    is_uniform(model, "projector.0.weight", 16, &sum_squares, &n);
    is_uniform(model, "projector.0.bias", 16, &sum_squares, &n);
    is_uniform(model, "projector.2.weight", 32, &sum_squares, &n);
    is_uniform(model, "projector.2.bias", 32, &sum_squares, &n);
    is_uniform(model, "projector.4.weight", 32, &sum_squares, &n);
    is_uniform(model, "projector.4.bias", 32, &sum_squares, &n);
    assert_true(fabs(sum_squares / (double)n - 1.0 / 3) < 0.02);
    lv_llava_close(&model);
}

static const lv_real *weight_of(lv_llava *model, const char *name)
{
    return lv_tensor_real(&lv_params_find(lv_llava_params(model), name)->tensor);
}

static void a_fresh_projector_depends_on_seed_and_name_and_on_nothing_else(void **state)
{
    lv_llava *a = open_fresh(*state, "mlp3x_gelu", 7);
    lv_llava *b = open_fresh(*state, "linear", 7);
    lv_llava *c = open_fresh(*state, "linear", 8);
    const lv_real *of_b = weight_of(b, "projector.0.weight");
    assert_memory_equal(weight_of(a, "projector.0.weight"), of_b, 32 * 16 * sizeof(lv_real));
    assert_memory_not_equal(weight_of(c, "projector.0.weight"), of_b, 32 * 16 * sizeof(lv_real));
    assert_memory_not_equal(weight_of(a, "projector.2.weight"), weight_of(a, "projector.4.weight"),
                            32 * 32 * sizeof(lv_real));
    assert_true(lv_llava_fingerprint(b) != lv_llava_fingerprint(c)); /* frozen here */
    lv_llava_close(&a);
    lv_llava_close(&b);
    lv_llava_close(&c);
}

/* Operations of the backward pass alone, with those parts trained and that hidden state selected.
 */
static double backward_flop(const golden *g, const char *const *trainable, size_t n_trainable,
                            int select_layer, int64_t *n_rows, int64_t *n_supervised)
{
    lv_llava_options options;
    lv_llava *model = NULL;
    lv_tape *tape = NULL;
    lv_batch batch;
    double loss_sum;
    golden_options(g, &options);
    options.trainable = trainable;
    options.n_trainable = n_trainable;
    options.vision_select_layer = &select_layer;
    golden_ok(lv_llava_open(&model, &options));
    golden_ok(lv_tape_create(&tape, 0));
    golden_batch_all(&batch, g, model);
    lv_tensor *loss = lv_llava_loss(model, tape, &batch, &loss_sum);
    double forward = lv_tape_flop(tape);
    lv_backward(tape, loss);
    double backward = lv_tape_flop(tape) - forward;
    *n_rows = batch.seq_start[batch.n_samples];
    *n_supervised = batch.n_supervised;
    for (size_t i = 0; i < lv_params_count(lv_llava_params(model)); i++) {
        const lv_param *param = lv_params_at(lv_llava_params(model), i);
        assert_true(param->trainable || !param->tensor.grad);
    }
    golden_batch_free(&batch);
    lv_tape_destroy(&tape);
    lv_llava_close(&model);
    return backward;
}

/* Whose input is the supervised rows alone: the head, and the last layer after its attention. */
static bool is_of_supervised_rows(const lv_llava *model, const char *name)
{
    char last[64];
    int n = snprintf(last, sizeof last, "language_model.model.layers.%d.",
                     (int)lv_llava_config_of(model)->text.n_layers - 1);
    return strstr(name, "lm_head") || (strncmp(name, last, (size_t)n) == 0 &&
                                       (strstr(name, "o_proj") || strstr(name, "mlp.")));
}

static void stage_1_multiplies_for_no_gradient_of_tower_or_frozen_weights(void **state)
{
    const golden *g = *state;
    static const char *const both[] = {"projector", "language_model"};
    int64_t T, R;
    /* the backward pass does not know how many layers of the tower were run */
    double stage1 = backward_flop(g, both, 1, -2, &T, &R);
    assert_true(stage1 > 0 && stage1 == backward_flop(g, both, 1, 0, &T, &R));
    /* what stage 2 adds is the gradients of the language model's matrices, and nothing else */
    double stage2 = backward_flop(g, both, 2, -2, &T, &R), weights = 0;
    lv_llava *model = golden_model(g, NULL, 0, false, LV_PRECISION_F32);
    for (size_t i = 0; i < lv_params_count(lv_llava_params(model)); i++) {
        const lv_param *param = lv_params_at(lv_llava_params(model), i);
        if (strncmp(param->name, "language_model.", 15) == 0 &&
            (strstr(param->name, "_proj.weight") || strstr(param->name, "lm_head"))) {
            weights += 2.0 * (double)lv_tensor_count(&param->tensor) *
                       (double)(is_of_supervised_rows(model, param->name) ? R : T);
        }
    }
    lv_llava_close(&model);
    assert_true(weights > 0 && stage2 - stage1 == weights);
}

static void the_fingerprint_is_of_the_frozen_files(void **state)
{
    golden *g = *state;
    lv_llava_options options;
    lv_llava *frozen = golden_model(g, NULL, 0, false, LV_PRECISION_F32);
    lv_llava *stage1 = golden_model(g, projector_only, 1, false, LV_PRECISION_F32);
    lv_llava *stage1_fresh = NULL;
    golden_options(g, &options);
    options.projector_weights = NULL;
    options.trainable = projector_only;
    options.n_trainable = 1;
    golden_ok(lv_llava_open(&stage1_fresh, &options));
    assert_true(lv_llava_fingerprint(frozen) != lv_llava_fingerprint(stage1));
    assert_true(lv_llava_fingerprint(stage1) == lv_llava_fingerprint(stage1_fresh));
    assert_string_equal(lv_llava_tokenizer_dir(stage1), g->language_model);
    lv_llava_close(&frozen);
    lv_llava_close(&stage1);
    lv_llava_close(&stage1_fresh);
}

static void vision_input_is_the_towers(void **state)
{
    golden other;
    lv_vision_input input;
    lv_llava *model = golden_model(*state, NULL, 0, false, LV_PRECISION_F32);
    lv_llava_vision_input(model, LV_ASPECT_PAD, &input);
    assert_int_equal(input.image_size, 8);
    assert_int_equal(input.rows_per_image, 4);
    assert_int_equal(input.aspect, LV_ASPECT_PAD);
    assert_true(fabsf(input.mean[0] - 0.48145466F) < 1e-7F);
    assert_true(fabsf(input.std[2] - 0.27577711F) < 1e-7F);
    lv_llava_close(&model);

    golden_open(&other, "bias");
    model = golden_model(&other, NULL, 0, false, LV_PRECISION_F32);
    lv_llava_vision_input(model, LV_ASPECT_SQUARE, &input);
    assert_int_equal(input.rows_per_image, 5); /* with the class row */
    lv_llava_close(&model);
    golden_close(&other);
}

/* ---- running ---- */

/* Loss, and backward, of some samples; gradients stay in the parameters. */
static double run(const golden *g, lv_llava *model, const golden_sample *samples, int n,
                  size_t *peak_bytes)
{
    lv_tape *tape = NULL;
    lv_batch batch;
    double loss_sum = 0;
    golden_ok(lv_tape_create(&tape, 0));
    golden_batch_of(&batch, g, model, samples, n);
    lv_backward(tape, lv_llava_loss(model, tape, &batch, &loss_sum));
    if (peak_bytes) {
        *peak_bytes = lv_tape_peak_bytes(tape);
    }
    golden_batch_free(&batch);
    lv_tape_destroy(&tape);
    return loss_sum;
}

static double flat_grad_norm(lv_llava *model)
{
    lv_params *params = lv_llava_params(model);
    return golden_norm(lv_params_flat_grad(params), lv_params_flat_count(params));
}

/* The golden model without its tower, in the names and with the config.json of LLaVA's own
 * checkpoints. */
static void write_original(const golden *g, const char *dir)
{
    static const char config[] =
        "{\"architectures\": [\"LlavaLlamaForCausalLM\"], \"model_type\": \"llava\","
        " \"hidden_size\": 32, \"intermediate_size\": 40, \"num_hidden_layers\": 2,"
        " \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": 48,"
        " \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-6, \"hidden_act\": \"silu\","
        " \"tie_word_embeddings\": false, \"mm_hidden_size\": 16,"
        " \"mm_projector_type\": \"mlp2x_gelu\", \"mm_vision_select_layer\": -2,"
        " \"mm_vision_select_feature\": \"patch\", \"mm_vision_tower\": \"somewhere/clip\"}";
    lv_weight_source sources[64];
    char *names[64];
    size_t n = 0;
    lv_llava *model = golden_model(g, NULL, 0, false, LV_PRECISION_F32);
    for (size_t i = 0; i < lv_params_count(lv_llava_params(model)); i++) {
        const lv_param *param = lv_params_at(lv_llava_params(model), i);
        const char *tail = strchr(param->name, '.') + 1;
        if (strncmp(param->name, "vision_tower", 12) != 0) {
            bool text = strncmp(param->name, "language_model", 14) == 0;
            names[n] = lv_path("%s%s", text ? "" : "model.mm_projector.", tail);
            sources[n] =
                (lv_weight_source){.name = names[n], .tensor = &param->tensor, .dtype = LV_F32};
            n++;
        }
    }
    char *path = lv_path("%s/config.json", dir);
    golden_ok(lv_file_write(path, config, strlen(config)));
    golden_ok(lv_weights_write(dir, sources, n, INT64_MAX));
    while (n > 0) {
        free(names[--n]);
    }
    free(path);
    lv_llava_close(&model);
}

static void an_original_llava_takes_its_tower_from_beside(void **state)
{
    golden *g = *state;
    char dir[] = "/tmp/llava_original_XXXXXX";
    lv_llava *model = NULL;
    assert_non_null(mkdtemp(dir));
    write_original(g, dir);
    lv_llava_options options = {.llava = dir};
    refused(&options, LV_ERR_CONFIG, "has no vision tower");
    options.vision_tower = g->vision_tower;
    golden_ok(lv_llava_open(&model, &options));
    double loss = run(g, model, &g->samples[TWO_IMAGES], 1, NULL);
    assert_true(fabs(loss / g->samples[TWO_IMAGES].loss - 1) < 1e-5);
    assert_string_equal(lv_llava_tokenizer_dir(model), dir);
    lv_llava_close(&model);
    golden_ok(lv_dir_remove(dir));
}

static void a_batch_of_text_gives_the_projector_no_gradient(void **state)
{
    golden *g = *state;
    lv_llava *model = golden_model(g, projector_only, 1, false, LV_PRECISION_F32);
    double loss = run(g, model, &g->samples[TEXT_ONLY], 1, NULL);
    assert_true(fabs(loss / g->samples[TEXT_ONLY].loss - 1) < 1e-5);
    assert_true(flat_grad_norm(model) == 0);
    run(g, model, &g->samples[TWO_IMAGES], 1, NULL);
    assert_true(flat_grad_norm(model) > 0);
    lv_llava_close(&model);
}

static void a_batch_without_labels_has_loss_zero_and_no_gradient(void **state)
{
    golden *g = *state;
    lv_llava *model = golden_model(g, everything, 3, false, LV_PRECISION_F32);
    golden_sample sample = g->samples[TWO_IMAGES];
    sample.supervised = calloc((size_t)sample.n, 1);
    assert_true(run(g, model, &sample, 1, NULL) == 0);
    assert_true(flat_grad_norm(model) == 0);
    free(sample.supervised);
    lv_llava_close(&model);
}

static void an_image_alone_in_front_of_one_token_is_a_sample(void **state)
{
    golden *g = *state;
    int32_t tokens[] = {-200, 5};
    uint8_t supervised[] = {0, 1};
    const golden_sample sample = {
        .tokens = tokens, .supervised = supervised, .n = 2, .n_images = 1};
    lv_llava *model = golden_model(g, everything, 3, false, LV_PRECISION_F32);
    double loss = run(g, model, &sample, 1, NULL);
    assert_true(isfinite(loss) && loss > 0);
    assert_true(flat_grad_norm(model) > 0);
    lv_llava_close(&model);
}

/* Whatever subset is trained, its gradients are those of training everything. */
static void partial_gradients_equal(const golden *g, const char *glob, bool recompute)
{
    lv_llava *all = golden_model(g, everything, 3, false, LV_PRECISION_F32);
    lv_llava *part = golden_model(g, &glob, 1, recompute, LV_PRECISION_F32);
    run(g, all, g->samples, g->n_samples, NULL);
    run(g, part, g->samples, g->n_samples, NULL);
    size_t n_trained = 0;
    for (size_t i = 0; i < lv_params_count(lv_llava_params(part)); i++) {
        const lv_param *param = lv_params_at(lv_llava_params(part), i);
        if (!param->trainable) {
            assert_null(param->tensor.grad);
            continue;
        }
        const lv_param *same = lv_params_find(lv_llava_params(all), param->name);
        assert_memory_equal(param->tensor.grad, same->tensor.grad,
                            (size_t)lv_tensor_count(&param->tensor) * sizeof(lv_real));
        n_trained++;
    }
    assert_true(n_trained > 0);
    lv_llava_close(&all);
    lv_llava_close(&part);
}

static void the_gradient_of_a_part_is_that_of_the_whole(void **state)
{
    static const char *const globs[] = {
        "projector",
        "projector.2.bias",
        "language_model",
        "language_model.lm_head",
        "language_model.model.embed_tokens",
        "language_model.model.layers.1.self_attn.q_proj",
        "language_model.model.layers.0.mlp",
        "vision_tower",
        "vision_tower.vision_model.encoder.layers.1.mlp.fc2",
        "vision_tower.vision_model.embeddings.class_embedding",
    };
    for (size_t i = 0; i < sizeof globs / sizeof *globs; i++) {
        partial_gradients_equal(*state, globs[i], false);
        partial_gradients_equal(*state, globs[i], true);
    }
}

/* Peak of the step arena over loss and backward of two samples, for a random model of the golden
 * one's image size with n_layers in the tower and in the language model. */
static size_t peak_with_layers(const golden *g, int n_layers, const char *trainable, bool recompute)
{
    char folder[] = "/tmp/llava_layers_XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *shape = lv_path("%s/shape.json", folder);
    char *tower = lv_path("%s/vision_tower", folder), *text = lv_path("%s/language_model", folder);
    char *json = lv_path(
        "{\"vision_tower\": {\"model_type\": \"clip_vision_model\", \"hidden_size\": 64,"
        " \"intermediate_size\": 256, \"num_hidden_layers\": %d, \"num_attention_heads\": 4,"
        " \"image_size\": 8, \"patch_size\": 4, \"hidden_act\": \"quick_gelu\"},"
        " \"language_model\": {\"model_type\": \"llama\", \"hidden_size\": 64,"
        " \"intermediate_size\": 256, \"num_hidden_layers\": %d, \"num_attention_heads\": 4,"
        " \"vocab_size\": 48, \"hidden_act\": \"silu\", \"tie_word_embeddings\": false}}",
        n_layers, n_layers);
    golden_ok(lv_file_write(shape, json, strlen(json)));
    golden_ok(lv_model_init(shape, 1, NULL, folder));
    const lv_llava_options options = {.vision_tower = tower,
                                      .language_model = text,
                                      .projector_type = "identity",
                                      .vision_select_layer = &(int){-1},
                                      .vision_select_feature = LV_SELECT_PATCH,
                                      .trainable = &trainable,
                                      .n_trainable = 1,
                                      .recompute = recompute};
    lv_llava *model = NULL;
    golden_ok(lv_llava_open(&model, &options));
    size_t peak_bytes = 0;
    run(g, model, g->samples, 3, &peak_bytes);
    assert_true(flat_grad_norm(model) > 0);
    lv_llava_close(&model);
    golden_ok(lv_dir_remove(folder));
    free(json);
    free(shape);
    free(tower);
    free(text);
    return peak_bytes;
}

/* Hidden states of the three samples: 35 rows of text and 12 of images; the tower has 15. */
enum { HIDDEN_BYTES = 47 * 64 * sizeof(lv_real), FEW_LAYERS = 3, MANY_LAYERS = 13 };

static size_t bytes_of_ten_layers(const golden *g, const char *trainable, bool recompute)
{
    return peak_with_layers(g, MANY_LAYERS, trainable, recompute) -
           peak_with_layers(g, FEW_LAYERS, trainable, recompute);
}

static void frozen_layers_cost_no_memory_however_many_they_are(void **state)
{
    assert_true(bytes_of_ten_layers(*state, "language_model.lm_head", false) < HIDDEN_BYTES);
    assert_true(bytes_of_ten_layers(*state, "language_model.lm_head", true) < HIDDEN_BYTES);
}

static void recomputed_layers_cost_little_more_than_their_inputs(void **state)
{
    static const char embedding[] = "language_model.model.embed_tokens";
    assert_true(bytes_of_ten_layers(*state, embedding, true) < 15 * HIDDEN_BYTES);
    assert_true(bytes_of_ten_layers(*state, embedding, false) > 60 * HIDDEN_BYTES);
}

/* Attention sees only differences of positions, so a shift far beyond max_position_embeddings
 * (64 here) leaves the loss. */
static void positions_may_run_beyond_the_models_own(void **state)
{
    golden *g = *state;
    lv_llava *model = golden_model(g, projector_only, 1, false, LV_PRECISION_F32);
    lv_tape *tape = NULL;
    lv_batch batch;
    double near = 0, far = 0;
    golden_ok(lv_tape_create(&tape, 0));
    golden_batch_all(&batch, g, model);
    lv_llava_loss(model, tape, &batch, &near);
    for (int64_t t = 0; t < batch.seq_start[batch.n_samples]; t++) {
        batch.position[t] += 3000;
    }
    lv_tensor *loss = lv_llava_loss(model, tape, &batch, &far); /* both are on the tape */
    assert_true(fabs(far / near - 1) < 1e-3);
    lv_backward(tape, loss);
    assert_true(isfinite(flat_grad_norm(model)));
    golden_batch_free(&batch);
    lv_tape_destroy(&tape);
    lv_llava_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_that_are_missing_or_too_many_are_named),
        cmocka_unit_test(identity_between_unequal_sizes_is_refused_with_both),
        cmocka_unit_test(a_select_layer_that_does_not_exist_is_refused_with_the_range),
        cmocka_unit_test(projector_weights_of_another_shape_name_tensor_shapes_and_what_is_wanted),
        cmocka_unit_test(any_tensor_that_a_directory_lacks_is_named),
        cmocka_unit_test(what_is_never_run_can_not_be_trained),
        cmocka_unit_test(a_fresh_projector_is_uniform_within_one_over_root_fan_in),
        cmocka_unit_test(a_fresh_projector_depends_on_seed_and_name_and_on_nothing_else),
        cmocka_unit_test(stage_1_multiplies_for_no_gradient_of_tower_or_frozen_weights),
        cmocka_unit_test(the_fingerprint_is_of_the_frozen_files),
        cmocka_unit_test(vision_input_is_the_towers),
        cmocka_unit_test(an_original_llava_takes_its_tower_from_beside),
        cmocka_unit_test(a_batch_of_text_gives_the_projector_no_gradient),
        cmocka_unit_test(a_batch_without_labels_has_loss_zero_and_no_gradient),
        cmocka_unit_test(an_image_alone_in_front_of_one_token_is_a_sample),
        cmocka_unit_test(the_gradient_of_a_part_is_that_of_the_whole),
        cmocka_unit_test(frozen_layers_cost_no_memory_however_many_they_are),
        cmocka_unit_test(recomputed_layers_cost_little_more_than_their_inputs),
        cmocka_unit_test(positions_may_run_beyond_the_models_own),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
