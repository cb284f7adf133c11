/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/vision/vision.h"

#include "autograd/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LV_TOWER(name) extern const lv_tower lv_tower_##name;
#include "train/model/vision/towers.def"
#undef LV_TOWER

static const lv_tower *const towers[] = {
#define LV_TOWER(name) &lv_tower_##name,
#include "train/model/vision/towers.def"
#undef LV_TOWER
};
enum { N_TOWERS = sizeof towers / sizeof *towers };

struct lv_vision {
    lv_vision_config config;
    void *state; /* of the tower */
};

const lv_tower *lv_tower_find(const char *model_type)
{
    for (int i = 0; i < N_TOWERS; i++) {
        if (!model_type || strcmp(towers[i]->model_type, model_type) == 0) {
            return towers[i];
        }
    }
    return NULL;
}

const lv_tower *lv_tower_find_whole(const char *whole_type)
{
    for (int i = 0; i < N_TOWERS; i++) {
        if (towers[i]->whole_type && strcmp(towers[i]->whole_type, whole_type) == 0) {
            return towers[i];
        }
    }
    return NULL;
}

const char *lv_towers_list(char *buf, size_t bytes)
{
    size_t at = 0;
    for (int i = 0; i < N_TOWERS && at < bytes; i++) {
        const char *whole = towers[i]->whole_type;
        at += (size_t)snprintf(buf + at, bytes - at, "%s%s%s%s", i ? ", " : "", whole ? whole : "",
                               whole ? ", " : "", towers[i]->model_type);
    }
    return buf;
}

int64_t lv_vision_rows_per_image(const lv_vision_config *config, bool select_patch)
{
    return config->tower->rows_per_image(config, select_patch);
}

int lv_vision_n_run(int64_t *n_run, const lv_vision_config *config, int select_layer)
{
    const int64_t n = select_layer < 0 ? config->n_layers + 1 + select_layer : select_layer;
    if (n < 0 || n > config->n_layers) {
        return lv_fail(LV_ERR_CONFIG,
                       "vision_select_layer is %d, but a vision tower of %" PRId64
                       " layers has the hidden states %" PRId64 " to %" PRId64,
                       select_layer, config->n_layers, -config->n_layers - 1, config->n_layers);
    }
    *n_run = n;
    return LV_OK;
}

int lv_vision_create(lv_vision **out, const lv_vision_config *config, int select_layer,
                     bool select_patch, lv_params *params)
{
    lv_vision_select select = {.select_patch = select_patch};
    int rc = lv_vision_n_run(&select.n_run, config, select_layer);
    if (rc < 0) {
        return rc;
    }
    lv_vision *vision = calloc(1, sizeof *vision);
    if (!vision) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a vision tower");
    }
    vision->config = *config;
    lv_params_part_begin(params, LV_PART_VISION);
    rc = config->tower->declare(&vision->state, config, select, params);
    if (rc < 0) {
        free(vision);
        return rc;
    }
    *out = vision;
    return LV_OK;
}

void lv_vision_destroy(lv_vision **vision)
{
    if (*vision) {
        free((*vision)->state);
        free(*vision);
        *vision = NULL;
    }
}

lv_tensor *lv_vision_features(const lv_vision *vision, lv_tape *tape, lv_tensor *pixels,
                              bool recompute)
{
    const lv_vision_config *c = &vision->config;
    LV_CHECK(pixels->shape[2] == c->image_size && pixels->shape[3] == c->image_size,
             "images of %" PRId64 " x %" PRId64 " for a vision tower of %" PRId64, pixels->shape[2],
             pixels->shape[3], c->image_size);
    return c->tower->features(vision->state, tape, pixels, recompute);
}
