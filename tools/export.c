/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/cli.h"
#include "tools/tools.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "train/checkpoint/checkpoint.h"
#include "train/model/hf/hf.h"
#include "train/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Refuses the folder of a run, naming its newest checkpoint. */
static int check_path(const char *path)
{
    const lv_comm single = lv_comm_single();
    char *checkpoints = lv_path("%s/checkpoints", path), *newest = NULL;
    int rc = LV_OK;
    if (lv_dir_exists(checkpoints)) {
        rc = lv_checkpoint_find(&single, path, &newest);
        if (rc == LV_OK) {
            rc = lv_fail(LV_ERR_CONFIG,
                         "--checkpoint %s: this is the directory of a run; its newest whole "
                         "checkpoint: %s",
                         path, newest ? newest : "none");
        }
    }
    free(newest);
    free(checkpoints);
    return rc;
}

static int read_run_config(lv_config *config, const char *checkpoint)
{
    cJSON *manifest = NULL;
    int rc = lv_checkpoint_manifest(&manifest, checkpoint);
    if (rc == LV_OK && lv_config_from_json(config, lv_json_find(manifest, "config")) < 0) {
        rc = lv_fail(LV_ERR_FORMAT, "%s/manifest.json: its \"config\": %s", checkpoint,
                     lv_error_message());
    }
    cJSON_Delete(manifest);
    return rc;
}

int lv_tool_export(int argc, char **argv)
{
    const lv_comm single = lv_comm_single();
    const char *checkpoint = NULL, *out = NULL, *dtype_text = "auto";
    lv_llava *model = NULL;
    lv_config config = {0};
    const lv_flag flags[] = {
        {.name = "--checkpoint",
         .kind = LV_FLAG_TEXT,
         .value = &checkpoint,
         .placeholder = "DIR",
         .help = "run.dir/checkpoints/step-NNNNNN of a run",
         .required = true},
        {.name = "--out",
         .kind = LV_FLAG_TEXT,
         .value = &out,
         .placeholder = "DIR",
         .help = "model directory to write; not there yet, or empty",
         .required = true},
        {.name = "--dtype",
         .kind = LV_FLAG_CHOICE,
         .value = &dtype_text,
         .placeholder = "auto|bf16|f32",
         .help = "of the weights in it; auto: bf16 where the language model's files are, "
                 "otherwise f32; bf16 rounds what was trained (default auto)"},
    };
    const lv_cli cli = {.name = "export",
                        .summary =
                            "Write a checkpoint as a whole model directory in Hugging Face layout "
                            "(safetensors), with the\nfrozen weights that the run's config names.",
                        .flags = flags,
                        .n_flags = sizeof flags / sizeof flags[0]};
    int rc = lv_cli_start(&cli, NULL, argc, argv);
    if (rc == LV_OK) {
        const lv_output_dtype choice = strcmp(dtype_text, "auto") == 0   ? LV_OUTPUT_AUTO
                                       : strcmp(dtype_text, "bf16") == 0 ? LV_OUTPUT_BF16
                                                                         : LV_OUTPUT_F32;
        lv_dtype dtype = LV_F32;
        rc = check_path(checkpoint);
        if (rc == LV_OK) rc = lv_hf_check_empty(out);
        if (rc == LV_OK) rc = lv_checkpoint_verify(&single, checkpoint);
        if (rc == LV_OK) rc = read_run_config(&config, checkpoint);
        if (rc == LV_OK) rc = lv_output_load(&model, &config, checkpoint);
        if (rc == LV_OK) rc = lv_output_dtype_of(&dtype, &config, choice);
        if (rc == LV_OK) rc = lv_output_save(model, &config, dtype, out);
        lv_llava_close(&model);
        lv_config_free(&config);
    }
    return lv_cli_finish(&cli, NULL, rc);
}
