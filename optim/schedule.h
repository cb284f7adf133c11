/* SPDX-License-Identifier: Apache-2.0
 *
 * Learning-rate schedules with linear warm-up, as transformers' get_*_schedule_with_warmup.
 */
#ifndef LV_OPTIM_SCHEDULE_H
#define LV_OPTIM_SCHEDULE_H

#include <stdint.h>

typedef enum { LV_SCHEDULE_COSINE, LV_SCHEDULE_LINEAR, LV_SCHEDULE_CONSTANT } lv_schedule_kind;

typedef struct {
    lv_schedule_kind kind;
    int64_t n_steps, warmup_steps;
} lv_schedule;

/* lv_schedule_warmup_steps: ceil(ratio * n_steps). */
int64_t lv_schedule_warmup_steps(double ratio, int64_t n_steps);

/* lv_schedule_factor: of the peak lr at step s (0-based).
 *   s / warmup                          s < warmup
 *   (1 + cos(pi p)) / 2, 1 - p, 1       p = (s - warmup) / (n_steps - warmup)
 *   0, 0, 1                             s >= n_steps, s >= warmup */
double lv_schedule_factor(const lv_schedule *schedule, int64_t step);

#endif
