/* SPDX-License-Identifier: Apache-2.0
 *
 * llava train --profile: where the time of a step goes, by op and pass, and by what is beside ops.
 */
#ifndef LV_TRAIN_PROFILE_H
#define LV_TRAIN_PROFILE_H

#include "autograd/profile.h"
#include "train/cluster/comm.h"

enum { LV_PROFILED_STEPS = 5 };

enum {
    LV_STEP_DATA,     /* waiting for a micro-batch, checking it */
    LV_STEP_EXCHANGE, /* between ranks, as far as the main thread waits */
    LV_STEP_NORM,     /* of the gradient */
    LV_STEP_OPTIMIZER,
    LV_STEP_OUTPUT, /* the line of metrics, the terminal */
    LV_STEP_OTHER,  /* what is in none of these and in no op */
    LV_STEP_N_PARTS
};

/* Start it with {0}. */
typedef struct {
    lv_profile time; /* owner is part of LV_STEP_EXCHANGE */
    lv_profile_part parts[LV_STEP_N_PARTS];
    int64_t n_steps, first_step;
    double whole_s, begin_s;
    double user_s, system_s;
    int64_t n_faults; /* pages that the system gave */
} lv_step_profile;

/* lv_step_profile_begin, lv_step_profile_end: around a step; what its tape does is noted.
 * in     profile NULL: nothing is done
 *        step: from 1 */
void lv_step_profile_begin(lv_step_profile *profile, lv_tape *tape, int64_t step);
void lv_step_profile_end(lv_step_profile *profile, lv_tape *tape);

/* lv_step_profile_enter: the time until lv_profile_leave(&profile->time, before) is the part's.
 * in     bytes: that it reads and writes
 * returns the part before */
lv_profile_part *lv_step_profile_enter(lv_step_profile *profile, int part, double bytes);
void lv_step_profile_leave(lv_step_profile *profile, lv_profile_part *before);

/* lv_step_profile_print: the mean step of rank 0 as a table on its stdout, the largest part first;
 * with several ranks the most seconds of any rank beside it. Collective.
 * fails  LV_ERR_COMM */
int lv_step_profile_print(const lv_step_profile *profile, const lv_comm *comm);

#endif
