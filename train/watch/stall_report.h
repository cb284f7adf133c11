/* SPDX-License-Identifier: Apache-2.0
 *
 * The report of ranks that wait for others too long: rank 0 reads the heartbeats of all and names
 * who keeps the others waiting. If rank 0 itself does not wait, the last rank does so, which is on
 * another host if there are several.
 */
#ifndef LV_TRAIN_WATCH_STALL_REPORT_H
#define LV_TRAIN_WATCH_STALL_REPORT_H

#include "train/watch/heartbeat.h"
#include "train/watch/stall.h"

/* Start it with what is above the line, the rest zero; end it with lv_stall_report_end. */
typedef struct {
    const char *dir; /* of heartbeats; outlives it */
    int rank, n_ranks;
    double limit_s; /* of a wait; heartbeats come at a quarter of that */
    /* ---- */
    bool told;
    int64_t n_advances; /* of this rank at the first reading: progress ends the report */
    double read_s;      /* stalled_s at the last reading */
    lv_heartbeat *before,
        *now; /* [n_ranks] once half of the limit is over, on a rank that reports */
} lv_stall_report;

/* lv_stall_report_update: to be called with each heartbeat. All heartbeats are read when half of the
 * limit is over and again after all of it; two readings tell who makes progress. Ranks that do what
 * may take long, and make progress, are no stall.
 * in     seen: of this rank
 * returns whether there is a stall, which this rank has reported */
bool lv_stall_report_update(lv_stall_report *r, const lv_stall_detector *seen);
void lv_stall_report_end(lv_stall_report *r);

#endif
