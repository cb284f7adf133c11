/* SPDX-License-Identifier: Apache-2.0
 *
 * One training run, from a configuration to its outputs.
 */
#ifndef LV_TRAIN_TRAINER_H
#define LV_TRAIN_TRAINER_H

#include "train/cluster/comm.h"
#include "train/config/config.h"

/* lv_train: run until the last step, or until a signal requests a stop (after
 * lv_stop_catch_signals). Collective.
 * in     resume: "auto" (from the newest whole checkpoint of run.dir, or begin), "none" (begin;
 *        refused if run.dir has checkpoints) or the directory of a checkpoint
 *        profile: print where the time of steps goes: of the second to the sixth (LV_PROFILED_STEPS)
 *        of this process; of fewer if the run ends before, and of the first if that is the only one
 * out    in run.dir: checkpoints/, metrics.jsonl, config.json, and at the end
 *        projector.safetensors or model/
 * fails  LV_ERR_STOPPED after SIGTERM, SIGINT, SIGUSR1 or SIGUSR2 and the checkpoint after it;
 *        LV_ERR_DIVERGED after three steps in a row whose loss or gradient is not finite;
 *        LV_ERR_CONFIG before any work; LV_ERR_IO, LV_ERR_FORMAT, ... with older checkpoints
 *        untouched */
int lv_train(const lv_comm *comm, const lv_config *config, const char *resume, bool profile);

#endif
