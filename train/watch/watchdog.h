/* SPDX-License-Identifier: Apache-2.0
 *
 * The watchdog of a run names the ranks that stall, and can end the job. It calls no MPI, in which
 * the main threads may be stuck. Each rank watches itself: one that does not go on, and waits for
 * no other, tells so with a backtrace. All leave heartbeats in run.dir/heartbeat; when ranks wait
 * for others too long, one of them reads those of all, and lists who is behind: so a rank that
 * cannot speak any more is found too.
 */
#ifndef LV_TRAIN_WATCH_WATCHDOG_H
#define LV_TRAIN_WATCH_WATCHDOG_H

#include "train/cluster/comm.h"

typedef struct lv_watchdog lv_watchdog;

typedef struct {
    const char *run_dir; /* there, seen by all hosts */
    double limit_s;      /* without progress: a stall; 0: no watchdog */
    bool stop;           /* a stall ends the process, with exit status 1 */
} lv_watchdog_options;

/* lv_watchdog_start: two threads, which watch what the calling thread says that it does
 * (train/host/activity.h). Collective.
 * out    *out: to be ended with lv_watchdog_stop; NULL if limit_s is 0
 * fails  LV_ERR_IO, LV_ERR_MEMORY, on all ranks */
int lv_watchdog_start(lv_watchdog **out, const lv_comm *comm, const lv_watchdog_options *options);
void lv_watchdog_stop(lv_watchdog **watchdog); /* not collective */

#endif
