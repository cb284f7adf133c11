/* SPDX-License-Identifier: Apache-2.0
 *
 * Stopping on request: a signal to a rank is noted, and the trainer asks between steps.
 */
#ifndef LV_TRAIN_STOP_H
#define LV_TRAIN_STOP_H

#include <stdbool.h>

/* lv_stop_catch_signals: of the whole process: SIGTERM, SIGUSR1, SIGUSR2, and SIGINT once: a second
 * one ends it at once. */
void lv_stop_catch_signals(void);

/* lv_stop_requested: has there been one? */
bool lv_stop_requested(void);

#endif
