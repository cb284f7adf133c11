/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads that leave signals to the main thread.
 */
#ifndef LV_DATA_BASE_THREAD_H
#define LV_DATA_BASE_THREAD_H

#include <pthread.h>

/* lv_thread_start: run work(context) on a thread of its own, for which all signals are blocked but
 * those that a thread's own mistake raises.
 * fails  LV_ERR_MEMORY */
int lv_thread_start(pthread_t *out, void *(*work)(void *), void *context);

/* lv_thread_hook_set: hook(context) is the first call of every thread that lv_thread_start starts
 * from then on; NULL: none. One for the process; context outlives those threads. */
void lv_thread_hook_set(void (*hook)(const void *context), const void *context);

#endif
