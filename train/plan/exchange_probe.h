/* SPDX-License-Identifier: Apache-2.0
 *
 * How long a step's exchange takes by itself, measured now.
 */
#ifndef LV_TRAIN_PLAN_EXCHANGE_PROBE_H
#define LV_TRAIN_PLAN_EXCHANGE_PROBE_H

#include "train/exchange/exchange.h"

/* lv_exchange_probe: collective: gradients of n_params elements to their owners, and weights in
 * bf16 to all, with nothing computed beside it; medians of a few rounds, of the slowest rank.
 * in     n_params > 0, 6 bytes each on every rank, and 4 of its share; bucket_mb as
 *        comm.bucket_mb
 * out    the same on all ranks
 * fails  LV_ERR_COMM, LV_ERR_MEMORY */
int lv_exchange_probe(double *grads_s, double *weights_s, const lv_comm *comm, int64_t n_params,
                      lv_dtype wire, double bucket_mb);

#endif
