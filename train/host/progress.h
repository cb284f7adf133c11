/* SPDX-License-Identifier: Apache-2.0
 *
 * One line that is rewritten in place on a terminal; elsewhere a new line now and then.
 */
#ifndef LV_TRAIN_HOST_PROGRESS_H
#define LV_TRAIN_HOST_PROGRESS_H

#include <stdbool.h>

/* lv_progress_show: replace the live line.
 * in     always: print it also where stdout is no terminal; otherwise there at most one line every
 *        ten seconds is printed */
void lv_progress_show(bool always, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* lv_progress_end: keep the live line, and begin a new one. */
void lv_progress_end(void);

#endif
