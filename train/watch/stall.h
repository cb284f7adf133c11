/* SPDX-License-Identifier: Apache-2.0
 *
 * For how long has the main thread not gone on? Told from looks at it, one after the other.
 */
#ifndef LV_TRAIN_WATCH_STALL_H
#define LV_TRAIN_WATCH_STALL_H

#include "train/host/activity.h"

/* A look. */
typedef struct {
    double at_s; /* of a clock that only goes forward */
    lv_activity_state activity;
    uint64_t n_pulses; /* autograd/pulse.h */
    double cpu_s;      /* of the whole process */
} lv_life_signs;

typedef struct {
    lv_life_signs last; /* look */
    double moved_cpu_s; /* cpu_s when it last went on */
    double still_s;     /* since then */
    int64_t n_moves;    /* looks that found that it had gone on */
} lv_stillness;

/* lv_life_signs_now: a look at this process. */
lv_life_signs lv_life_signs_now(void);

/* lv_stillness_look: take one look more.
 * in     longest_s: what lies between two looks at most if this process runs; more than that it was
 *        stopped or its host asleep, in which time nothing could have gone on: it does not count
 * returns whether it has gone on since the last */
bool lv_stillness_look(lv_stillness *s, const lv_life_signs *now, double longest_s);

#endif
