/* SPDX-License-Identifier: Apache-2.0 */
#include "train/watch/stall.h"

#include "autograd/pulse.h"

#include <math.h>
#include <time.h>

/* Of the time, what a process at work takes of a processor at the least, waiting for a slow disk;
 * one that waits for nothing but its watchdog takes a tenth of that. */
static const double WORK_SHARE = 2e-3;
static const double WORK_S = 1e-3;

static double clock_s(clockid_t id)
{
    struct timespec now = {0};
    clock_gettime(id, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

lv_life_signs lv_life_signs_now(void)
{
    return (lv_life_signs){.at_s = clock_s(CLOCK_MONOTONIC),
                           .activity = lv_activity_now(),
                           .n_pulses = lv_pulse_count(),
                           .cpu_s = clock_s(CLOCK_PROCESS_CPUTIME_ID)};
}

bool lv_stillness_look(lv_stillness *s, const lv_life_signs *now, double longest_s)
{
    const lv_life life = lv_activity_life(&now->activity);
    double still_s = s->still_s + fmin(now->at_s - s->last.at_s, longest_s);
    bool moved = now->activity.n_changes != s->last.activity.n_changes;
    moved = moved || (life != LV_LIFE_NOTHING && now->n_pulses != s->last.n_pulses);
    moved = moved ||
            (life == LV_LIFE_WORK && now->cpu_s - s->moved_cpu_s > WORK_SHARE * still_s + WORK_S);
    s->last = *now;
    s->still_s = moved ? 0 : still_s;
    s->moved_cpu_s = moved ? now->cpu_s : s->moved_cpu_s;
    s->n_moves += moved;
    return moved;
}
