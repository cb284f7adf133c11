/* SPDX-License-Identifier: Apache-2.0
 *
 * The watchdog of a run names the ranks that stall, and can end the job. It calls no MPI, in which
 * the main threads may be stuck. Each rank watches itself: one without progress that waits for no
 * other rank says so, with a backtrace. All write heartbeats in run.dir/heartbeat; if ranks wait for
 * others too long, rank 0 reads those of all (stall_report.h) and names the ranks that they wait
 * for: also one that is stopped, or whose host is down. With `stop`, the rank that reports exits with
 * status 1, by which the launcher ends the others; those that it does not reach exit by themselves.
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

/* lv_watchdog_start: two threads, which watch the activity of the calling thread
 * (train/host/activity.h). Collective.
 * out    *out: to be ended with lv_watchdog_stop; NULL if limit_s is 0
 * fails  LV_ERR_IO, LV_ERR_MEMORY, on all ranks */
int lv_watchdog_start(lv_watchdog **out, const lv_comm *comm, const lv_watchdog_options *options);
void lv_watchdog_stop(lv_watchdog **watchdog); /* not collective */

#endif
