/* SPDX-License-Identifier: Apache-2.0
 *
 * The members of an lv_params, for the files of this folder.
 */
#ifndef LV_TRAIN_MODEL_PARAMS_INTERNAL_H
#define LV_TRAIN_MODEL_PARAMS_INTERNAL_H

#include "autograd/arena.h"
#include "train/model/params/params.h"

struct lv_params {
    lv_param **items; /* each by itself: their addresses stay */
    size_t n, capacity;
    lv_dtype dtype; /* of parameters that take bf16 */
    lv_part part;   /* of what is declared next */
    bool allocated;
    bool copies;                   /* see lv_params_copy_set */
    int64_t flat_count, n_working; /* the first n_working flat elements are read in bf16 */
    int64_t n_own_working;         /* of them, the rank's own */
    lv_real *masters;              /* its own of those read in bf16, then all read in f32 */
    lv_real *flat_grad;            /* [flat_count] */
    uint16_t *working;             /* [n_working] */
    lv_shard *shard;
    int rank, n_ranks;
    int64_t bucket_count;
    lv_arena *dry;     /* addresses for all that is allocated; NULL: memory */
    lv_weights **kept; /* files with mapped parameters */
    size_t n_kept;
};

static inline bool lv_params_is_bf16(const lv_params *params, const lv_param *param)
{
    return params->dtype == LV_BF16 && param->takes_bf16;
}

/* lv_params_f32_at: flat element i, of those that are read in f32. */
static inline lv_real *lv_params_f32_at(const lv_params *params, int64_t i)
{
    return params->masters + params->n_own_working + (i - params->n_working);
}

/* lv_params_place: aligned memory, not cleared, for a parameter's elements in dtype; of a plan,
 * addresses alone. NULL with the message set if there is none. */
void *lv_params_place(const lv_params *params, const lv_param *param, lv_dtype dtype);

#endif
