/* SPDX-License-Identifier: Apache-2.0
 *
 * llava train --dry-run: the plan of a run.
 */
#ifndef LV_TOOLS_DRY_RUN_H
#define LV_TOOLS_DRY_RUN_H

#include "train/cluster/comm.h"
#include "train/config/config.h"

/* The flags; a number that was not given is 0, latency_us -1. */
typedef struct {
    bool given;
    int64_t ranks, ranks_per_node;
    double gflops, memory_gb_s, gbps, latency_us, local_gb_s;
} lv_dry_run;

/* lv_dry_run_check: are the flags consistent, among each other and with the ranks of comm?
 * fails  LV_ERR_CONFIG naming the flag */
int lv_dry_run_check(const lv_dry_run *flags, const lv_comm *comm);

/* lv_dry_run_print: the plan, on stdout of rank 0; rates that were not given are measured here.
 * fails  as lv_memory_plan_make, lv_probe_model */
int lv_dry_run_print(const lv_dry_run *flags, const lv_comm *comm, const lv_config *config);

#endif
