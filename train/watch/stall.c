/* SPDX-License-Identifier: Apache-2.0 */
#include "train/watch/stall.h"

#include "autograd/tape.h"
#include "data/base/clock.h"

#include <math.h>
#include <time.h>

/* The least share of a processor that a process at work takes while it waits for a slow disk; one
 * whose only active thread is the watchdog's takes a tenth of that. */
static const double WORK_SHARE = 2e-3;
static const double WORK_S = 1e-3;

lv_stall_sample lv_stall_sample_now(void)
{
    return (lv_stall_sample){.at_s = lv_clock_s(),
                             .activity = lv_activity_now(),
                             .tape_progress = lv_tape_progress(),
                             .cpu_s = (double)clock() / CLOCKS_PER_SEC};
}

bool lv_stall_detector_add(lv_stall_detector *d, const lv_stall_sample *now, double longest_s)
{
    const lv_progress_kind kind = lv_activity_progress_kind(&now->activity);
    const double stalled_s = d->stalled_s + fmin(now->at_s - d->last.at_s, longest_s);
    bool advanced = now->activity.n_changes != d->last.activity.n_changes;
    advanced =
        advanced || (kind != LV_PROGRESS_CHANGE && now->tape_progress != d->last.tape_progress);
    advanced = advanced || (kind == LV_PROGRESS_CPU &&
                            now->cpu_s - d->progress_cpu_s > WORK_SHARE * stalled_s + WORK_S);
    d->last = *now;
    d->stalled_s = advanced ? 0 : stalled_s;
    d->progress_cpu_s = advanced ? now->cpu_s : d->progress_cpu_s;
    d->n_advances += advanced;
    return advanced;
}
