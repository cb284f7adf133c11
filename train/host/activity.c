/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/activity.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

static const struct {
    const char *text;
    lv_progress_kind kind;
} activities[] = {
#define ACTIVITY(name, text, kind) {text, LV_PROGRESS_##kind},
    LV_ACTIVITIES(ACTIVITY)
#undef ACTIVITY
};

static atomic_int_least64_t current_step;
static atomic_int current, waits;
static atomic_uint_least64_t n_changes;

void lv_activity_progress(void)
{
    atomic_fetch_add(&n_changes, 1);
}

void lv_activity_begin(lv_activity what)
{
    atomic_store(&current, (int)what);
    lv_activity_progress();
}

void lv_activity_step_set(int64_t step)
{
    atomic_store(&current_step, step);
    lv_activity_progress();
}

void lv_activity_wait_begin(void)
{
    atomic_fetch_add(&waits, 1);
    lv_activity_progress();
}

void lv_activity_wait_end(void)
{
    atomic_fetch_sub(&waits, 1);
    lv_activity_progress();
}

lv_activity_state lv_activity_now(void)
{
    return (lv_activity_state){.step = atomic_load(&current_step),
                               .what = (lv_activity)atomic_load(&current),
                               .waiting = atomic_load(&waits) > 0,
                               .n_changes = atomic_load(&n_changes)};
}

const char *lv_activity_name(const lv_activity_state *state)
{
    return state->waiting ? "waiting for other ranks" : activities[state->what].text;
}

const char *lv_activity_text(char buf[LV_ACTIVITY_TEXT], const lv_activity_state *state)
{
    if (state->step > 0) {
        snprintf(buf, LV_ACTIVITY_TEXT, "step %" PRId64 ", %s", state->step,
                 lv_activity_name(state));
    } else {
        snprintf(buf, LV_ACTIVITY_TEXT, "%s", lv_activity_name(state));
    }
    return buf;
}

lv_progress_kind lv_activity_progress_kind(const lv_activity_state *state)
{
    return state->waiting ? LV_PROGRESS_CHANGE : activities[state->what].kind;
}
