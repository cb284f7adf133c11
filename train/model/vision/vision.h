/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_vision: images to features. A kind of vision tower is one file that defines an lv_tower, and
 * one line in towers.def.
 */
#ifndef LV_TRAIN_MODEL_VISION_VISION_H
#define LV_TRAIN_MODEL_VISION_VISION_H

#include "autograd/tape.h"
#include "train/model/params/params.h"
#include "train/model/shapes.h"

#include <cjson/cJSON.h>

/* What a tower is to compute: hidden state n_run, after as many layers. */
typedef struct {
    int64_t n_run;     /* in [0, n_layers] */
    bool select_patch; /* without the class row, if the tower has one */
} lv_vision_select;

/* lv_tower: one row of the table. I images, H hidden size. */
typedef struct lv_tower {
    const char *model_type;   /* in config.json: "clip_vision_model" */
    const char *whole_type;   /* of a model with this tower as its "vision_config"; NULL: none */
    const char *architecture; /* "CLIPVisionModel" */
    const char *description;  /* "a CLIP vision tower" */
    const lv_vision_config *defaults;       /* what a config.json leaves out */
    const lv_vision_config *llava_defaults; /* of LlavaConfig without a vision_config; NULL: none */
    const float *image_mean, *image_std;    /* [3], without an image processor's file */
    const char *image_processor;            /* transformers' class of it */
    /* *config, which has defaults, changed by the members of a config.json (or of a
     * "vision_config", whole false), and checked. fails  LV_ERR_FORMAT, LV_ERR_UNSUPPORTED, each
     * naming the key; *config is unchanged then */
    int (*parse)(lv_vision_config *config, const cJSON *object, bool whole);
    /* All keys but model_type and architectures. */
    void (*write)(cJSON *object, const lv_vision_config *config);
    int64_t (*rows_per_image)(const lv_vision_config *config, bool select_patch);
    /* Declare the parameters "vision_tower.<...>", with initial values; those of layers that do
     * not run as unused. *state is one block from malloc. fails  LV_ERR_MEMORY */
    int (*declare)(void **state, const lv_vision_config *config, lv_vision_select select,
                   lv_params *params);
    /* pixels (I,C,S,S) to (I * rows per image, H), in the step arena; layers without a gradient
     * release their activations; recompute: keep only the layers' inputs where one is needed */
    lv_tensor *(*features)(const void *state, lv_tape *tape, lv_tensor *pixels, bool recompute);
    /* Names in files, of a bare tower or after "vision_tower." */
    const lv_name_rule *names;
    /* Beginnings of names of tensors that are no part of the tower; up to NULL. */
    const char *const *ignored;
} lv_tower;

/* lv_tower_find: by model_type; NULL: the first. returns NULL if there is none of that type */
const lv_tower *lv_tower_find(const char *model_type);
/* lv_tower_find_whole: by whole_type. */
const lv_tower *lv_tower_find_whole(const char *whole_type);
/* lv_towers_list: all types, "clip, clip_vision_model", into buf; returns buf. */
const char *lv_towers_list(char *buf, size_t bytes);

int64_t lv_vision_rows_per_image(const lv_vision_config *config, bool select_patch);

/* lv_vision_n_run: the layers below a hidden state.
 * in     select_layer: index into the n_layers + 1 hidden states, as Python's
 * fails  LV_ERR_CONFIG for one that does not exist */
int lv_vision_n_run(int64_t *n_run, const lv_vision_config *config, int select_layer);

/* lv_vision_create: declare the parameters of the configured tower.
 * in     config: as the tower's parse leaves it; params outlives the tower
 * fails  LV_ERR_CONFIG for a select_layer that does not exist, LV_ERR_MEMORY */
typedef struct lv_vision lv_vision;
int lv_vision_create(lv_vision **out, const lv_vision_config *config, int select_layer,
                     bool select_patch, lv_params *params);
void lv_vision_destroy(lv_vision **vision);

/* lv_vision_features: see lv_tower.
 * in     pixels (I,C,S,S) with S = image_size: another one ends the job
 * out    (I * rows per image, H), in the step arena */
lv_tensor *lv_vision_features(const lv_vision *vision, lv_tape *tape, lv_tensor *pixels,
                              bool recompute);

#endif
