/* SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "data/base/file.h"
#include "data/chat/template.h"
#include "data/json/json.h"
#include "tests/support/weights_find.h"
#include "train/model/llava/internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void golden_ok(int status)
{
    if (status) {
        fail_msg("error %d: %s", status, lv_error_message());
    }
}

double golden_number(const cJSON *object, const char *key, int i)
{
    const cJSON *item = lv_json_find(object, key);
    if (i >= 0) {
        item = cJSON_GetArrayItem(item, i);
    }
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

static void read_sample(golden_sample *sample, const cJSON *json, int first_image)
{
    const cJSON *tokens = lv_json_find(json, "tokens");
    const cJSON *supervised = lv_json_find(json, "supervised");
    const cJSON *token, *mask = supervised->child;
    sample->tokens = calloc((size_t)cJSON_GetArraySize(tokens), sizeof *sample->tokens);
    sample->supervised = calloc((size_t)cJSON_GetArraySize(tokens), 1);
    sample->n_images = (int)golden_number(json, "n_images", -1);
    sample->first_image = first_image;
    cJSON_ArrayForEach (token, tokens) {
        sample->tokens[sample->n] = (int32_t)token->valuedouble;
        sample->supervised[sample->n++] = (uint8_t)mask->valuedouble;
        mask = mask->next;
    }
}

void golden_open(golden *g, const char *shape)
{
    const char *source = getenv("LLAVA_TEST_SOURCE");
    assert_non_null(source);
    *g = (golden){.dir = lv_path("%s/tests/golden/model/%s", source, shape)};
    g->vision_tower = lv_path("%s/vision_tower", g->dir);
    g->language_model = lv_path("%s/language_model", g->dir);
    g->projector = lv_path("%s/projector.safetensors", g->dir);
    g->llava = lv_path("%s/llava", g->dir);

    char *path = lv_path("%s/samples.json", g->dir);
    golden_ok(lv_json_read(&g->json, path));
    g->select_layer = (int)golden_number(g->json, "vision_select_layer", -1);
    free(path);
    path = lv_path("%s/reference.safetensors", g->dir);
    golden_ok(lv_weights_open(&g->reference, path));
    free(path);

    const cJSON *samples = lv_json_find(g->json, "samples");
    g->n_samples = cJSON_GetArraySize(samples);
    g->samples = calloc((size_t)g->n_samples, sizeof *g->samples);
    for (int i = 0; i < g->n_samples; i++) {
        read_sample(&g->samples[i], cJSON_GetArrayItem(samples, i), (int)g->n_images);
        g->samples[i].loss = golden_number(g->json, "losses", i);
        g->n_images += g->samples[i].n_images;
    }
    int64_t n = 0;
    g->pixels = golden_values(g->reference, "pixels", &n);
    g->image_values = n / g->n_images;
}

void golden_close(golden *g)
{
    for (int i = 0; i < g->n_samples; i++) {
        free(g->samples[i].tokens);
        free(g->samples[i].supervised);
    }
    free(g->samples);
    free(g->pixels);
    lv_weights_close(&g->reference);
    cJSON_Delete(g->json);
    free(g->dir);
    free(g->vision_tower);
    free(g->language_model);
    free(g->projector);
    free(g->llava);
}

void golden_options(const golden *g, lv_llava_options *options)
{
    const char *feature = NULL;
    if (lv_dir_exists(g->llava)) {
        *options = (lv_llava_options){.llava = g->llava};
        return;
    }
    *options = (lv_llava_options){
        .vision_tower = g->vision_tower,
        .language_model = g->language_model,
        .projector_weights = g->projector,
        .vision_select_layer = &g->select_layer,
    };
    golden_ok(lv_json_string(g->json, "projector", true, &options->projector_type));
    golden_ok(lv_json_string(g->json, "vision_select_feature", true, &feature));
    options->vision_select_feature =
        strcmp(feature, "patch") == 0 ? LV_SELECT_PATCH : LV_SELECT_CLS_PATCH;
}

lv_llava *golden_model(const golden *g, const char *const *trainable, size_t n_trainable,
                       bool recompute, lv_precision precision)
{
    lv_llava_options options;
    lv_llava *model = NULL;
    golden_options(g, &options);
    options.trainable = trainable;
    options.n_trainable = n_trainable;
    options.recompute = recompute;
    options.precision = precision;
    golden_ok(lv_llava_open(&model, &options));
    return model;
}

/* One sample's rows behind those that the batch has; the batch's images are numbered from
 * first_image. returns the new number of rows. */
