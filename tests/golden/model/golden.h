/* SPDX-License-Identifier: Apache-2.0
 *
 * The golden models of this folder and what make_golden.py says of them; shared by the tests of
 * the models. Everything here fails the running test if it can not be done.
 */
#ifndef LV_TESTS_GOLDEN_MODEL_GOLDEN_H
#define LV_TESTS_GOLDEN_MODEL_GOLDEN_H

#include "train/model/hf/hf.h"
#include "train/model/llava/generate.h"
#include "train/model/weights/weights.h"

#include <cjson/cJSON.h>

typedef struct {
    int32_t *tokens; /* [n] LV_IMAGE_TOKEN where an image stands */
    uint8_t *supervised;
    int n, n_images, first_image;
    double loss;
} golden_sample;

typedef struct {
    char *dir, *vision_tower, *language_model, *projector, *llava;
    cJSON *json; /* samples.json */
    lv_weights *reference;
    golden_sample *samples; /* [n_samples] */
    int n_samples;
    float *pixels; /* (n_images, 3, S, S) */
    int64_t n_images, image_values;
    int select_layer;
} golden;

void golden_open(golden *g, const char *shape);
void golden_close(golden *g);

/* golden_model: the shape's model, with those parts trainable. */
lv_llava *golden_model(const golden *g, const char *const *trainable, size_t n_trainable,
                       bool recompute, lv_precision precision);
void golden_options(const golden *g, lv_llava_options *options);

/* golden_batch_of: samples, of the shape's or made up, as one micro-batch; golden_batch_free. */
void golden_batch_of(lv_batch *batch, const golden *g, const lv_llava *model,
                     const golden_sample *samples, int n);
/* golden_batch: some of the shape's samples by index. */
void golden_batch(lv_batch *batch, const golden *g, const lv_llava *model, const int *samples,
                  int n);
void golden_batch_all(lv_batch *batch, const golden *g, const lv_llava *model);
void golden_batch_free(lv_batch *batch);

/* golden_logits: of chosen rows, without a cache.
 * in     rows[R] of the batch; out (R, vocab_size) f32, in the step arena */
lv_tensor *golden_logits(lv_llava *model, lv_tape *tape, const lv_batch *batch, const int32_t *rows,
                         int64_t R);

/* golden_generate: continue the batch's one sequence to its end, alone.
 * out    tokens[max_new_tokens], *n of them; returns what the generator does */
int golden_generate(lv_llava *model, const lv_batch *prompt, const lv_generate_options *options,
                    int32_t *tokens, int64_t *n);

/* golden_values: a tensor of the file as floats; free(). NULL if there is none. */
float *golden_values(const lv_weights *weights, const char *name, int64_t *n);

/* golden_error: |a - b| / max(|b|, floor), norms over n elements, in double. */
double golden_error(const lv_real *a, const float *b, int64_t n, double floor);

double golden_norm(const float *a, int64_t n);

/* golden_number: element i of an array of the object (i = -1: the member itself). */
double golden_number(const cJSON *object, const char *key, int i);

/* golden_ok: fails the test with the library's message. */
void golden_ok(int status);

#endif
