/* SPDX-License-Identifier: Apache-2.0
 *
 * What an lv_params is made of, for the files that declare parameters and fill them.
 */
#ifndef LV_TRAIN_MODEL_PARAMS_INTERNAL_H
#define LV_TRAIN_MODEL_PARAMS_INTERNAL_H

#include "autograd/arena.h"
#include "train/model/params.h"

struct lv_params {
    lv_param **items; /* each by itself: their addresses stay */
    size_t n, capacity;
    lv_dtype dtype; /* of what takes bf16 */
    bool allocated;
    bool copies; /* see lv_params_copy_set */
    int64_t flat_count;
    lv_real *flat_data, *flat_grad;
    uint16_t *flat_working;
    lv_arena *dry;     /* addresses for all that is allocated; NULL: memory */
    lv_weights **kept; /* files that parameters are mapped from */
    size_t n_kept;
};

static inline bool lv_params_is_bf16(const lv_params *params, const lv_param *param)
{
    return params->dtype == LV_BF16 && param->takes_bf16;
}

/* lv_params_place: aligned memory, not cleared, for a parameter's elements in dtype; of a plan,
 * addresses alone. NULL with the message set if there is none. */
void *lv_params_place(const lv_params *params, const lv_param *param, lv_dtype dtype);

#endif
