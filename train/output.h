/* SPDX-License-Identifier: Apache-2.0
 *
 * The output of a run: a checkpoint written as the files of a model, by one rank.
 */
#ifndef LV_TRAIN_OUTPUT_H
#define LV_TRAIN_OUTPUT_H

#include "train/config/config.h"

/* lv_output_load: the model of a checkpoint that is whole, trained weights in f32.
 * in     config: of a run that may resume from it
 * out    *model: the caller's, also after a failure
 * fails  LV_ERR_CONFIG if the frozen weights at the config's paths are not those of its training;
 *        LV_ERR_FORMAT, LV_ERR_SHAPE, LV_ERR_IO, LV_ERR_MEMORY */
int lv_output_load(lv_llava **model, const lv_config *config, const char *checkpoint);

/* lv_output_dtype_of: what that choice is for the config's language model: auto is bf16 where its files
 * are, otherwise f32, which holds any of them exactly.
 * fails  as reading the model's files */
int lv_output_dtype_of(lv_dtype *out, const lv_config *config, lv_output_dtype choice);

/* lv_output_save: a model directory in dtype (see lv_hf_save_llava), and a line on stdout. */
int lv_output_save(lv_llava *model, const lv_config *config, lv_dtype dtype, const char *out);

/* lv_output_write: train.output of the config, into its run.dir.
 * fails  as both, naming the checkpoint from which llava export can repeat it */
int lv_output_write(const lv_config *config, const char *checkpoint);

#endif
