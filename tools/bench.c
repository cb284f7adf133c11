/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "tools/cli.h"
#include "tools/tools.h"
#include "train/cluster/job.h"
#include "train/cluster/threads.h"
#include "train/plan/comm_probe.h"
#include "train/plan/memory.h"
#include "train/plan/probe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const double MIN_EXCHANGED_BYTES = 1e6;

/* The sum over the ranks of a host, on average. */
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
    if (rc == LV_OK) rc = lv_comm_agree(comm, lv_probe_model(out, config, &work));
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
    if (rc == LV_OK) rc = lv_compute_rate(&kernel, comm);
    if (rc == LV_OK) rc = lv_comm_agree(comm, lv_probe_memory(&memory));
    if (rc == LV_OK) rc = sum_of_host(&memory, comm);
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

typedef struct {
    double message_mb, bucket_mb;
    int64_t n_params; /* 0: no exchange */
    bool wire_bf16;
} comm_options;

typedef struct {
    lv_comm_rates rates;
    double memory, grads_s, weights_s;
} comm_result;

static int measure_comm(comm_result *out, const lv_comm *comm, const comm_options *o)
{
    const lv_dtype wire = o->wire_bf16 ? LV_BF16 : LV_F32;
    int rc = lv_comm_probe(&out->rates, comm, (int64_t)(1e6 * o->message_mb));
    if (rc == LV_OK && o->n_params > 0) {
        rc = lv_exchange_probe(&out->grads_s, &out->weights_s, comm, o->n_params, wire,
                               o->bucket_mb);
    }
    if (rc == LV_OK) rc = lv_comm_agree(comm, lv_probe_memory(&out->memory));
    return rc < 0 ? rc : sum_of_host(&out->memory, comm);
}

/* Bytes a second of new weights between the ranks of the only host; 0: several hosts, or so few
 * bytes that latency dominates. */
static double exchanged_locally(const comm_result *r, const lv_comm *comm, const comm_options *o)
{
    const double bytes = (double)(comm->n_ranks - 1) * (double)o->n_params * sizeof(uint16_t);
    return r->rates.n_hosts == 1 && r->weights_s > 0 && bytes >= MIN_EXCHANGED_BYTES
               ? bytes / r->weights_s
               : 0;
}

static void print_comm(const comm_result *r, const lv_comm *comm, const comm_options *o)
{
    const double exchanged = exchanged_locally(r, comm, o);
    const double local = exchanged > 0 ? exchanged : r->rates.local.bytes_per_s;
    printf("  %-16s %11s  %-25s\n", "between", "latency", "out of a host, each way");
    print_link("ranks of a host", &r->rates.local);
    print_link("hosts", &r->rates.remote);
    if (o->n_params > 0) {
        printf("  a step's exchange of %.4g million parameters by itself: gradients in %s %.3f s, "
               "new weights in bf16 %.3f s\n",
               1e-6 * (double)o->n_params, o->wire_bf16 ? "bf16" : "f32", r->grads_s, r->weights_s);
    }
    printf("for llava train --dry-run --ranks N:");
    if (r->rates.remote.bytes_per_s > 0) {
        printf(" --gbps %.4g --latency-us %.3g", 8e-9 * r->rates.remote.bytes_per_s,
               1e6 * r->rates.remote.latency_s);
    }
    if (local > 0) {
        printf(" --local-gb-s %.3g", 1e-9 * local);
    }
    printf(" --memory-gb-s %.3g\n", 1e-9 * r->memory);
}

static int bench_comm(const lv_comm *comm, const comm_options *o)
{
    comm_result result = {0};
    lv_threads threads;
    if (comm->n_ranks == 1) {
        return lv_fail(LV_ERR_CONFIG, "one rank has nobody to talk to: mpirun -n 2 llava bench "
                                      "comm, best as the run is to be started");
    }
    if (o->bucket_mb > 0 && o->bucket_mb < LV_LEAST_BUCKET_MB) {
        return lv_fail(LV_ERR_CONFIG, "--bucket-mb: %g, expected 0 or at least %g", o->bucket_mb,
                       LV_LEAST_BUCKET_MB);
    }
    int rc = lv_threads_start(&threads, comm);
    if (rc == LV_OK) rc = measure_comm(&result, comm, o);
    if (rc == LV_OK && comm->rank == 0) {
        printf("%s; messages of %.4g MB\n", threads.line, o->message_mb);
        print_comm(&result, comm, o);
    }
    return rc;
}

int lv_tool_bench(int argc, char **argv)
{
    const char *what = NULL, *config_path = NULL;
    const char *wire = "f32";
    comm_options o = {.message_mb = 4, .n_params = 50000000};
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
         .value = &o.message_mb,
         .placeholder = "X",
         .min = 1e-6,
         .max = 1000,
         .help = "with comm: MB of a message when bandwidth is measured (default 4)"},
        {.name = "--parameters",
         .kind = LV_FLAG_INT,
         .value = &o.n_params,
         .placeholder = "N",
         .min = 0,
         .max = 1e12,
         .help =
             "with comm: trainable parameters of a step's exchange, 6 to 10 bytes of memory a rank "
             "for each; 0: none (default 50000000)"},
        {.name = "--wire",
         .kind = LV_FLAG_CHOICE,
         .value = &wire,
         .placeholder = "f32|bf16",
         .help = "with comm: gradients on the wire, as comm.wire (default f32)"},
        {.name = "--bucket-mb",
         .kind = LV_FLAG_REAL,
         .value = &o.bucket_mb,
         .placeholder = "X",
         .min = 0,
         .max = 1024,
         .help = "with comm: as comm.bucket_mb (default 0)"},
    };
    const lv_cli cli = {
        .name = "bench",
        .positional = "comm|compute",
        .positional_value = &what,
        .summary =
            "Measure the rates of a machine that llava train --dry-run --ranks N takes.\n"
            "comm: latency and bandwidth between the ranks of a host and between hosts, and the "
            "exchange of a step;\nunder mpirun or srun, as the run is to be started: mpirun -n 4 "
            "llava bench comm\n"
            "compute: what a host computes; alone, or with all ranks of a host at the same time",
        .flags = flags,
        .n_flags = sizeof flags / sizeof flags[0],
        .details = "comm, and compute with --config, end with the flags for --dry-run. Other work "
                   "on the machine\nis measured too."};
    int rc = lv_cli_start(&cli, &comm, argc, argv);
    o.wire_bf16 = strcmp(wire, "bf16") == 0;
    if (rc == LV_OK && strcmp(what, "comm") == 0) {
        rc =
            config_path ? lv_fail(LV_ERR_CONFIG, "--config is for compute") : bench_comm(&comm, &o);
    } else if (rc == LV_OK && strcmp(what, "compute") == 0) {
        rc = bench_compute(&comm, config_path, &sets);
    } else if (rc == LV_OK) {
        rc = lv_fail(LV_ERR_CONFIG, "expected comm or compute, found \"%s\"", what);
    }
    return lv_cli_finish(&cli, &comm, rc);
}
