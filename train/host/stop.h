/* SPDX-License-Identifier: Apache-2.0
 *
 * Stopping before the end: on request, a signal to a rank being noted, or because the time of the
 * job is nearly over. The trainer asks between steps.
 */
#ifndef LV_TRAIN_HOST_STOP_H
#define LV_TRAIN_HOST_STOP_H

#include <stdbool.h>

/* lv_stop_catch_signals: of the whole process: SIGTERM, SIGUSR1, SIGUSR2, and SIGINT once: a second
 * one ends it at once. Before MPI starts, which takes its time: a job may be asked from the first
 * moment on. */
void lv_stop_catch_signals(void);

/* lv_stop_release_signals: they end the process again, also one that has come already: for work
 * that does not ask. */
void lv_stop_release_signals(void);

/* lv_stop_before_end: stop that long before the end of the job, as Slurm tells it in
 * SLURM_JOB_END_TIME (seconds since 1970); of a short job, before a quarter of what is left now.
 * in     before_end_s: 0: never
 * fails  LV_ERR_CONFIG if the variable is no time */
int lv_stop_before_end(double before_end_s);

/* lv_stop_reserve: how long the next step and the checkpoint behind it may take; comes on top. */
void lv_stop_reserve(double seconds);

/* lv_stop_requested: has there been a signal, or is it time? */
bool lv_stop_requested(void);

/* lv_stop_time_left_s: until the end of the job, if that is why a stop was asked for, 0 behind it;
 * otherwise negative. */
double lv_stop_time_left_s(void);

#endif
