/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast the ranks of this job send each other messages, measured now.
 */
#ifndef LV_TRAIN_PLAN_COMM_PROBE_H
#define LV_TRAIN_PLAN_COMM_PROBE_H

#include "train/cluster/comm.h"

/* lv_link_rates: 0 where no two ranks have such a link. */
typedef struct {
    double latency_s;   /* of a message of 8 bytes: half of there and back */
    double bytes_per_s; /* that leave a host while as many come in, all its ranks sending; equally
                           many on each host */
} lv_link_rates;

typedef struct {
    int n_hosts;
    lv_link_rates local;  /* between ranks of a host; of the slowest host */
    lv_link_rates remote; /* between hosts, in a ring: each sends to the next; the slowest */
} lv_comm_rates;

/* lv_comm_probe: collective, the same on all ranks.
 * in     message_bytes: of a message when bytes are counted, 1 to 2^30
 * fails  LV_ERR_COMM, LV_ERR_MEMORY */
int lv_comm_probe(lv_comm_rates *out, const lv_comm *comm, int64_t message_bytes);

#endif
