/* SPDX-License-Identifier: Apache-2.0
 *
 * A tower of linear layers, x += gelu(W x), with a setting of its own: "toy_scale", in percent.
 */
#include "train/model/vision/vision.h"

#include "autograd/error.h"
#include "autograd/ops.h"
#include "data/json/json.h"
#include "train/model/keys.h"
#include "train/model/params/dense.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SCALE = 0 /* of config->own */ };

typedef struct {
    lv_vision_config config;
    lv_vision_select select;
    lv_tensor *w, *class_row, *position;
    lv_dense layers[];
} toy_tower;

static const float mean[3] = {0.5f, 0.5f, 0.5f}, std[3] = {0.25f, 0.25f, 0.25f};
static const lv_vision_config defaults = {.hidden_size = 8,
                                          .intermediate_size = 8,
                                          .n_layers = 1,
                                          .n_heads = 1,
                                          .image_size = 8,
                                          .patch_size = 4,
                                          .n_channels = 3,
                                          .own[SCALE] = 100};

static int parse(lv_vision_config *config, const cJSON *object, bool whole)
{
    const lv_size_key keys[] = {
        {"hidden_size", &config->hidden_size, LV_KEY_MAX_SIZE, true},
        {"num_hidden_layers", &config->n_layers, LV_KEY_MAX_LAYERS, true},
        {"image_size", &config->image_size, LV_KEY_MAX_IMAGE, true},
        {"patch_size", &config->patch_size, LV_KEY_MAX_IMAGE, true},
        {"toy_scale", &config->own[SCALE], 1000, false},
        {NULL, NULL, 0, false},
    };
    return lv_keys_read_sizes(object, keys, whole);
}

static void write(cJSON *object, const lv_vision_config *config)
{
    lv_key_set_number(object, "hidden_size", (double)config->hidden_size);
    lv_key_set_number(object, "num_hidden_layers", (double)config->n_layers);
    lv_key_set_number(object, "image_size", (double)config->image_size);
    lv_key_set_number(object, "patch_size", (double)config->patch_size);
    lv_key_set_number(object, "toy_scale", (double)config->own[SCALE]);
}

static int64_t patches(const lv_vision_config *config)
{
    return (config->image_size / config->patch_size) * (config->image_size / config->patch_size);
}

static int64_t rows_per_image(const lv_vision_config *config, bool select_patch)
{
    (void)select_patch;
    return patches(config) + 1;
}

static lv_tensor *declare_scaled(lv_params *params, const lv_vision_config *config,
                                 const char *name, int n_dims, const int64_t *shape)
{
    lv_tensor *tensor = lv_params_declare(params, name, n_dims, shape, true, true);
    lv_params_of(params, tensor)->init =
        (lv_init){LV_INIT_UNIFORM, 0.01 * (double)config->own[SCALE]};
    return tensor;
}

static int declare(void **state, const lv_vision_config *config, lv_vision_select select,
                   lv_params *params)
{
    const int64_t H = config->hidden_size, P = config->patch_size;
    toy_tower *toy = calloc(1, sizeof *toy + (size_t)config->n_layers * sizeof *toy->layers);
    if (!toy) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a toy");
    }
    toy->config = *config;
    toy->select = select;
    toy->w = declare_scaled(params, config, "vision_tower.patch.weight", 4,
                            (int64_t[]){H, config->n_channels, P, P});
    toy->class_row = declare_scaled(params, config, "vision_tower.patch.class", 1, &H);
    toy->position = declare_scaled(params, config, "vision_tower.patch.position", 2,
                                   (int64_t[]){patches(config) + 1, H});
    for (int64_t l = 0; l < config->n_layers; l++) {
        char name[64];
        snprintf(name, sizeof name, "vision_tower.blocks.%d", (int)l);
        toy->layers[l] = lv_dense_declare(params, name, H, H, false, l < select.n_run,
                                          (lv_init){LV_INIT_NORMAL, 1 / sqrt((double)H)});
    }
    *state = toy;
    return LV_OK;
}

static lv_tensor *features(const void *state, lv_tape *tape, lv_tensor *pixels, bool recompute)
{
    const toy_tower *toy = state;
    (void)recompute;
    lv_tensor *x = lv_patch_embed(tape, pixels, toy->w, toy->class_row, toy->position);
    for (int64_t l = 0; l < toy->select.n_run; l++) {
        x = lv_dense_apply_add(tape, &toy->layers[l], lv_gelu(tape, x), x);
    }
    return x;
}

static const lv_name_rule names[] = {
    {"patch.", "patch."}, {"blocks.", "blocks."}, {"body.", "blocks."}, {NULL, NULL}};
static const char *const ignored[] = {"decoder.", NULL};

const lv_tower lv_tower_toy = {
    .model_type = "toy_vision",
    .architecture = "ToyVision",
    .description = "a toy's vision tower",
    .defaults = &defaults,
    .image_mean = mean,
    .image_std = std,
    .image_processor = "ToyImageProcessor",
    .parse = parse,
    .write = write,
    .rows_per_image = rows_per_image,
    .declare = declare,
    .features = features,
    .names = names,
    .ignored = ignored,
};
