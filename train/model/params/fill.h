/* SPDX-License-Identifier: Apache-2.0
 *
 * Fresh values of one parameter, in memory that is reserved if there is none. Element i depends
 * on (seed, name, i) alone: not on what else is initialised, nor in which order.
 */
#ifndef LV_TRAIN_MODEL_PARAMS_FILL_H
#define LV_TRAIN_MODEL_PARAMS_FILL_H

#include "train/model/params/params.h"

/* lv_fill_uniform: uniform in [-bound, bound). fails  LV_ERR_MEMORY */
int lv_fill_uniform(lv_params *params, lv_param *param, double bound, uint64_t seed);

/* lv_fill_normal: normal of mean 0. fails  LV_ERR_MEMORY */
int lv_fill_normal(lv_params *params, lv_param *param, double std, uint64_t seed);

/* lv_fill_constant: fails  LV_ERR_MEMORY */
int lv_fill_constant(lv_params *params, lv_param *param, double value);

#endif
