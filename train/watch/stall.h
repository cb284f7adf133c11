/* SPDX-License-Identifier: Apache-2.0
 *
 * The stall detector: for how long the main thread has made no progress, from samples of it.
 */
#ifndef LV_TRAIN_WATCH_STALL_H
#define LV_TRAIN_WATCH_STALL_H

#include "train/host/activity.h"

typedef struct {
    double at_s; /* monotonic clock */
    lv_activity_state activity;
    uint64_t tape_progress; /* lv_tape_progress */
    double cpu_s;           /* of the whole process */
} lv_stall_sample;

typedef struct {
    lv_stall_sample last;
    double progress_cpu_s; /* cpu_s at the last progress */
    double stalled_s;      /* since then */
    int64_t n_advances;    /* samples that showed progress */
} lv_stall_detector;

/* lv_stall_sample_now: a sample of this process. */
lv_stall_sample lv_stall_sample_now(void);

/* lv_stall_detector_add: one sample more.
 * in     longest_s: the longest time between two samples of a running process; in what exceeds it
 *        the process was stopped or its host asleep, which does not count
 * returns whether there was progress since the last sample */
bool lv_stall_detector_add(lv_stall_detector *d, const lv_stall_sample *now, double longest_s);

#endif
