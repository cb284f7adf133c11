/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/stop.h"

#include "autograd/error.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char VARIABLE[] = "SLURM_JOB_END_TIME";
static const double SHORT_JOB_SHARE = 0.25;

static volatile sig_atomic_t signalled; /* the last one */

/* end_s: seconds since 1970 */
static double end_s = INFINITY, margin_s, reserve_s;

/* ---- the answer, in the handler: write(2) alone ---- */

static const char *volatile answer; /* NULL: none */
static volatile sig_atomic_t answered;
static char launcher_note[256];

static char *append(char *at, const char *end, const char *text)
{
    while (at < end && *text) {
        *at++ = *text++;
    }
    return at;
}

static const char *name_of(int signal_number)
{
    return signal_number == SIGINT    ? "Ctrl-C"
           : signal_number == SIGTERM ? "SIGTERM"
           : signal_number == SIGUSR1 ? "SIGUSR1"
           : signal_number == SIGUSR2 ? "SIGUSR2"
           : signal_number == SIGHUP  ? "the terminal is gone (SIGHUP)"
                                      : "nobody reads the output any more (SIGPIPE)";
}

static void say_answer(int signal_number)
{
    const char *what = answer;
    if (!what || answered) {
        return;
    }
    answered = 1;
    char text[512], *at = text;
    const char *end = text + sizeof text;
    const bool kills = signal_number == SIGINT || signal_number == SIGTERM;
    const bool terminal = isatty(STDERR_FILENO); /* its live line stays */
    at = append(at, end, terminal ? "\r\n" : "");
    at = append(at, end, "llava: ");
    at = append(at, end, name_of(signal_number));
    at = append(at, end, ": ");
    at = append(at, end, what);
    at = append(at, end, signal_number == SIGINT ? "; once more: ends now\n" : "\n");
    at = append(at, end, kills ? launcher_note : "");
    lv_message_write(STDERR_FILENO, text, (size_t)(at - text));
}

/* OpenMPI's mpirun is the parent of its ranks on its host. */
static void describe_launcher(void)
{
    if (getenv("OMPI_COMM_WORLD_SIZE")) {
        snprintf(launcher_note, sizeof launcher_note,
                 "llava: if that came to mpirun, it kills the ranks within two seconds, saved or "
                 "not; to mpirun send SIGUSR1 (kill -USR1 %ld)\n",
                 (long)getppid());
    }
}

static void note_signal(int signal_number)
{
    const int error = errno;
    signalled = signal_number;
    say_answer(signal_number);
    errno = error;
}

void lv_stop_answer(const char *what)
{
    describe_launcher();
    answer = what;
    if (signalled != 0) {
        say_answer(signalled);
    }
}

/* ---- signals ---- */

static bool is_ignored(int signal_number)
{
    struct sigaction now;
    return sigaction(signal_number, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

static void set_handler(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    if (!is_ignored(SIGHUP)) {
        sigaction(SIGHUP, &action, NULL);
    }
    if (!is_ignored(SIGPIPE)) {
        sigaction(SIGPIPE, &action, NULL);
    }
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
