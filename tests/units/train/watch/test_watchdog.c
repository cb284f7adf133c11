/* SPDX-License-Identifier: Apache-2.0
 *
 * When a rank stands still, told with times that are made up; who is behind, from heartbeats that
 * are made up; and the last words of a process that dies.
 */
#include "train/host/crash.h"
#include "train/watch/heartbeat.h"
#include "train/watch/stall.h"
#include "train/watch/stall_report.h"
#include "train/watch/watchdog.h"

#include "autograd/error.h"
#include "autograd/pulse.h"
#include "data/base/file.h"
#include "tests/units/train/fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- stillness ---- */

static const double TICK_S = 1;

/* n looks, one a second, at a main thread that does nothing new; cpu_share: of the whole process */
static double look_n(lv_stillness *s, int n, double cpu_share)
{
    for (int i = 0; i < n; i++) {
        lv_life_signs signs = s->last;
        signs.at_s += TICK_S;
        signs.cpu_s += cpu_share * TICK_S;
        lv_stillness_look(s, &signs, 2 * TICK_S);
    }
    return s->still_s;
}

static lv_stillness doing(lv_activity what)
{
    return (lv_stillness){.last = {.at_s = 100, .cpu_s = 7, .activity = {.what = what}},
                          .moved_cpu_s = 7};
}

static void what_does_nothing_stands_still(void **state)
{
    (void)state;
    for (int what = 0; what < LV_N_ACTIVITIES; what++) {
        lv_stillness s = doing((lv_activity)what);
        assert_float_equal(look_n(&s, 600, 1e-4), 600, 1e-6);
        assert_int_equal(s.n_moves, 0);
    }
}

static void a_change_of_activity_is_progress(void **state)
{
    (void)state;
    lv_stillness s = doing(LV_ACTIVITY_READING);
    look_n(&s, 50, 0);
    lv_life_signs signs = s.last;
    signs.activity.n_changes++;
    assert_true(lv_stillness_look(&s, &signs, 2 * TICK_S));
    assert_float_equal(s.still_s, 0, 0);
    assert_int_equal(s.n_moves, 1);
}

static void ops_are_progress_of_computing_but_not_of_waiting(void **state)
{
    (void)state;
    lv_stillness computes = doing(LV_ACTIVITY_COMPUTING), waits = computes;
    waits.last.activity.waiting = true;
    lv_life_signs signs = computes.last;
    signs.n_pulses++;
    assert_true(lv_stillness_look(&computes, &signs, 2 * TICK_S));
    signs.activity.waiting = true;
    assert_false(lv_stillness_look(&waits, &signs, 2 * TICK_S));
}

