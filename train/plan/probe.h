/* SPDX-License-Identifier: Apache-2.0
 *
 * Measured now, on the OpenMP threads of this process: memory, and training.
 */
#ifndef LV_TRAIN_PLAN_PROBE_H
#define LV_TRAIN_PLAN_PROBE_H

#include "train/config/config.h"
#include "train/plan/work.h"

/* lv_median: of x[n], n > 0, which is sorted. */
double lv_median(double *x, int n);

/* lv_probe_memory: bytes a second that an update of AdamW moves. Some 300 MB, half a second.
 * fails  LV_ERR_MEMORY */
int lv_probe_memory(double *bytes_per_s);

/* lv_probe: the rate, and the slice of the model that was trained for it. */
typedef struct {
    double flop_per_s; /* forward and backward, as a run's mfu counts them */
    int64_t n_rows, n_layers, n_vision_layers;
} lv_probe;

/* lv_probe_model: trains a thin slice of the run's model for a few passes: a second or two, or more
 * for one layer of a large model on few cores.
 * in     work: of the run: its costs, and a typical micro-batch, of which some samples are used
 * fails  as lv_setup_open_plan; LV_ERR_MEMORY */
int lv_probe_model(lv_probe *out, const lv_config *config, const lv_step_work *work);

#endif
