/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_dense: a weight and an optional bias as the models hold them; the one place through which
 * every linear layer of every model is declared and applied.
 */
#ifndef LV_TRAIN_MODEL_PARAMS_DENSE_H
#define LV_TRAIN_MODEL_PARAMS_DENSE_H

#include "autograd/tape.h"
#include "train/model/params/params.h"

typedef struct {
    lv_tensor *w; /* (N,K) of a linear layer, (H) of a norm; owned by the lv_params */
    lv_tensor *b; /* (N) or (H); NULL if there is none */
} lv_dense;

/* lv_dense_declare: "<prefix>.weight" (N,K), and "<prefix>.bias" (N) without weight decay.
 * in     init: of the weight; the bias is initially uniform in the same range if that is uniform,
 *        as in torch's Linear, and else 0 */
lv_dense lv_dense_declare(lv_params *params, const char *prefix, int64_t N, int64_t K, bool bias,
                          bool used, lv_init init);

/* lv_norm_declare: "<prefix>.weight" (H), initially 1, and "<prefix>.bias" (H), initially 0; no
 * weight decay. */
lv_dense lv_norm_declare(lv_params *params, const char *prefix, int64_t H, bool bias, bool used);

/* lv_dense_apply: x W^T + b. lv_dense_apply_add: the same + residual. */
lv_tensor *lv_dense_apply(lv_tape *tape, const lv_dense *dense, lv_tensor *x);
lv_tensor *lv_dense_apply_add(lv_tape *tape, const lv_dense *dense, lv_tensor *x,
                              lv_tensor *residual);

#endif
