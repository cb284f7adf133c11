/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/stop.h"

#include "tests/units/train/fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const int signals[] = {SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, SIGPIPE, SIGINT};
enum { N_SIGNALS = sizeof signals / sizeof *signals };

/* How a process of its own ends that does this; 0 or 1 if it comes back. */
static int status_of(bool (*what)(int signal_number), int signal_number)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(what(signal_number) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static bool is_noted(int signal_number)
{
    lv_stop_catch_signals();
    return !lv_stop_requested() && raise(signal_number) == 0 && lv_stop_requested() &&
           lv_stop_time_left_s() < 0;
}

static bool comes_twice(int signal_number)
{
    return is_noted(signal_number) && raise(signal_number) == 0;
}

static bool comes_after_release(int signal_number)
{
    lv_stop_catch_signals();
    lv_stop_release_signals();
    return raise(signal_number) == 0;
}

static bool comes_before_release(int signal_number)
{
    bool noted = is_noted(signal_number);
    lv_stop_release_signals();
    return noted;
}

static void a_signal_is_a_request_to_stop(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIGNALS; i++) {
        int status = status_of(is_noted, signals[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

static bool is_left_ignored(int signal_number)
{
    signal(signal_number, SIG_IGN);
    lv_stop_catch_signals();
    return raise(signal_number) == 0 && !lv_stop_requested();
}

static void what_nohup_ignores_stays_ignored(void **state)
{
    (void)state;
    int status = status_of(is_left_ignored, SIGHUP);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* What a process writes to stderr that gets the signal, before or after it answers. */
static void assert_answered(int signal_number, bool before, const char *want)
{
    char text[1024] = "";
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        lv_stop_catch_signals();
        if (before) {
            raise(signal_number);
        }
        lv_stop_answer("saves after this step");
        if (!before) {
            raise(signal_number);
        }
        raise(SIGUSR2); /* a second request has no second answer */
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t n, at = 0; (n = read(ends[0], text + at, sizeof text - 1 - (size_t)at)) > 0;) {
        at += n;
    }
    close(ends[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_string_equal(text, want);
}

static void a_request_is_answered_when_it_comes(void **state)
{
    (void)state;
    for (int before = 0; before < 2; before++) {
        assert_answered(SIGINT, before,
                        "llava: Ctrl-C: saves after this step; once more: ends now\n");
        assert_answered(SIGUSR1, before, "llava: SIGUSR1: saves after this step\n");
        assert_answered(SIGHUP, before,
                        "llava: the terminal is gone (SIGHUP): saves after this step\n");
    }
    char want[512];
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    snprintf(want, sizeof want,
             "llava: SIGTERM: saves after this step\n"
             "llava: if that came to mpirun, it kills the ranks within two seconds, saved or not; "
             "to mpirun send SIGUSR1 (kill -USR1 %ld)\n",
             (long)getpid());
    assert_answered(SIGTERM, false, want);
    unsetenv("OMPI_COMM_WORLD_SIZE");
}

static void only_the_second_Ctrl_C_ends_the_process(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIGNALS; i++) {
        int status = status_of(comes_twice, signals[i]);
        assert_int_equal(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT, signals[i] == SIGINT);
    }
}

static void a_signal_ends_a_process_that_does_not_ask_for_requests(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIGNALS; i++) {
        int after = status_of(comes_after_release, signals[i]);
        int before = status_of(comes_before_release, signals[i]);
        assert_true(WIFSIGNALED(after) && WTERMSIG(after) == signals[i]);
        assert_true(WIFSIGNALED(before) && WTERMSIG(before) == signals[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_is_a_request_to_stop),
        cmocka_unit_test(what_nohup_ignores_stays_ignored),
        cmocka_unit_test(a_request_is_answered_when_it_comes),
        cmocka_unit_test(only_the_second_Ctrl_C_ends_the_process),
        cmocka_unit_test(a_signal_ends_a_process_that_does_not_ask_for_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
