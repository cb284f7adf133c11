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

/* lv_frozen_weights_place: collective: values for parameters that wait for lv_params_copy_frozen;
 * nothing is done if there are none. With LV_WEIGHTS_COPY_PER_SOCKET on a host whose ranks do not
 * all keep to a socket each, that host has one copy, and rank 0 says so.
 * in     cpus: on which this rank runs; the same params on all ranks
 * out    copy: destroy it after params
 * fails  on all ranks: as lv_shared_copy_create and lv_params_copy_frozen */
int lv_frozen_weights_place(lv_shared_copy *copy, const lv_comm *comm, lv_weights_place place,
                            const lv_cpu_set *cpus, lv_params *params);

#endif
