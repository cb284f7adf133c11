/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/cli.h"
#include "tools/tools.h"
#include "train/trainer.h"

#include "autograd/error.h"

int lv_tool_train(int argc, char **argv)
{
    const char *config_path = NULL, *resume = "auto";
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
            "passes that on, but kills the\nranks two seconds after a SIGTERM or Ctrl-C. Exit "
            "status: 0 done, 1 failed, 2 wrong usage or config.\nThe keys of the config are in "
            "README.md."};
    int rc = lv_cli_start(&cli, &comm, argc, argv);
    if (rc == LV_OK) {
        rc = lv_comm_agree(&comm, lv_config_read(&config, config_path, sets.items, sets.n));
        rc = rc == LV_OK ? lv_train(&comm, &config, resume) : rc;
        lv_config_free(&config);
    }
    return lv_cli_finish(&cli, &comm, rc);
}
