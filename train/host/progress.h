/* SPDX-License-Identifier: Apache-2.0
 *
 * One line that is rewritten in place on a terminal; elsewhere a new line now and then.
 */
#ifndef LV_TRAIN_HOST_PROGRESS_H
#define LV_TRAIN_HOST_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* lv_progress_show: replace the live line.
 * in     always: print it also where stdout is no terminal; otherwise there at most one line every
 *        ten seconds is printed */
void lv_progress_show(bool always, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* lv_progress_end: leave the live line standing, go to the next. */
void lv_progress_end(void);

double lv_clock_s(void); /* monotonic */

/* lv_duration_text: "1:02:03" or "2:03", at most some 30 years; returns buf. */
const char *lv_duration_text(char buf[32], double seconds);

/* lv_bytes_text: "12.3 MB", decimal; returns buf. */
const char *lv_bytes_text(char buf[32], int64_t n);

#endif
