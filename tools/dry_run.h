/* SPDX-License-Identifier: Apache-2.0
 *
 * llava train --dry-run: what a run would take.
 */
#ifndef LV_TOOLS_DRY_RUN_H
#define LV_TOOLS_DRY_RUN_H

#include "train/cluster/comm.h"
#include "train/config/config.h"

/* What the flags ask for; 0 where a number was not given, -1 for latency_us. */
typedef struct {
    bool wanted;
    int64_t ranks, ranks_per_node;
    double gflops, memory_gb_s, gbps, latency_us, local_gb_s;
} lv_dry_run;

/* lv_dry_run_check: do the flags go together? comm: of how the program was started.
 * fails  LV_ERR_CONFIG naming the flag */
int lv_dry_run_check(const lv_dry_run *asked, const lv_comm *comm);

/* lv_dry_run_print: the plan, on stdout; what of the machine was not given is measured here. On
 * rank 0.
 * fails  as lv_memory_plan_make, lv_probe_model */
int lv_dry_run_print(const lv_dry_run *asked, const lv_comm *comm, const lv_config *config);

#endif
