/* SPDX-License-Identifier: Apache-2.0
 *
 * What a checkpoint's manifest.json says of the run that it belongs to, and what is compared with
 * it on resume. For the other files of the checkpoint.
 */
#ifndef LV_TRAIN_CHECKPOINT_MANIFEST_H
#define LV_TRAIN_CHECKPOINT_MANIFEST_H

#include "train/checkpoint/checkpoint.h"
#include "train/checkpoint/file.h"

/* lv_checkpoint_file_name: of a rank's file; free() it. */
char *lv_checkpoint_file_name(int rank);

/* lv_checkpoint_manifest_make: all but the list of files; cJSON_Delete it. */
cJSON *lv_checkpoint_manifest_make(int n_ranks, const lv_train_state *state,
                                   const lv_run_identity *identity, lv_params *params);

/* lv_checkpoint_manifest_compare: may a run with this identity (NULL: not compared) and these
 * parameters go on from it?
 * fails  LV_ERR_CONFIG, LV_ERR_SHAPE with the first thing that differs; LV_ERR_FORMAT */
int lv_checkpoint_manifest_compare(const cJSON *manifest, const lv_run_identity *identity,
                                   lv_params *params);

/* lv_checkpoint_manifest_layout: of parameters that were compared; free() its places.
 * fails  LV_ERR_FORMAT if they do not lie end to end */
int lv_checkpoint_manifest_layout(lv_layout *out, const cJSON *manifest, lv_params *params);

/* lv_checkpoint_manifest_state: fails  LV_ERR_FORMAT if the numbers cannot be */
int lv_checkpoint_manifest_state(lv_train_state *out, const cJSON *manifest);

/* lv_checkpoint_manifest_files: how many files are listed: each rank's, and no other.
 * fails  LV_ERR_FORMAT */
int lv_checkpoint_manifest_files(int *n_files, const cJSON *manifest);

#endif
