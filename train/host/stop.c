/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/stop.h"

#include "autograd/error.h"

#include <math.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

static const char VARIABLE[] = "SLURM_JOB_END_TIME";
static const double SHORT_JOB_SHARE = 0.25;

static volatile sig_atomic_t signalled; /* the last one */

/* end_s: seconds since 1970 */
static double end_s = INFINITY, margin_s, reserve_s;

static void note_signal(int signal_number)
{
    signalled = signal_number;
}

static void set_handler(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    action.sa_flags |= (int)SA_RESETHAND;
    sigaction(SIGINT, &action, NULL);
}

void lv_stop_catch_signals(void)
{
    set_handler(note_signal);
}

void lv_stop_release_signals(void)
{
    set_handler(SIG_DFL);
    if (signalled != 0) {
        raise(signalled);
    }
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int lv_stop_before_end(double before_end_s)
{
    const char *text = getenv(VARIABLE);
    char *rest = NULL;
    if (!text || before_end_s <= 0) {
        return LV_OK;
    }
    double end = strtod(text, &rest);
    if (rest == text || *rest != '\0' || !(end > 0)) {
        return lv_fail(LV_ERR_CONFIG,
                       "%s=%s in the environment: expected seconds since 1970; unset it, or set "
                       "checkpoint.before_end_minutes=0",
                       VARIABLE, text);
    }
    end_s = end;
    margin_s = fmin(before_end_s, fmax(0, SHORT_JOB_SHARE * (end - now_s())));
    return LV_OK;
}

void lv_stop_reserve(double seconds)
{
    reserve_s = seconds;
}

static bool time_is_over(void)
{
    return now_s() >= end_s - margin_s - reserve_s;
}

bool lv_stop_requested(void)
{
    return signalled != 0 || time_is_over();
}

double lv_stop_time_left_s(void)
{
    return signalled == 0 && time_is_over() ? fmax(0, end_s - now_s()) : -1;
}
