/* SPDX-License-Identifier: Apache-2.0
 *
 * The loss on held-out data.
 */
#ifndef LV_TRAIN_VALIDATE_H
#define LV_TRAIN_VALIDATE_H

#include "autograd/tape.h"
#include "data/loader/loader.h"
#include "train/cluster/comm.h"
#include "train/model/llava/llava.h"

/* lv_validate: mean cross-entropy over all supervised tokens of one pass over the data. Collective.
 * in     options: the held-out packs, as for training; steps and order are set here
 * out    loss (NaN if no token is supervised), n_supervised
 * fails  as lv_loader_next_batch */
int lv_validate(double *loss, int64_t *n_supervised, lv_llava *model, lv_tape *tape,
                const lv_comm *comm, const lv_loader_options *options);

/* lv_batch_check_ids: every token id is in the model's vocabulary.
 * in     packs: of the loader that read the batch
 * fails  LV_ERR_CONFIG naming pack, sample and id */
int lv_batch_check_ids(const lv_batch *batch, lv_pack *const *packs, int n_packs,
                       int64_t vocab_size);

#endif