static int64_t add_sample(lv_batch *batch, int64_t t, const golden_sample *sample, int rows,
                          int64_t first_image)
{
    const int64_t start = t;
    for (int i = 0; i < sample->n; i++) {
        if (t > start && sample->supervised[i]) {
            batch->label[t - 1] = sample->tokens[i];
            batch->n_supervised++;
        }
        const bool image = sample->tokens[i] == LV_IMAGE_TOKEN;
        for (int r = 0; r < (image ? rows : 1); r++, t++) {
            batch->source[t] = image ? (int32_t)(-1 - (first_image * rows + r)) : sample->tokens[i];
            batch->position[t] = (int32_t)(t - start);
            batch->label[t] = LV_NO_LABEL;
        }
        first_image += image;
    }
    return t;
}

void golden_batch_of(lv_batch *batch, const golden *g, const lv_llava *model,
                     const golden_sample *samples, int n)
{
    const int rows = lv_llava_rows_per_image(lv_llava_config_of(model));
    int64_t n_rows = 0, n_images = 0;
    for (int i = 0; i < n; i++) {
        n_rows += samples[i].n + samples[i].n_images * (rows - 1);
        n_images += samples[i].n_images;
    }
    *batch = (lv_batch){
        .n_samples = n,
        .seq_start = calloc((size_t)n + 1, sizeof *batch->seq_start),
        .source = calloc((size_t)n_rows, sizeof *batch->source),
        .position = calloc((size_t)n_rows, sizeof *batch->position),
        .label = calloc((size_t)n_rows, sizeof *batch->label),
        .pixels = n_images ? calloc((size_t)(n_images * g->image_values), sizeof(float)) : NULL,
    };
    for (int i = 0; i < n; i++) {
        const golden_sample *sample = &samples[i];
        batch->seq_start[i + 1] =
            add_sample(batch, batch->seq_start[i], sample, rows, batch->n_images);
        if (sample->n_images > 0) {
            memcpy(batch->pixels + batch->n_images * g->image_values,
                   g->pixels + sample->first_image * g->image_values,
                   (size_t)(sample->n_images * g->image_values) * sizeof *batch->pixels);
        }
        batch->n_images += sample->n_images;
    }
    assert_int_equal(batch->seq_start[n], n_rows);
}

void golden_batch(lv_batch *batch, const golden *g, const lv_llava *model, const int *samples,
                  int n)
{
    golden_sample *chosen = calloc((size_t)n, sizeof *chosen);
    for (int i = 0; i < n; i++) {
        chosen[i] = g->samples[samples[i]];
    }
    golden_batch_of(batch, g, model, chosen, n);
    free(chosen);
}

void golden_batch_all(lv_batch *batch, const golden *g, const lv_llava *model)
{
    golden_batch_of(batch, g, model, g->samples, g->n_samples);
}

void golden_batch_free(lv_batch *batch)
{
    free(batch->seq_start);
    free(batch->source);
    free(batch->position);
    free(batch->label);
    free(batch->pixels);
    *batch = (lv_batch){0};
}

lv_tensor *golden_logits(lv_llava *model, lv_tape *tape, const lv_batch *batch, const int32_t *rows,
                         int64_t R)
{
    lv_llama_rows *all = lv_tape_alloc(tape, sizeof *all);
    *all = (lv_llama_rows){
        .n_sequences = batch->n_samples,
        .seq_start = batch->seq_start,
        .position = batch->position,
        .wanted = rows,
        .n_wanted = R,
        .recompute = model->recompute,
    };
    lv_tensor *x = lv_llava_embed(model, tape, batch);
    return lv_llama_logits(model->llama, tape, lv_llama_hidden(model->llama, tape, x, all));
}

int golden_generate(lv_llava *model, const lv_batch *prompt, const lv_generate_options *options,
                    int32_t *tokens, int64_t *n)
{
    lv_generator *generator = NULL;
    lv_new_token new_token = {0};
    int sequence = -1;
    int64_t n_new = 0;
    golden_ok(lv_generator_create(&generator, model));
    int rc = lv_generator_add(generator, &sequence, prompt, options);
    while (rc == LV_OK && lv_generator_count(generator) > 0) {
        rc = lv_generator_step(generator, &new_token);
        if (rc == LV_OK && !new_token.is_eos) {
            tokens[n_new++] = new_token.token;
        }
    }
    *n = rc == LV_OK ? n_new : *n;
    lv_generator_destroy(&generator);
    return rc;
}

float *golden_values(const lv_weights *weights, const char *name, int64_t *n)
{
    const lv_weight *weight = weights_find(weights, name);
    if (!weight) {
        return NULL;
    }
    *n = 1;
    for (int i = 0; i < weight->n_dims; i++) {
        *n *= weight->shape[i];
    }
    float *values = calloc((size_t)*n, sizeof *values);
    lv_convert_to_real(values, weight->data, weight->dtype, *n);
    return values;
}

double golden_error(const lv_real *a, const float *b, int64_t n, double floor)
{
    double difference = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    }
    return sqrt(difference) / fmax(golden_norm(b, n), floor);
}

double golden_norm(const float *a, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)a[i] * a[i];
    }
    return sqrt(sum);
}