static void processor_time_is_progress_of_what_has_no_parts(void **state)
{
    (void)state;
    const struct {
        lv_activity what;
        bool alive;
    } cases[] = {{LV_ACTIVITY_LOADING, true},    {LV_ACTIVITY_VALIDATING, true},
                 {LV_ACTIVITY_SAVING, true},     {LV_ACTIVITY_WRITING, true},
                 {LV_ACTIVITY_COMPUTING, false}, {LV_ACTIVITY_READING, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_stillness s = doing(cases[i].what);
        double still_s = look_n(&s, 3600, 0.01); /* an hour on a slow disk */
        assert_true(cases[i].alive ? still_s < 10 : still_s == 3600);
        s = doing(cases[i].what);
        s.last.activity.waiting = true;
        assert_float_equal(look_n(&s, 3600, 1), 3600, 1e-6); /* MPI spins while it waits */
    }
}

static void time_in_which_the_process_was_stopped_does_not_count(void **state)
{
    (void)state;
    lv_stillness s = doing(LV_ACTIVITY_READING);
    look_n(&s, 10, 0);
    lv_life_signs signs = s.last;
    signs.at_s += 100000; /* SIGSTOP, a debugger, a virtual machine that was moved */
    lv_stillness_look(&s, &signs, 2 * TICK_S);
    assert_float_equal(s.still_s, 12, 1e-9);
}

static void what_the_main_thread_says_is_seen(void **state)
{
    (void)state;
    char text[LV_ACTIVITY_TEXT];
    lv_life_signs before = lv_life_signs_now();
    lv_activity_step_set(12);
    lv_activity_begin(LV_ACTIVITY_SAVING);
    lv_activity_wait_begin();
    lv_activity_wait_begin();
    lv_activity_wait_end();
    lv_pulse_beat();
    lv_life_signs signs = lv_life_signs_now();
    assert_true(signs.activity.waiting);
    assert_string_equal(lv_activity_text(text, &signs.activity),
                        "step 12, waiting for other ranks");
    lv_activity_wait_end();
    signs = lv_life_signs_now();
    assert_string_equal(lv_activity_text(text, &signs.activity), "step 12, writing a checkpoint");
    assert_int_equal(signs.activity.n_changes - before.activity.n_changes, 6);
    assert_int_equal(signs.n_pulses - before.n_pulses, 1);
    assert_true(signs.at_s >= before.at_s && signs.cpu_s >= before.cpu_s);
    lv_activity_step_set(0);
    signs = lv_life_signs_now();
    assert_string_equal(lv_activity_text(text, &signs.activity), "writing a checkpoint");
}

/* ---- heartbeats ---- */

static char *dir;

static int make_dir(void **state)
{
    (void)state;
    dir = strdup("/tmp/test_watchdog_XXXXXX");
    return dir && mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    int rc = lv_dir_remove(dir);
    free(dir);
    return rc;
}

static const lv_heartbeat beating = {.n_beats = 3,
                                     .n_moves = 40,
                                     .activity = {.step = 512, .what = LV_ACTIVITY_READING},
                                     .host = "node07",
                                     .since = "2026-11-23 05:12:33"};

static void assert_same(const lv_heartbeat *a, const lv_heartbeat *b)
{
    assert_int_equal(a->n_beats, b->n_beats);
    assert_int_equal(a->n_moves, b->n_moves);
    assert_int_equal(a->activity.step, b->activity.step);
    assert_int_equal(a->activity.what, b->activity.what);
    assert_int_equal(a->activity.waiting, b->activity.waiting);
    assert_string_equal(a->host, b->host);
    assert_string_equal(a->since, b->since);
}

static void a_heartbeat_is_read_as_it_was_written(void **state)
{
    (void)state;
    char *path = lv_heartbeat_path(dir, 7);
    lv_heartbeat longer = beating, read;
    memset(longer.host, 'h', sizeof longer.host - 1);
    longer.activity.step = INT64_C(100000000000);
    longer.activity.waiting = true;
    assert_int_equal(lv_heartbeat_write(path, &longer), LV_OK);
    read = lv_heartbeat_read(path);
    assert_same(&read, &longer);
    assert_int_equal(lv_heartbeat_write(path, &beating), LV_OK);
    read = lv_heartbeat_read(path);
    assert_same(&read, &beating);
    free(path);
}

static void what_is_no_heartbeat_is_read_as_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "3 40 512 1 0\nnode07\n2026-11-23 05:12:33\n",
        "3 40 512 1 0\nnode07\nen",
        "3 40 512 9 0\nnode07\n2026-11-23 05:12:33\nend\n",
        "3 40 512 -1 0\nnode07\n2026-11-23 05:12:33\nend\n",
        "three\n",
        "999999999999999999999999999 1 1 1 1\na\nb\nend\n",
    };
    char *path = lv_heartbeat_path(dir, 8);
    assert_int_equal(lv_heartbeat_read(path).n_beats, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(lv_file_write(path, bad[i], strlen(bad[i])), LV_OK);
        assert_int_equal(lv_heartbeat_read(path).n_beats, 0);
    }
    free(path);
}

enum { N_RANKS = 4 };

/* Ranks that beat, at the given activity, all of them waiting for others. */
static void all_wait(lv_heartbeat before[N_RANKS], lv_heartbeat now[N_RANKS])
{
    for (int r = 0; r < N_RANKS; r++) {
        before[r] = beating;
        before[r].activity.waiting = true;
        snprintf(before[r].host, sizeof before[r].host, "node%d", r / 2);
        now[r] = before[r];
        now[r].n_beats += 2;
    }
}

static int stall(char *text, bool *stalled, const lv_heartbeat *before, const lv_heartbeat *now)
{
    return lv_stall_text(text, 4096, stalled, before, now, N_RANKS);
}

