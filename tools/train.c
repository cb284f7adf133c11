/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/cli.h"
#include "tools/dry_run.h"
#include "tools/tools.h"
#include "train/host/stop.h"
#include "train/trainer.h"

#include "autograd/error.h"

int lv_tool_train(int argc, char **argv)
{
    const char *config_path = NULL, *resume = "auto";
    lv_dry_run dry_run = {.latency_us = -1};
    bool profile = false;
    lv_texts sets = {0};
    lv_config config = {0};
    lv_comm comm;
    const lv_flag flags[] = {
        {.name = "--set",
         .kind = LV_FLAG_TEXTS,
         .value = &sets,
         .placeholder = "section.key=value",
         .help = "override a key of the config; paths start at the working directory; repeatable, "
                 "the last one for a key counts"},
        {.name = "--resume",
         .kind = LV_FLAG_TEXT,
         .value = &resume,
         .placeholder = "auto|none|DIR",
         .help = "auto: from the newest whole checkpoint of run.dir, or begin (default); "
                 "none: begin; DIR: from that checkpoint, later ones being set aside"},
        {.name = "--profile",
         .kind = LV_FLAG_SWITCH,
         .value = &profile,
         .help = "print once where the time of a step goes, by op and pass, in seconds, GFLOP/s "
                 "and GB/s: the mean of steps 2 to 6 of this start (the first warms up), or as far "
                 "as the run goes; it goes on afterwards"},
        {.name = "--dry-run",
         .kind = LV_FLAG_SWITCH,
         .value = &dry_run.given,
         .help = "print the memory that the run would take and end; nothing is written"},
        {.name = "--ranks-per-node",
         .kind = LV_FLAG_INT,
         .value = &dry_run.ranks_per_node,
         .placeholder = "N",
         .min = 1,
         .max = 4096,
         .help =
             "with --dry-run: ranks that share a node (default: as many as are started on one)"},
        {.name = "--ranks",
         .kind = LV_FLAG_INT,
         .value = &dry_run.ranks,
         .placeholder = "N",
         .min = 1,
         .max = 65536,
         .help = "with --dry-run: ranks in all, a multiple of --ranks-per-node; what a step sends, "
                 "how long it takes, and how well it scales are printed too"},
        {.name = "--gflops",
         .kind = LV_FLAG_REAL,
         .value = &dry_run.gflops,
         .placeholder = "X",
         .min = 1e-3,
         .max = 1e9,
         .help = "with --ranks: GFLOP/s that training attains on all cores of a node (default: "
                 "measured here on a slice of the model; llava bench compute prints it)"},
        {.name = "--memory-gb-s",
         .kind = LV_FLAG_REAL,
         .value = &dry_run.memory_gb_s,
         .placeholder = "X",
         .min = 1e-3,
         .max = 1e6,
         .help = "with --ranks: GB/s of a node's memory (default: measured here)"},
        {.name = "--gbps",
         .kind = LV_FLAG_REAL,
         .value = &dry_run.gbps,
         .placeholder = "X",
         .min = 1e-3,
         .max = 1e6,
         .help = "with --ranks: Gbit/s of a node's link, each way; needed for several nodes "
                 "(llava bench comm prints it)"},
        {.name = "--latency-us",
         .kind = LV_FLAG_REAL,
         .value = &dry_run.latency_us,
         .placeholder = "X",
         .min = 0,
         .max = 1e7,
         .help = "with --ranks: microseconds of a message between nodes; as --gbps"},
        {.name = "--local-gb-s",
         .kind = LV_FLAG_REAL,
         .value = &dry_run.local_gb_s,
         .placeholder = "X",
         .min = 1e-3,
         .max = 1e6,
         .help = "with --ranks: GB/s that the ranks of a node send each other, all together "
                 "(default: a quarter of the memory's)"},
    };
    const lv_cli cli = {
        .name = "train",
        .positional = "CONFIG.json",
        .positional_value = &config_path,
        .summary = "Train as the config says: stage 1 (projector), stage 2 (projector and language "
                   "model), or any\nother choice of parameters. Runs alone, or on many ranks: "
                   "mpirun -n 16 llava train CONFIG.json",
        .flags = flags,
        .n_flags = sizeof flags / sizeof flags[0],
        .details =
            "Ctrl-C, SIGTERM, SIGUSR1 or SIGUSR2 to any rank, or a lost terminal (not under "
            "nohup): "
            "a checkpoint after the step, then exit status 75;\nthe same command goes on from "
            "there. To mpirun send SIGUSR1: it "
            "passes that on, but kills the\nranks two seconds after a SIGTERM or Ctrl-C. In "
            "a job of Slurm it stops\nso by itself before the time is over. Exit status: 0 done, 1 "
            "failed, 2 wrong usage or config.\nThe step that --ranks predicts: "
            "the slowest rank's FLOP / its part of --gflops; latency x messages + bytes /\n"
            "bandwidth of gradients and of new weights, as far as the last micro-batch's backward "
            "pass and the next\nforward pass do not hide them; what is copied and added within a "
            "node; the update of what a rank owns.\ntrain/README.md has more of it, and of "
            "checkpoints, "
            "resume and failures; configs/README.md has\nthe keys of the config."};
    lv_stop_catch_signals();
    int rc = lv_cli_start(&cli, &comm, argc, argv);
    if (dry_run.given) {
        lv_stop_release_signals();
    }
    if (rc == LV_OK) rc = lv_comm_agree(&comm, lv_dry_run_check(&dry_run, &comm));
    if (rc == LV_OK && dry_run.given && profile) {
        rc = lv_comm_agree(&comm, lv_fail(LV_ERR_CONFIG, "--profile is of a run: leave it out, or "
                                                         "--dry-run"));
    }
    if (rc == LV_OK) {
        rc = lv_comm_agree(&comm, lv_config_read(&config, config_path, sets.items, sets.n));
        if (rc == LV_OK && dry_run.given) {
            rc = lv_comm_agree(&comm, lv_dry_run_print(&dry_run, &comm, &config));
        } else if (rc == LV_OK) {
            rc = lv_train(&comm, &config, resume, profile);
        }
        lv_config_free(&config);
    }
    return lv_cli_finish(&cli, &comm, rc);
}
