/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/dry_run.h"

#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "train/cluster/threads.h"
#include "train/plan/memory.h"
#include "train/plan/probe.h"
#include "train/plan/step.h"

#include <inttypes.h>
#include <stdio.h>

/* Of the memory's rate: data between ranks of a node are read and written twice. */
static const double LOCAL_SHARE = 0.25;

static int64_t ranks_per_node_of(const lv_dry_run *flags, const lv_comm *comm)
{
    return flags->ranks_per_node > 0 ? flags->ranks_per_node : comm->n_local_ranks;
}

/* The first flag that is of no use without --ranks; NULL if none is given. */
static const char *machine_flag(const lv_dry_run *flags)
{
    return flags->gflops > 0        ? "--gflops"
           : flags->memory_gb_s > 0 ? "--memory-gb-s"
           : flags->gbps > 0        ? "--gbps"
           : flags->latency_us >= 0 ? "--latency-us"
           : flags->local_gb_s > 0  ? "--local-gb-s"
                                    : NULL;
}

int lv_dry_run_check(const lv_dry_run *flags, const lv_comm *comm)
{
    const char *flag = flags->ranks > 0            ? "--ranks"
                       : flags->ranks_per_node > 0 ? "--ranks-per-node"
                                                   : machine_flag(flags);
    if (!flags->given) {
        return !flag ? LV_OK
                     : lv_fail(LV_ERR_CONFIG,
                               "%s is for --dry-run; a run has as many ranks as mpirun or srun "
                               "starts, on the machines that there are",
                               flag);
    }
    if (flags->ranks == 0) {
        flag = machine_flag(flags);
        return !flag ? LV_OK
                     : lv_fail(LV_ERR_CONFIG,
                               "%s is of no use without --ranks: memory alone is planned", flag);
    }
    const int64_t per_node = ranks_per_node_of(flags, comm);
    if (comm->n_ranks > 1) {
        return lv_fail(LV_ERR_CONFIG, "--ranks is planned by one process: leave mpirun or srun "
                                      "out");
    }
    if (flags->ranks % per_node != 0) {
        return lv_fail(LV_ERR_CONFIG,
                       "--ranks: %" PRId64 " is not a multiple of --ranks-per-node, %" PRId64,
                       flags->ranks, per_node);
    }
    if (flags->ranks > per_node && (flags->gbps == 0 || flags->latency_us < 0)) {
        return lv_fail(LV_ERR_CONFIG,
                       "%s is missing: %" PRId64 " ranks, %" PRId64 " to a node "
                       "(--ranks-per-node), are on %" PRId64 " nodes; llava bench comm measures "
                       "the network",
                       flags->gbps == 0 ? "--gbps" : "--latency-us", flags->ranks, per_node,
                       flags->ranks / per_node);
    }
    return LV_OK;
}

/* Measures the rates that were not given.
 * out    measured: a line for the user, "" if all were given */
static int measure_machine(lv_machine *machine, char measured[160], const lv_config *config,
                           const lv_step_work *work)
{
    const lv_comm alone = lv_comm_single();
    lv_threads threads;
    lv_probe probe;
    size_t at = 0;
    measured[0] = '\0';
    if (machine->flop_per_s > 0 && machine->memory_bytes_per_s > 0) {
        return LV_OK;
    }
    int rc = lv_threads_start(&threads, &alone);
    if (rc == LV_OK && machine->flop_per_s == 0) {
        rc = lv_probe_model(&probe, config, work);
        machine->flop_per_s = rc < 0 ? 0 : probe.flop_per_s;
        at += rc < 0 ? 0
                     : (size_t)snprintf(measured, 160,
                                        "--gflops %.4g (%" PRId64 " layers and %" PRId64
                                        " of the tower, %" PRId64 " rows)",
                                        1e-9 * probe.flop_per_s, probe.n_layers,
                                        probe.n_vision_layers, probe.n_rows);
    }
    if (rc == LV_OK && machine->memory_bytes_per_s == 0) {
        rc = lv_probe_memory(&machine->memory_bytes_per_s);
        at += (size_t)snprintf(measured + at, 160 - at, "%s--memory-gb-s %.3g", at ? ", " : "",
                               1e-9 * machine->memory_bytes_per_s);
    }
    if (rc == LV_OK) {
        snprintf(measured + at, 160 - at, "; %d thread%s", threads.n_threads,
                 threads.n_threads == 1 ? "" : "s");
    }
    return rc;
}

static int print_step(const lv_dry_run *flags, const lv_comm *comm, const lv_config *config,
                      const lv_memory_plan *plan, lv_step_work *work)
{
    char measured[160];
    lv_machine machine = {.n_ranks = (int)flags->ranks,
                          .ranks_per_node = (int)ranks_per_node_of(flags, comm),
                          .flop_per_s = 1e9 * flags->gflops,
                          .memory_bytes_per_s = 1e9 * flags->memory_gb_s,
                          .link_bytes_per_s = 1e9 / 8 * flags->gbps,
                          .latency_s = flags->latency_us < 0 ? 0 : 1e-6 * flags->latency_us,
                          .local_bytes_per_s = 1e9 * flags->local_gb_s};
    int rc = measure_machine(&machine, measured, config, work);
    if (rc < 0) {
        return rc;
    }
    if (machine.local_bytes_per_s == 0) {
        machine.local_bytes_per_s = LOCAL_SHARE * machine.memory_bytes_per_s;
    }
    const lv_step_mean mean = lv_step_work_mean(work);
    const lv_step_plan step = lv_step_plan_of(&mean, &plan->traffic, &machine);
    lv_step_plan_print(&step, &mean, &machine);
    if (measured[0]) {
        printf("  measured here, of a node: %s\n", measured);
    }
    if (flags->ranks > config->train.global_batch_size) {
        printf("  %" PRId64 " of the ranks have no sample: a step has %" PRId64 "\n",
               flags->ranks - config->train.global_batch_size, config->train.global_batch_size);
    }
    return LV_OK;
}

int lv_dry_run_print(const lv_dry_run *flags, const lv_comm *comm, const lv_config *config)
{
    const int64_t per_node = ranks_per_node_of(flags, comm);
    const bool timed = flags->ranks > 0;
    const int64_t n_ranks = timed                       ? flags->ranks
                            : flags->ranks_per_node > 0 ? per_node
                                                        : comm->n_ranks;
    lv_memory_plan plan;
    lv_step_work work = {0};
    if (comm->rank != 0) {
        return LV_OK;
    }
    lv_blas_start();
    int rc = lv_memory_plan_make(&plan, timed ? &work : NULL, config, (int)n_ranks, (int)per_node);
    if (rc == LV_OK) {
        lv_memory_plan_print(&plan);
        rc = timed ? print_step(flags, comm, config, &plan, &work) : LV_OK;
    }
    return rc;
}
