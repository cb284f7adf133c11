/* SPDX-License-Identifier: Apache-2.0 */
#include "train/output.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "train/checkpoint/checkpoint.h"
#include "train/model/hf/hf.h"
#include "train/setup.h"

#include <stdio.h>
#include <stdlib.h>

int lv_output_load(lv_llava **model, const lv_config *config, const char *checkpoint)
{
    const lv_comm single = lv_comm_single();
    lv_config exact = *config;
    lv_train_state state;
    exact.train.precision = LV_PRECISION_F32; /* nothing is computed: no rounding */
    int rc = lv_setup_model(model, &exact);
    if (rc < 0) {
        return lv_fail_within("the model that %s was trained from", checkpoint);
    }
    const lv_run_identity identity = {.frozen_fingerprint = lv_llava_fingerprint(*model)};
    return lv_checkpoint_load(&single, checkpoint, &identity, &state, lv_llava_params(*model),
                              NULL);
}

int lv_output_dtype_of(lv_dtype *out, const lv_config *config, lv_output_dtype choice)
{
    lv_dtype own = choice == LV_OUTPUT_BF16 ? LV_BF16 : LV_F32;
    int rc = LV_OK;
    if (choice == LV_OUTPUT_AUTO) {
        rc = lv_hf_language_dtype(&own, config->model.llava ? config->model.llava
                                                            : config->model.language_model);
    }
    *out = own == LV_BF16 ? LV_BF16 : LV_F32;
    return rc;
}

int lv_output_save(lv_llava *model, const lv_config *config, lv_dtype dtype, const char *out)
{
    bool original = false;
    int rc = lv_hf_save_llava(lv_llava_params(model), lv_llava_config_of(model),
                              lv_llava_tokenizer_dir(model),
                              config->data.image_aspect == LV_ASPECT_PAD, dtype, out, &original);
    if (rc == LV_OK) {
        printf("wrote %s%s\n", out,
               original ? " in LLaVA's own naming: this connector has no Hugging Face form" : "");
    }
    return rc;
}

static int save_projector(lv_llava *model, const char *run_dir)
{
    static const char name[] = "projector.safetensors";
    int rc = lv_hf_save_projector(lv_llava_params(model), run_dir, name);
    if (rc == LV_OK) {
        printf("wrote %s/%s\n", run_dir, name);
    }
    return rc;
}

int lv_output_write(const lv_config *config, const char *checkpoint)
{
    lv_llava *model = NULL;
    char *out = lv_path("%s/model", config->run.dir);
    int rc = lv_output_load(&model, config, checkpoint);
    lv_dtype dtype = LV_F32;
    if (rc == LV_OK) rc = lv_output_dtype_of(&dtype, config, config->train.output_dtype);
    if (rc == LV_OK) {
        rc = config->train.output_full ? lv_output_save(model, config, dtype, out)
                                       : save_projector(model, config->run.dir);
    }
    if (rc < 0) {
        rc = lv_fail(rc, "%s (the run is finished: its last checkpoint, %s, is whole)",
                     lv_error_message(), checkpoint);
    }
    lv_llava_close(&model);
    free(out);
    return rc;
}
