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

#endif
