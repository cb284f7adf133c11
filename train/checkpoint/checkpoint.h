/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints: run.dir/checkpoints/step-000500/ with one HDF5 file a rank (rank-00000.h5:
 * checkpoint_file.h) and manifest.json. A directory of that name is whole: it is written under
 * another name and renamed when every byte is on the disk. Any number of ranks can read it. They
 * are written by checkpoint_save.h.
 */
#ifndef LV_TRAIN_CHECKPOINT_CHECKPOINT_H
#define LV_TRAIN_CHECKPOINT_CHECKPOINT_H

#include "train/cluster/comm.h"
#include "train/model/params/params.h"

#include <cjson/cJSON.h>

/* What a run is, besides its weights. */
typedef struct {
    int64_t step;      /* steps done, applied or not */
    int64_t n_updates; /* steps applied: AdamW's t */
    int64_t n_skipped_in_a_row;
    int64_t n_steps; /* of the whole run when this was saved; 0: not known */
} lv_train_state;

/* What a checkpoint belongs to; compared on resume, and where a model is written from it. */
typedef struct {
    const cJSON *config;         /* lv_config.json; NULL: only the frozen weights are compared */
    uint64_t frozen_fingerprint; /* lv_llava_fingerprint */
    uint64_t data_fingerprint;   /* of the packs */
} lv_run_identity;

/* lv_checkpoint_path: run_dir/checkpoints/step-000500; free() it. */
char *lv_checkpoint_path(const char *run_dir, int64_t step);

extern const char lv_checkpoint_format[]; /* "format" of its manifest */

/* lv_checkpoint_find: the newest whole checkpoint of run_dir. Collective.
 * out    *dir, the caller's, or NULL if there is none at all; a damaged one is passed over with a
 *        message on stderr, and one of another step than that of its name
 * fails  LV_ERR_FORMAT if there are some and none is whole: what a run that begins anew would write
 *        over is not given up on silently; LV_ERR_IO if the run's folder can not be read */
int lv_checkpoint_find(const lv_comm *comm, const char *run_dir, char **dir);

/* lv_checkpoint_check_named: is how auto, none, or a directory with a manifest? Quick, so that the
 * answer need not wait for the model.
 * fails  LV_ERR_CONFIG saying what to name */
int lv_checkpoint_check_named(const char *how);

/* lv_checkpoint_choose: what a run goes on from, as --resume says. Collective.
 * in     how: auto: the newest of run_dir that is whole; none: there may be none; or the directory
 *        of a checkpoint; as lv_checkpoint_check_named has found it good
 * out    *dir, the caller's, or NULL: begin at the first step
 * fails  LV_ERR_CONFIG if how is none with a checkpoint there; as lv_checkpoint_find,
 *        lv_checkpoint_verify */
int lv_checkpoint_choose(const lv_comm *comm, const char *run_dir, const char *how, char **dir);

/* lv_checkpoint_verify: manifest and all files, of which each rank reads a share. Collective.
 * fails  LV_ERR_FORMAT naming the file that is damaged, LV_ERR_IO */
int lv_checkpoint_verify(const lv_comm *comm, const char *dir);

/* lv_checkpoint_manifest: read and check manifest.json; out is the caller's. */
int lv_checkpoint_manifest(cJSON **out, const char *dir);

/* lv_checkpoint_load: fill what this rank owns, the master values with their working copies and the
 * moments, reading no file that has nothing of it. What other ranks own lv_exchange_weights brings.
 * Collective, on any number of ranks.
 * in     identity: NULL: not compared; exp_avg, exp_avg_sq: own_count elements, NULL if not wanted
 * fails  LV_ERR_CONFIG with what differs from the run, LV_ERR_SHAPE with the first parameter that
 *        does, LV_ERR_FORMAT, LV_ERR_IO; parameters may be changed then, state is not */
int lv_checkpoint_load(const lv_comm *comm, const char *dir, const lv_run_identity *identity,
                       lv_train_state *state, lv_params *params, lv_real *exp_avg,
                       lv_real *exp_avg_sq);

#endif
