/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/stop.h"

#include "tests/units/train/fixture.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const int signals[] = {SIGTERM, SIGUSR1, SIGUSR2, SIGINT};
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
        cmocka_unit_test(only_the_second_Ctrl_C_ends_the_process),
        cmocka_unit_test(a_signal_ends_a_process_that_does_not_ask_for_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