static void who_is_behind_is_named(void **state)
{
    (void)state;
    lv_heartbeat before[N_RANKS], now[N_RANKS];
    char text[4096];
    bool stalled = false;
    all_wait(before, now);
    now[1].n_beats = before[1].n_beats; /* silent */
    before[2].activity.waiting = now[2].activity.waiting = false;
    assert_int_equal(stall(text, &stalled, before, now), 2);
    assert_true(stalled);
    assert_string_equal(
        text, "llava:   rank 1 on node0: no sign of life any more: stopped, killed, or its host or "
              "network is down; last seen: step 512, waiting for other ranks (since 2026-11-23 "
              "05:12:33)\n"
              "llava:   rank 2 on node1: step 512, reading data, without progress since 2026-11-23 "
              "05:12:33\n");
    before[3] = now[3] = (lv_heartbeat){0};
    assert_int_equal(stall(text, &stalled, before, now), 3);
    assert_non_null(strstr(text, "llava:   rank 3: no sign of life\n"));
}

static void if_all_wait_nobody_is_behind_but_it_is_a_stall(void **state)
{
    (void)state;
    lv_heartbeat before[N_RANKS], now[N_RANKS];
    char text[4096];
    bool stalled = false;
    all_wait(before, now);
    assert_int_equal(stall(text, &stalled, before, now), 0);
    assert_true(stalled);
}

static void a_rank_that_goes_on_with_what_takes_long_is_no_stall(void **state)
{
    (void)state;
    static const lv_activity at_work[] = {LV_ACTIVITY_LOADING, LV_ACTIVITY_VALIDATING,
                                          LV_ACTIVITY_SAVING, LV_ACTIVITY_WRITING};
    lv_heartbeat before[N_RANKS], now[N_RANKS];
    char text[4096];
    bool stalled = true;
    for (size_t i = 0; i < sizeof at_work / sizeof *at_work; i++) {
        all_wait(before, now);
        now[2].activity = (lv_activity_state){.step = 512, .what = at_work[i]};
        now[2].n_moves++;
        assert_int_equal(stall(text, &stalled, before, now), 0);
        assert_false(stalled);
    }
}

static void a_rank_that_computes_slowly_is_named_but_no_stall(void **state)
{
    (void)state;
    lv_heartbeat before[N_RANKS], now[N_RANKS];
    char text[4096];
    bool stalled = true;
    all_wait(before, now);
    now[3].activity = (lv_activity_state){.step = 512, .what = LV_ACTIVITY_COMPUTING};
    now[3].n_moves++;
    assert_int_equal(stall(text, &stalled, before, now), 1);
    assert_false(stalled);
    assert_string_equal(text,
                        "llava:   rank 3 on node1: step 512, computing, slowly, seen to go on "
                        "at 2026-11-23 05:12:33\n");
}

static void of_very_many_ranks_a_dozen_are_named(void **state)
{
    (void)state;
    enum { MANY = 1024 };
    lv_heartbeat *none = calloc(MANY, sizeof *none);
    char text[4096];
    bool stalled = false;
    assert_non_null(none);
    assert_int_equal(lv_stall_text(text, sizeof text, &stalled, none, none, MANY), MANY);
    assert_non_null(strstr(text, "rank 11: "));
    assert_null(strstr(text, "rank 12: "));
    assert_non_null(strstr(text, "llava:   and 1012 more\n"));
    free(none);
}

/* ---- the inquiry ---- */

static void beat(int rank, int64_t n_beats, bool waiting)
{
    lv_heartbeat own = beating;
    char *path = lv_heartbeat_path(dir, rank);
    own.n_beats = n_beats;
    own.activity.waiting = waiting;
    assert_int_equal(lv_heartbeat_write(path, &own), LV_OK);
    free(path);
}

static lv_stillness waiting_for(double still_s)
{
    return (lv_stillness){
        .still_s = still_s, .n_moves = 9, .last = {.activity = {.step = 512, .waiting = true}}};
}

/* Ranks 0, 1 and 2 of four, of which the last is stopped, and perhaps the first. out: told by whom;
 * all who wait know it when the limit is over, not before */
