/* SPDX-License-Identifier: Apache-2.0
 *
 * The pulse of a process: it beats with each op, forward or backward, so that one who watches from
 * another thread can tell slow from stuck.
 */
#ifndef LV_AUTOGRAD_PULSE_H
#define LV_AUTOGRAD_PULSE_H

#include <stdint.h>

void lv_pulse_beat(void);

/* lv_pulse_count: beats so far, of all threads; from any thread. */
uint64_t lv_pulse_count(void);

#endif
