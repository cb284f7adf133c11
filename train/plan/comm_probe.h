/* SPDX-License-Identifier: Apache-2.0
 *
 * Measured now: messages between the ranks of this job, and the exchange of a step.
 */
#ifndef LV_TRAIN_PLAN_COMM_PROBE_H
#define LV_TRAIN_PLAN_COMM_PROBE_H

#include "train/exchange/exchange.h"

/* lv_link_rates: 0 where no two ranks have such a link. */
typedef struct {
    double latency_s;   /* of a message of 8 bytes: half a round trip */
    double bytes_per_s; /* of a host, each way, while all its ranks send and receive; with equally
                           many ranks on each host */
} lv_link_rates;

typedef struct {
    int n_hosts;
    lv_link_rates local;  /* between ranks of a host; the slowest host */
    lv_link_rates remote; /* between hosts, in a ring: each sends to the next; the slowest */
} lv_comm_rates;

/* lv_comm_probe: collective, the same on all ranks.
 * in     message_bytes: size of a message for bytes_per_s, 1 to 2^30
 * fails  LV_ERR_COMM, LV_ERR_MEMORY */
int lv_comm_probe(lv_comm_rates *out, const lv_comm *comm, int64_t message_bytes);

/* lv_exchange_probe: collective. Seconds of a step's exchange (exchange.h) of n_params elements
 * while nothing is computed: gradients, and weights in bf16; medians of the slowest rank.
 * in     n_params > 0, 6 bytes each on every rank, and 4 of its share; bucket_mb as
 *        comm.bucket_mb
 * out    the same on all ranks
 * fails  LV_ERR_COMM, LV_ERR_MEMORY */
int lv_exchange_probe(double *grads_s, double *weights_s, const lv_comm *comm, int64_t n_params,
                      lv_dtype wire, double bucket_mb);

#endif