static void inquire(bool told[3], bool first_is_stopped)
{
    lv_inquiry q[3];
    for (int r = 0; r < 3; r++) {
        q[r] = (lv_inquiry){.dir = dir, .rank = r, .n_ranks = 4, .limit_s = 10};
    }
    for (int round = 1; round <= 5; round++) {
        lv_stillness seen = waiting_for(2.5 * round);
        for (int r = 0; r < 3; r++) {
            beat(r, r == 0 && first_is_stopped ? 1 : round, true);
        }
        beat(3, 1, false);
        for (int r = first_is_stopped; r < 3; r++) {
            bool stalled = lv_inquiry_continue(&q[r], &seen);
            assert_true(round == 4 || stalled == (round > 4));
        }
    }
    assert_true(q[1].leads && !q[2].leads); /* it was asked before the other */
    for (int r = 2; r >= 0; r--) {
        told[r] = q[r].told;
        lv_inquiry_close(&q[r]);
    }
}

static void rank_0_tells_who_is_behind(void **state)
{
    (void)state;
    bool told[3];
    inquire(told, false);
    assert_true(told[0] && !told[1] && !told[2]);
}

static void a_deputy_tells_if_rank_0_does_not_wait(void **state)
{
    (void)state;
    bool told[3];
    inquire(told, true);
    assert_true(!told[0] && told[1] && !told[2]);
}

static void an_inquiry_ends_when_the_rank_goes_on(void **state)
{
    (void)state;
    lv_inquiry q = {.dir = dir, .rank = 1, .n_ranks = 2, .limit_s = 10};
    lv_stillness seen = waiting_for(6);
    assert_false(lv_inquiry_continue(&q, &seen));
    assert_true(q.open && q.leads);
    char *path = strdup(q.path);
    assert_true(lv_file_exists(path));
    seen.n_moves++;
    seen.still_s = 0;
    assert_false(lv_inquiry_continue(&q, &seen));
    assert_false(q.open);
    assert_false(lv_file_exists(path));
    free(path);
}

/* ---- last words ---- */

static int overflow_stack(volatile int depth)
{
    volatile char frame[4096];
    frame[0] = (char)depth;
    return depth < 0 ? 0 : overflow_stack(depth + 1) + frame[0];
}

static void say_next(int number)
{
    static const char text[] = "whose handler this was\n";
    (void)number;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {
        _exit(1);
    }
}

static void die(const char *how)
{
    if (strncmp(how, "handled", 7) == 0) {
        struct sigaction action = {.sa_handler = say_next, .sa_flags = (int)SA_RESETHAND};
        sigaction(SIGSEGV, &action, NULL);
    }
    lv_rank_label_set("rank 3 on node07");
    lv_activity_step_set(12);
    lv_activity_begin(LV_ACTIVITY_READING);
    lv_crash_catch();
    if (strcmp(how, "overflow") == 0) {
        overflow_stack(0);
    } else if (strcmp(how, "told") == 0) {
        lv_crash_abort();
    } else if (strcmp(how, "abort") == 0) {
        abort();
    } else if (strcmp(how, "handled, sent") == 0) {
        lv_crash_catch(); /* again, as after MPI has started */
        raise(SIGSEGV);
        raise(SIGSEGV);
    } else {
        volatile uintptr_t nowhere = 16;
        *(volatile int *)nowhere = 1;
    }
    _exit(0);
}

/* A child that dies so. out: text, what it said. returns the signal that it died of, or 0 */
static int last_words_of(char text[8192], const char *how)
{
    int ends[2], status = 0;
    size_t n = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT};
        for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
            signal(fatal[i], SIG_DFL); /* cmocka's own go */
        }
        dup2(ends[1], STDERR_FILENO);
        die(how);
    }
    close(ends[1]);
    for (ssize_t got; n < 8191 && (got = read(ends[0], text + n, 8191 - n)) > 0;) {
        n += (size_t)got;
    }
    text[n] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void a_fatal_signal_is_told_and_still_kills(void **state)
{
    (void)state;
    char text[8192];
    assert_int_equal(last_words_of(text, "null"), SIGSEGV);
    static const char first[] =
        "llava: rank 3 on node07: SIGSEGV (memory that is not there) at address 0x10 in step 12, "
        "reading data; called from\n";
    assert_memory_equal(text, first, sizeof first - 1);
    assert_non_null(strstr(text + sizeof first - 1, "test_watch_watchdog"));
    assert_int_equal(last_words_of(text, "abort"), SIGABRT);
    assert_non_null(strstr(text, "llava: rank 3 on node07: SIGABRT in step 12, reading data;"));
}

