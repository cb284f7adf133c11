/* SPDX-License-Identifier: Apache-2.0 */
#include "optim/schedule.h"

#include <math.h>
#include <string.h>

int lv_schedule_parse(lv_schedule_kind *out, const char *name)
{
    static const char *const names[] = {"cosine", "linear", "constant"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (lv_schedule_kind)i;
            return 0;
        }
    }
    return -1;
}

int64_t lv_schedule_warmup_steps(double ratio, int64_t n_steps)
{
    return (int64_t)ceil(ratio * (double)n_steps);
}

double lv_schedule_factor(const lv_schedule *schedule, int64_t step)
{
    if (step < schedule->warmup_steps) {
        return (double)step / (double)schedule->warmup_steps;
    }
    int64_t decay_steps = schedule->n_steps - schedule->warmup_steps;
    double progress =
        (double)(step - schedule->warmup_steps) / (double)(decay_steps > 0 ? decay_steps : 1);
    switch (schedule->kind) {
    case LV_SCHEDULE_COSINE:
        return fmax(0, 0.5 * (1 + cos(M_PI * progress)));
    case LV_SCHEDULE_LINEAR:
        return fmax(0, 1 - progress);
    case LV_SCHEDULE_CONSTANT:
        break;
    }
    return 1;
}
