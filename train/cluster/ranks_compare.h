/* SPDX-License-Identifier: Apache-2.0
 *
 * Comparison of a value that must be the same on all ranks.
 */
#ifndef LV_TRAIN_CLUSTER_RANKS_COMPARE_H
#define LV_TRAIN_CLUSTER_RANKS_COMPARE_H

#include "train/cluster/comm.h"

/* A rank's value. */
typedef struct {
    uint64_t value;
    char host[64];
} lv_rank_value;

/* lv_ranks_compare: check that all ranks have the same value. Collective.
 * in     what: "the frozen weights (...)", for the message
 *        why: the likely reason, and what to do
 * fails  LV_ERR_FORMAT, on all ranks, naming the hosts whose value is another than most ranks';
 *        LV_ERR_COMM, LV_ERR_MEMORY */
int lv_ranks_compare(const lv_comm *comm, uint64_t value, const char *what, const char *why);

/* lv_ranks_differ: the same, for gathered values. Not collective. */
int lv_ranks_differ(const lv_rank_value *ranks, int n_ranks, const char *what, const char *why);

#endif
