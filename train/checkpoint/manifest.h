/* SPDX-License-Identifier: Apache-2.0
 *
 * A checkpoint's manifest.json: the state and the identity of its run, compared on resume, and the
 * list of its files with their checksums.
 */
#ifndef LV_TRAIN_CHECKPOINT_MANIFEST_H
#define LV_TRAIN_CHECKPOINT_MANIFEST_H

#include "train/checkpoint/file.h"

#include <cjson/cJSON.h>

extern const char lv_checkpoint_format[]; /* "format" of a manifest */

/* The state of a run besides weights and moments. */
typedef struct {
    int64_t step;      /* steps done, applied or not */
    int64_t n_updates; /* steps applied: AdamW's t */
    int64_t n_skipped_in_a_row;
    int64_t n_steps; /* of the whole run when this was saved; 0: not known */
} lv_train_state;

/* What a checkpoint belongs to; compared on resume and on export. */
typedef struct {
    const cJSON *config;         /* lv_config.json; NULL: only the frozen weights are compared */
    uint64_t frozen_fingerprint; /* lv_llava_fingerprint */
    uint64_t data_fingerprint;   /* of the packs */
} lv_run_identity;

/* lv_checkpoint_file_name: the name of a rank's file; free() it. */
char *lv_checkpoint_file_name(int rank);

/* lv_checkpoint_manifest: read and check manifest.json; out is the caller's.
 * fails  LV_ERR_FORMAT, LV_ERR_IO */
int lv_checkpoint_manifest(cJSON **out, const char *dir);

/* lv_checkpoint_manifest_make: all but the list of files; cJSON_Delete it. */
cJSON *lv_checkpoint_manifest_make(int n_ranks, const lv_train_state *state,
                                   const lv_run_identity *identity, lv_params *params);

/* lv_checkpoint_manifest_compare: may a run with this identity (NULL: not compared) and these
 * parameters resume from it?
 * fails  LV_ERR_CONFIG, LV_ERR_SHAPE with the first thing that differs; LV_ERR_FORMAT */
int lv_checkpoint_manifest_compare(const cJSON *manifest, const lv_run_identity *identity,
                                   lv_params *params);

/* lv_checkpoint_manifest_layout: of parameters that were compared; free() out->params.
 * fails  LV_ERR_FORMAT if they are not contiguous */
int lv_checkpoint_manifest_layout(lv_layout *out, const cJSON *manifest, lv_params *params);

/* lv_checkpoint_manifest_state: fails  LV_ERR_FORMAT on impossible numbers */
int lv_checkpoint_manifest_state(lv_train_state *out, const cJSON *manifest);

/* lv_checkpoint_manifest_files: the number of files: one for each rank that wrote.
 * fails  LV_ERR_FORMAT if others are listed */
int lv_checkpoint_manifest_files(int *n_files, const cJSON *manifest);

#endif
