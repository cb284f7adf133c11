/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding and loading checkpoints: run.dir/checkpoints/step-000500/ with one HDF5 file a rank
 * (rank-00000.h5: file.h) and manifest.json (manifest.h). A directory of that name is whole: it is
 * written under another name and renamed when every byte is on the disk (save.h). Any number of
 * ranks can read it.
 */
#ifndef LV_TRAIN_CHECKPOINT_CHECKPOINT_H
#define LV_TRAIN_CHECKPOINT_CHECKPOINT_H

#include "train/checkpoint/manifest.h"
#include "train/cluster/comm.h"

/* lv_checkpoint_find: the newest whole checkpoint of run_dir. Collective.
 * out    *dir, the caller's, or NULL if there is none at all; a damaged one, or one of another step
 *        than that of its name, is passed over with a message on stderr
 * fails  LV_ERR_FORMAT if there are some and none is whole: a new run would write over them;
 *        LV_ERR_IO if the run's folder can not be read */
int lv_checkpoint_find(const lv_comm *comm, const char *run_dir, char **dir);

/* lv_checkpoint_check_named: is how auto, none, or a directory with a manifest? A quick check, before
 * the model is loaded.
 * fails  LV_ERR_CONFIG with what to name instead */
int lv_checkpoint_check_named(const char *how);

/* lv_checkpoint_choose: the checkpoint that a run resumes from, as --resume says. Collective.
 * in     how: auto: the newest of run_dir that is whole; none: there may be none; or the directory
 *        of a checkpoint; checked by lv_checkpoint_check_named
 * out    *dir, the caller's, or NULL: begin at the first step
 * fails  LV_ERR_CONFIG if how is none with a checkpoint there; as lv_checkpoint_find,
 *        lv_checkpoint_verify */
int lv_checkpoint_choose(const lv_comm *comm, const char *run_dir, const char *how, char **dir);

/* lv_checkpoint_verify: manifest and all files, each by one of the ranks. Collective.
 * fails  LV_ERR_FORMAT naming the file that is damaged, LV_ERR_IO */
int lv_checkpoint_verify(const lv_comm *comm, const char *dir);

/* lv_checkpoint_load: the master values that this rank owns, with their working copies, and their
 * moments; files without any of them are not opened. Values of other ranks come by
 * lv_exchange_weights. Collective, on any number of ranks.
 * in     identity: NULL: not compared
 *        moments: of the dtype that was saved, where they are read to; NULL: they are not
 * fails  LV_ERR_CONFIG with what differs from the run, LV_ERR_SHAPE with the first parameter that
 *        does, LV_ERR_FORMAT, LV_ERR_IO; parameters may be changed then, state is not */
int lv_checkpoint_load(const lv_comm *comm, const char *dir, const lv_run_identity *identity,
                       lv_train_state *state, lv_params *params, const lv_moments *moments);

#endif
