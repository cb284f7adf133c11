/* SPDX-License-Identifier: Apache-2.0
 *
 * Frozen weights once a machine: in the files that all ranks map, or copied to memory that the
 * ranks of a host, or of one of its sockets, share.
 */
#ifndef LV_TRAIN_CLUSTER_FROZEN_WEIGHTS_H
#define LV_TRAIN_CLUSTER_FROZEN_WEIGHTS_H

#include "train/cluster/shared_copy.h"
#include "train/host/cores.h"
#include "train/model/params/params.h"

/* lv_frozen_weights_place: collective: values for parameters whose values lv_params_copy_frozen
 * has yet to copy, if there are any. With LV_WEIGHTS_COPY_PER_SOCKET, a host on which a rank runs on
 * several sockets has one copy, of which rank 0 warns.
 * in     cpus: of this rank; the same params on all ranks
 * out    copy: destroy it after params
 * fails  on all ranks: as lv_shared_copy_create and lv_params_copy_frozen */
int lv_frozen_weights_place(lv_shared_copy *copy, const lv_comm *comm, lv_weights_place place,
                            const lv_cpu_set *cpus, lv_params *params);

#endif