static void a_stack_that_overflowed_is_told_too(void **state)
{
    (void)state;
    char text[8192];
    assert_int_equal(last_words_of(text, "overflow"), SIGSEGV);
    assert_non_null(strstr(text, "llava: rank 3 on node07: SIGSEGV"));
}

static void who_handled_a_fatal_signal_before_has_it_next(void **state)
{
    (void)state;
    static const char *const ways[] = {"handled", "handled, sent"};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char text[8192];
        assert_int_equal(last_words_of(text, ways[i]), SIGSEGV);
        const char *own = strstr(text, "llava: rank 3 on node07: SIGSEGV");
        assert_non_null(own);
        assert_non_null(strstr(own, "whose handler this was\n"));
    }
}

static void who_has_told_already_aborts_without_a_word(void **state)
{
    (void)state;
    char text[8192];
    assert_int_equal(last_words_of(text, "told"), SIGABRT);
    assert_string_equal(text, "");
}

static void *sleep_on(void *context)
{
    int *end = context;
    char byte;
    return read(*end, &byte, 1) < 0 ? context : NULL;
}

static void another_thread_is_asked_where_it_is(void **state)
{
    (void)state;
    char text[4096];
    int ends[2];
    pthread_t thread;
    assert_int_equal(pipe(ends), 0);
    lv_backtrace_catch();
    assert_int_equal(pthread_create(&thread, NULL, sleep_on, &ends[0]), 0);
    lv_backtrace_of(text, sizeof text, thread, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    pthread_join(thread, NULL);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(strncmp(text, "llava:   ", 9), 0);
    assert_true(text[strlen(text) - 1] == '\n');
}

static void without_a_limit_there_is_no_watchdog(void **state)
{
    (void)state;
    lv_comm comm = lv_comm_single();
    lv_watchdog *watchdog;
    assert_int_equal(lv_watchdog_start(&watchdog, &comm, &(lv_watchdog_options){.run_dir = dir}),
                     LV_OK);
    assert_null(watchdog);
    lv_watchdog_stop(&watchdog);
    assert_int_equal(
        lv_watchdog_start(&watchdog, &comm,
                          &(lv_watchdog_options){.run_dir = dir, .limit_s = 1e6, .stop = true}),
        LV_OK);
    assert_non_null(watchdog);
    lv_watchdog_stop(&watchdog);
    assert_null(watchdog);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_nothing_stands_still),
        cmocka_unit_test(a_change_of_activity_is_progress),
        cmocka_unit_test(ops_are_progress_of_computing_but_not_of_waiting),
        cmocka_unit_test(processor_time_is_progress_of_what_has_no_parts),
        cmocka_unit_test(time_in_which_the_process_was_stopped_does_not_count),
        cmocka_unit_test(what_the_main_thread_says_is_seen),
        cmocka_unit_test(a_heartbeat_is_read_as_it_was_written),
        cmocka_unit_test(what_is_no_heartbeat_is_read_as_none),
        cmocka_unit_test(who_is_behind_is_named),
        cmocka_unit_test(if_all_wait_nobody_is_behind_but_it_is_a_stall),
        cmocka_unit_test(a_rank_that_goes_on_with_what_takes_long_is_no_stall),
        cmocka_unit_test(a_rank_that_computes_slowly_is_named_but_no_stall),
        cmocka_unit_test(of_very_many_ranks_a_dozen_are_named),
        cmocka_unit_test(rank_0_tells_who_is_behind),
        cmocka_unit_test(a_deputy_tells_if_rank_0_does_not_wait),
        cmocka_unit_test(an_inquiry_ends_when_the_rank_goes_on),
        cmocka_unit_test(a_fatal_signal_is_told_and_still_kills),
        cmocka_unit_test(a_stack_that_overflowed_is_told_too),
        cmocka_unit_test(who_handled_a_fatal_signal_before_has_it_next),
        cmocka_unit_test(who_has_told_already_aborts_without_a_word),
        cmocka_unit_test(another_thread_is_asked_where_it_is),
        cmocka_unit_test(without_a_limit_there_is_no_watchdog),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
