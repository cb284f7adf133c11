/* SPDX-License-Identifier: Apache-2.0
 *
 * A run's configuration: one JSON file, checked before any work. configs/README.md describes
 * the keys; the table in fields.c is what counts.
 */
#ifndef LV_TRAIN_CONFIG_CONFIG_H
#define LV_TRAIN_CONFIG_CONFIG_H

#include "data/image/image.h"
#include "optim/schedule.h"
#include "train/model/llava/llava.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LV_MAX_LIST = 32, LV_LAYER_NOT_GIVEN = INT32_MIN };

#define LV_LEAST_BUCKET_MB 0.001 /* of comm.bucket_mb, but for 0: some hundred elements */

/* Of the weights in a model directory that is written; auto: as the language model's files. */
typedef enum { LV_OUTPUT_AUTO, LV_OUTPUT_BF16, LV_OUTPUT_F32 } lv_output_dtype;

typedef struct {
    size_t n;
    const char *items[LV_MAX_LIST];
} lv_text_list;

/* The packs of a run and how often an epoch goes through each: see data/loader/sampler.h. */
typedef struct {
    size_t n;
    const char *paths[LV_MAX_LIST];
    double weights[LV_MAX_LIST];
} lv_config_packs;

/* Texts are the configuration's own; paths are absolute or relative to the working directory. A
 * null in the file is NULL, or -1 for a number. */
typedef struct {
    struct {
        const char *dir;
    } run;
    struct {
        const char *llava, *vision_tower, *language_model;
        const char *projector_type; /* NULL if not given */
        const char *projector_weights;
        int64_t vision_select_layer; /* LV_LAYER_NOT_GIVEN if null */
        lv_select_feature vision_select_feature;
        lv_weights_place weights; /* where frozen ones are */
    } model;
    struct {
        lv_config_packs packs, val_packs; /* val_packs: weights 1 */
        bool shuffle, group_by_modality_length;
        int64_t max_length; /* rows a sample, after images are expanded */
        lv_aspect image_aspect;
        int64_t workers;
    } data;
    struct {
        lv_text_list trainable;
        int64_t epochs, max_steps; /* max_steps -1: all of the epochs */
        int64_t global_batch_size, micro_batch_tokens;
        lv_precision precision;
        bool recompute;
        int64_t val_every_steps; /* 0: never */
        int64_t seed;
        bool output_full;
        lv_output_dtype output_dtype;
    } train;
    struct {
        double lr, projector_lr; /* projector_lr -1: lr */
        double beta1, beta2, eps, weight_decay;
        lv_schedule_kind schedule;
        lv_dtype moments; /* LV_F32 or LV_BF16 */
        double warmup_ratio, max_grad_norm;
    } optim;
    struct {
        int64_t every_steps;  /* 0: never */
        double every_minutes; /* 0: never */
        int64_t keep;
        double before_end_minutes; /* of the job; 0: never */
        bool stop_on_error;
    } checkpoint;
    struct {
        bool wire_bf16; /* gradients between ranks; f32 */
        bool overlap;   /* with computing */
        double bucket_mb;
        double stall_minutes; /* 0: never */
        bool stop_on_stall;
    } comm;
    struct {
        int64_t every_steps;
    } log;
    cJSON *json; /* every key with its value in force, paths as above */
} lv_config;

/* lv_config_read: the file, then the overrides, then defaults for what is absent.
 * in     sets: "section.key=value", the value JSON or plain text; a relative path in the file
 *        starts at the file's folder, one in an override at the working directory
 * fails  LV_ERR_CONFIG with the key's path, what was given and what is allowed; LV_ERR_IO */
int lv_config_read(lv_config *out, const char *path, const char *const *sets, size_t n_sets);
int lv_config_from_json(lv_config *out, const cJSON *json);
void lv_config_free(lv_config *config);

/* lv_config_compare: check that a run that began with `before` may continue with `now`. Only paths,
 * log, checkpoint, workers, budgets and the lengths of the run may differ.
 * fails  LV_ERR_CONFIG with a list of other differences */
int lv_config_compare(const cJSON *before, const cJSON *now);

#endif
