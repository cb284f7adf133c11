/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "tools/cli.h"
#include "tools/tools.h"
#include "train/comm_probe.h"
#include "train/compute.h"
#include "train/memory_plan.h"
#include "train/probe.h"
#include "train/threads.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Sums over all ranks, a host each on average. */
static int sum_of_host(double *x, const lv_comm *comm)
{
    double sums[] = {*x, comm->local_rank == 0};
    int rc = lv_comm_sum_double(comm, sums, 2);
    *x = sums[0] / sums[1];
    return rc;
}

/* ---- compute ---- */

/* All ranks at once, each on its own threads. */
static int probe_model(lv_probe *out, const lv_comm *comm, const lv_config *config)
{
    lv_memory_plan plan;
    lv_step_work work = {0};
    int rc = lv_comm_agree(
        comm, lv_memory_plan_make(&plan, &work, config, comm->n_ranks, comm->n_local_ranks));
    rc = rc < 0 ? rc : lv_comm_agree(comm, lv_probe_model(out, config, &work));
    return rc < 0 ? rc : sum_of_host(&out->flop_per_s, comm);
}

static int bench_compute(const lv_comm *comm, const char *config_path, const lv_texts *sets)
{
    const char *products = lv_gemm_start();
    lv_threads threads;
    lv_config config = {0};
    lv_probe probe = {0};
    double kernel = 0, memory = 0;
    int rc = lv_threads_start(&threads, comm);
    if (rc == LV_OK && config_path) {
        rc = lv_comm_agree(comm, lv_config_read(&config, config_path, sets->items, sets->n));
    }
    rc = rc < 0 ? rc : lv_compute_rate(&kernel, comm);
    rc = rc < 0 ? rc : lv_comm_agree(comm, lv_probe_memory(&memory));
    rc = rc < 0 ? rc : sum_of_host(&memory, comm);
    if (rc == LV_OK && config_path) {
        rc = probe_model(&probe, comm, &config);
    }
    lv_config_free(&config);
    if (rc < 0 || comm->rank > 0) {
        return rc;
    }
    printf("%s; %s\n", threads.line, products);
    printf("  %-34s %10.4g GFLOP/s  all ranks\n", "bf16 products, operands in cache",
           1e-9 * kernel);
    printf("  %-34s %10.4g GB/s     a host\n", "an update of AdamW", 1e-9 * memory);
    if (config_path) {
        printf("  %-34s %10.4g GFLOP/s  a host, forward and backward\n", "this model, as it trains",
               1e-9 * probe.flop_per_s);
        printf("  (%" PRId64 " of its layers and %" PRId64 " of its tower's, %" PRId64
               " rows a rank)\n",
               probe.n_layers, probe.n_vision_layers, probe.n_rows);
        printf("for llava train --dry-run --ranks N: --gflops %.4g --memory-gb-s %.3g\n",
               1e-9 * probe.flop_per_s, 1e-9 * memory);
    }
    return LV_OK;
}

/* ---- comm ---- */

static void print_link(const char *what, const lv_link_rates *rates)
{
    if (rates->bytes_per_s > 0) {
        printf("  %-16s %8.1f us  %9.3f GB/s  %9.3f Gbit/s\n", what, 1e6 * rates->latency_s,
               1e-9 * rates->bytes_per_s, 8e-9 * rates->bytes_per_s);
    }
}

static int bench_comm(const lv_comm *comm, double message_mb)
{
    lv_comm_rates rates;
    lv_threads threads;
    if (comm->n_ranks == 1) {
        return lv_fail(LV_ERR_CONFIG, "one rank has nobody to talk to: mpirun -n 2 llava bench "
                                      "comm, best as the run is to be started");
    }
    int rc = lv_threads_start(&threads, comm);
    rc = rc < 0 ? rc : lv_comm_probe(&rates, comm, (int64_t)(1e6 * message_mb));
    if (rc < 0 || comm->rank > 0) {
        return rc;
    }
    printf("%s; messages of %.4g MB\n", threads.line, message_mb);
    printf("  %-16s %11s  %14s\n", "between", "latency", "out of a host, each way");
    print_link("ranks of a host", &rates.local);
    print_link("hosts", &rates.remote);
    printf("for llava train --dry-run --ranks N:");
    if (rates.remote.bytes_per_s > 0) {
        printf(" --gbps %.4g --latency-us %.3g", 8e-9 * rates.remote.bytes_per_s,
               1e6 * rates.remote.latency_s);
    }
    if (rates.local.bytes_per_s > 0) {
        printf(" --local-gb-s %.3g", 1e-9 * rates.local.bytes_per_s);
    }
    printf("\n");
    return LV_OK;
}

int lv_tool_bench(int argc, char **argv)
{
    const char *what = NULL, *config_path = NULL;
    double message_mb = 4;
    lv_texts sets = {0};
    lv_comm comm;
    const lv_flag flags[] = {
        {.name = "--config",
         .kind = LV_FLAG_TEXT,
         .value = &config_path,
         .placeholder = "FILE",
         .help = "with compute: of a run, of whose model a slice is trained for two seconds; no "
                 "weights are needed"},
        {.name = "--set",
         .kind = LV_FLAG_TEXTS,
         .value = &sets,
         .placeholder = "section.key=value",
         .help = "with --config: override a key of it; repeatable"},
        {.name = "--message-mb",
         .kind = LV_FLAG_REAL,
         .value = &message_mb,
         .placeholder = "X",
         .min = 1e-6,
         .max = 1000,
         .help = "with comm: MB of a message when bandwidth is measured (default 4)"},
    };
    const lv_cli cli = {
        .name = "bench",
        .positional = "comm|compute",
        .positional_value = &what,
        .summary =
            "Measure what llava train --dry-run --ranks N wants to know of a machine.\n"
            "comm: latency and bandwidth between the ranks of a host, and between hosts; under "
            "mpirun or srun,\nas the run is to be started: mpirun -n 4 llava bench comm\n"
            "compute: what a host computes; alone, or with all ranks of a host at the same time",
        .flags = flags,
        .n_flags = sizeof flags / sizeof flags[0],
        .details = "Both end with the flags for --dry-run. Other work on the machine is measured "
                   "too."};
    int rc = lv_cli_start(&cli, &comm, argc, argv);
    if (rc == LV_OK && strcmp(what, "comm") == 0) {
        rc = config_path ? lv_fail(LV_ERR_CONFIG, "--config is for compute")
                         : bench_comm(&comm, message_mb);
    } else if (rc == LV_OK && strcmp(what, "compute") == 0) {
        rc = bench_compute(&comm, config_path, &sets);
    } else if (rc == LV_OK) {
        rc = lv_fail(LV_ERR_CONFIG, "expected comm or compute, found \"%s\"", what);
    }
    return lv_cli_finish(&cli, &comm, rc);
}
