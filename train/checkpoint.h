/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints: run.dir/checkpoints/step-000500/ with one HDF5 file a rank and manifest.json. A
 * directory of that name is whole: it is written under another name and renamed when every byte
 * is on the disk.
 *
 * rank-00000.h5 holds the elements [begin, end) (attributes) of the flat buffers as f32 datasets
 * "param", "exp_avg" and "exp_avg_sq" (AdamW's m and v). Any number of ranks can read them.
 */
#ifndef LV_TRAIN_CHECKPOINT_H
#define LV_TRAIN_CHECKPOINT_H

#include "train/comm.h"
#include "train/model/params.h"

#include <cjson/cJSON.h>

/* What a run is, besides its weights. */
typedef struct {
    int64_t step;      /* steps done, applied or not */
    int64_t n_updates; /* steps applied: AdamW's t */
    int64_t n_skipped_in_a_row;
} lv_train_state;

/* What a checkpoint belongs to; compared on resume. */
typedef struct {
    const cJSON *config;         /* lv_config.json */
    uint64_t frozen_fingerprint; /* lv_llava_fingerprint */
    uint64_t data_fingerprint;   /* of the packs */
} lv_run_identity;

/* lv_checkpoint_path: run_dir/checkpoints/step-000500; free() it. */
char *lv_checkpoint_path(const char *run_dir, int64_t step);

extern const char lv_checkpoint_format[]; /* "format" of its manifest */

/* lv_checkpoint_save: write run_dir/checkpoints/step-<state->step>, then remove all but the newest
 * `keep` up to that step. Those of later steps, which a run that went on from an earlier one leaves
 * behind, are renamed to step-<n>.aside. Collective; each rank writes its slice.
 * fails  LV_ERR_IO with the path; what was saved before is untouched */
int lv_checkpoint_save(const lv_comm *comm, const char *run_dir, int64_t keep,
                       const lv_train_state *state, const lv_run_identity *identity,
                       lv_params *params, const lv_real *exp_avg, const lv_real *exp_avg_sq);

/* lv_checkpoint_find: the newest whole checkpoint of run_dir. Collective.
 * out    *dir, the caller's, or NULL if there is none; a damaged one is passed over with a message
 *        on stderr */
int lv_checkpoint_find(const lv_comm *comm, const char *run_dir, char **dir);

/* lv_checkpoint_verify: manifest and all files. Not collective.
 * fails  LV_ERR_FORMAT naming the file that is damaged, LV_ERR_IO */
int lv_checkpoint_verify(const char *dir);

/* lv_checkpoint_manifest: read and check manifest.json; out is the caller's. */
int lv_checkpoint_manifest(cJSON **out, const char *dir);

/* lv_checkpoint_load: fill the flat parameters, with their working copies, and the moments.
 * Collective, on any number of ranks. in     identity: NULL: not compared (export); exp_avg,
 * exp_avg_sq: NULL if not wanted fails  LV_ERR_CONFIG with what differs from the run, LV_ERR_SHAPE
 * with the first parameter that does, LV_ERR_FORMAT, LV_ERR_IO */
int lv_checkpoint_load(const lv_comm *comm, const char *dir, const lv_run_identity *identity,
                       lv_train_state *state, lv_params *params, lv_real *exp_avg,
                       lv_real *exp_avg_sq);

#endif
