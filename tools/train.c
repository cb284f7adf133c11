/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/cli.h"
#include "tools/tools.h"
#include "train/memory_plan.h"
#include "train/trainer.h"

#include "autograd/error.h"
#include "autograd/kernels/gemm.h"

/* ranks_per_node: 0: as they were started */
static int print_plan(const lv_comm *comm, const lv_config *config, int ranks_per_node)
{
    lv_memory_plan plan;
    if (comm->rank != 0) {
        return LV_OK;
    }
    lv_blas_start();
    int rc = lv_memory_plan_make(&plan, config,
                                 ranks_per_node > 0 ? ranks_per_node : comm->n_local_ranks);
    if (rc == LV_OK) {
        lv_memory_plan_print(&plan);
    }
    return rc;
}

int lv_tool_train(int argc, char **argv)
{
    const char *config_path = NULL, *resume = "auto";
    bool dry_run = false;
    int64_t ranks_per_node = 0;
    lv_texts sets = {0};
    lv_config config = {0};
    lv_comm comm;
    const lv_flag flags[] = {
        {.name = "--set",
         .kind = LV_FLAG_TEXTS,
         .value = &sets,
         .placeholder = "section.key=value",
         .help = "override a key of the config; paths start at the working directory; repeatable"},
        {.name = "--resume",
         .kind = LV_FLAG_TEXT,
         .value = &resume,
         .placeholder = "auto|none|DIR",
         .help = "auto: from the newest whole checkpoint of run.dir, or begin (default); "
                 "none: begin; DIR: from that checkpoint, later ones being set aside"},
        {.name = "--dry-run",
         .kind = LV_FLAG_SWITCH,
         .value = &dry_run,
         .help = "print the memory that the run would take and end; nothing is written"},
        {.name = "--ranks-per-node",
         .kind = LV_FLAG_INT,
         .value = &ranks_per_node,
         .placeholder = "N",
         .min = 1,
         .max = 4096,
         .help =
             "with --dry-run: ranks that share a node (default: as many as are started on one)"},
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
            "Ctrl-C, SIGTERM, SIGUSR1 or SIGUSR2 to any rank: a checkpoint after the step, then "
            "exit status 75;\nthe same command goes on from there. To mpirun send SIGUSR1: it "
            "passes that on, but kills the\nranks two seconds after a SIGTERM or Ctrl-C. In "
            "a job of Slurm it stops\nso by itself before the time is over. Exit status: 0 done, 1 "
            "failed, 2 wrong usage or config.\nThe keys of the config are in README.md."};
    int rc = lv_cli_start(&cli, &comm, argc, argv);
    if (rc == LV_OK && ranks_per_node > 0 && !dry_run) {
        rc = lv_comm_agree(&comm, lv_fail(LV_ERR_CONFIG,
                                          "--ranks-per-node is for --dry-run; a run has as many as "
                                          "mpirun or srun starts"));
    } else if (rc == LV_OK) {
        rc = lv_comm_agree(&comm, lv_config_read(&config, config_path, sets.items, sets.n));
        if (rc == LV_OK && dry_run) {
            rc = lv_comm_agree(&comm, print_plan(&comm, &config, (int)ranks_per_node));
        } else if (rc == LV_OK) {
            rc = lv_train(&comm, &config, resume);
        }
        lv_config_free(&config);
    }
    return lv_cli_finish(&cli, &comm, rc);
}
