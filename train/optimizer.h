/* SPDX-License-Identifier: Apache-2.0
 *
 * AdamW over the trainable parameters that a rank owns (see shard.h): their moments, and parameter
 * groups, each with its learning rate and weight decay.
 */
#ifndef LV_TRAIN_OPTIMIZER_H
#define LV_TRAIN_OPTIMIZER_H

#include "optim/adamw.h"
#include "train/model/params/params.h"

typedef struct lv_optimizer lv_optimizer;

/* lv_optimizer_create: moments of zero.
 * in     moments: their dtype, LV_F32 or LV_BF16 (rounded as lv_adamw_step_bf16 does)
 *        hyper: with the peak lr; projector_lr: of the connector's parameters, -1: hyper's.
 *        Biases and the weights of norms get no weight decay.
 * fails  LV_ERR_MEMORY */
int lv_optimizer_create(lv_optimizer **out, lv_params *params, const lv_adamw *hyper,
                        double projector_lr, lv_dtype moments);
void lv_optimizer_destroy(lv_optimizer **optimizer);

/* lv_optimizer_bytes: of the moments of these parameters. */
int64_t lv_optimizer_bytes(const lv_params *params, lv_dtype moments);

/* lv_optimizer_moments: the optimiser's own. */
lv_moments lv_optimizer_moments(const lv_optimizer *optimizer);

/* lv_optimizer_sum_squares: of the gradients that the rank owns. */
double lv_optimizer_sum_squares(lv_params *params);

/* lv_optimizer_step: one update of the rank's shard of a bucket, working copy included. A step
 * updates all buckets, in any order. */
typedef struct {
    double lr_factor;  /* of the peak lr */
    double grad_scale; /* multiplies the gradients */
    int64_t t;         /* from 1 */
} lv_update;
void lv_optimizer_step(lv_optimizer *optimizer, lv_params *params, int64_t bucket,
                       const lv_update *how);

/* lv_optimizer_step_bytes: what an update of the rank's shard of a bucket reads and writes. */
double lv_optimizer_step_bytes(const lv_optimizer *optimizer, const lv_params *params,
                               int64_t bucket);

#endif
