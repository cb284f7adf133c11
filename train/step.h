/* SPDX-License-Identifier: Apache-2.0
 *
 * One training step: a rank's micro-batches forward and backward, the sums over all ranks, the
 * update.
 */
#ifndef LV_TRAIN_STEP_H
#define LV_TRAIN_STEP_H

#include "optim/schedule.h"
#include "train/checkpoint/checkpoint.h"
#include "train/exchange/exchange.h"
#include "train/metrics.h"
#include "train/profile.h"
#include "train/setup.h"

/* The parts of a run that a step uses; all are the caller's. */
typedef struct {
    const lv_comm *comm;
    const lv_config *config;
    const lv_setup *setup; /* its model's gradients, weights and moments change */
    lv_exchange *exchange;
    lv_loader *loader;
    lv_metrics *metrics; /* NULL except on rank 0 */
    lv_schedule schedule;
    double flop_per_s;        /* of all ranks, for the MFU; 0: not measured */
    lv_step_profile *profile; /* gets the step's times; NULL: none */
} lv_step_parts;

/* Requests of any rank, the same on all. */
typedef struct {
    bool stop; /* by a signal, or near the end of the job (stop.h) */
    bool save; /* a checkpoint is due by the clock */
} lv_step_requests;

/* lv_step_run: the loader's next step; a line of metrics. Collective.
 *   loss  = sum over supervised tokens of all ranks / their number n
 *   grads = sum over ranks / n, clipped
 * An update that is not finite is not applied, and counted in state->n_skipped_in_a_row.
 * in     save_at_s: lv_clock_s() from which on this rank requests a checkpoint
 * out    state: one step on
 * returns 1 after a step, 0 at the end of the run
 * fails  on all ranks with the message of the first that failed; the weights are undefined then */
int lv_step_run(lv_train_state *state, lv_step_requests *requests, const lv_step_parts *p,
                double save_at_s);

#endif
