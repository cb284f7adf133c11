/* SPDX-License-Identifier: Apache-2.0
 *
 * Stopping before the end: on request, by a signal to a rank, or because the time of the job is
 * nearly over. The trainer checks between steps.
 */
#ifndef LV_TRAIN_HOST_STOP_H
#define LV_TRAIN_HOST_STOP_H

#include <stdbool.h>

/* lv_stop_catch_signals: for the whole process: SIGTERM, SIGUSR1, SIGUSR2; SIGHUP and SIGPIPE (the
 * terminal, or who reads the output, is gone) unless they are ignored, as nohup has it; and SIGINT
 * once: a second one ends it at once. To be called before MPI starts, so that a request during its
 * start counts. */
void lv_stop_catch_signals(void);

/* lv_stop_answer: from here on the first request of this process is answered on stderr when it
 * comes, or now: the signal, what happens next, and what the launcher does about it.
 * in     what: "saves after this step"; NULL: no answer; to stay valid */
void lv_stop_answer(const char *what);

/* lv_stop_release_signals: the default again, also for one that was caught already: for work without
 * such checks. */
void lv_stop_release_signals(void);

/* lv_stop_before_end: stop that long before the end of the job, which is SLURM_JOB_END_TIME (seconds
 * since 1970); in a short job, before the last quarter of the time that is left at the call.
 * in     before_end_s: 0: never
 * fails  LV_ERR_CONFIG if the variable is no time */
int lv_stop_before_end(double before_end_s);

/* lv_stop_reserve: the time that the next step and the checkpoint after it may take, in addition. */
void lv_stop_reserve(double seconds);

/* lv_stop_requested: whether a signal has come, or the time is over. */
bool lv_stop_requested(void);

/* lv_stop_time_left_s: until the end of the job, at least 0, if that is the reason to stop; negative
 * otherwise. */
double lv_stop_time_left_s(void);

#endif
