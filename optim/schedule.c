/* SPDX-License-Identifier: Apache-2.0 */
#include "optim/schedule.h"

#include <math.h>

int64_t lv_schedule_warmup_steps(double ratio, int64_t n_steps)
{
    return (int64_t)ceil(ratio * (double)n_steps);
}

double lv_schedule_factor(const lv_schedule *schedule, int64_t step)
{
    if (step < schedule->warmup_steps) {
        return (double)step / (double)schedule->warmup_steps;
    }
    if (step >= schedule->n_steps) { /* transformers' cosine would rise again */
        return schedule->kind == LV_SCHEDULE_CONSTANT ? 1 : 0;
    }
    double decay_steps = (double)(schedule->n_steps - schedule->warmup_steps);
    switch (schedule->kind) {
    case LV_SCHEDULE_COSINE:
        return 0.5 * (1 + cos(M_PI * ((double)(step - schedule->warmup_steps) / decay_steps)));
    case LV_SCHEDULE_LINEAR:
        return (double)(schedule->n_steps - step) / decay_steps;
    case LV_SCHEDULE_CONSTANT:
        break;
    }
    return 1;
}
