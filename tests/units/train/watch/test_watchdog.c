/* SPDX-License-Identifier: Apache-2.0
 *
 * The stall detector and the stall report, with times and heartbeats that are made up; and what a
 * process prints that dies.
 */
#include "train/host/crash.h"
#include "train/watch/heartbeat.h"
#include "train/watch/stall.h"
#include "train/watch/stall_report.h"
#include "train/watch/watchdog.h"

#include "autograd/error.h"
#include "autograd/tape.h"
#include "data/base/file.h"
#include "tests/units/train/fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the stall detector ---- */

static const double TICK_S = 1;

/* n samples, one a second, at a main thread that does nothing new; cpu_share: of the whole process */
static double add_n(lv_stall_detector *s, int n, double cpu_share)
{
    for (int i = 0; i < n; i++) {
        lv_stall_sample signs = s->last;
        signs.at_s += TICK_S;
        signs.cpu_s += cpu_share * TICK_S;
        lv_stall_detector_add(s, &signs, 2 * TICK_S);
    }
    return s->stalled_s;
}

static lv_stall_detector doing(lv_activity what)
{
    return (lv_stall_detector){.last = {.at_s = 100, .cpu_s = 7, .activity = {.what = what}},
                               .progress_cpu_s = 7};
}

static void what_does_nothing_stands_still(void **state)
{
    (void)state;
    for (int what = 0; what < LV_N_ACTIVITIES; what++) {
        lv_stall_detector s = doing((lv_activity)what);
        assert_float_equal(add_n(&s, 600, 1e-4), 600, 1e-6);
        assert_int_equal(s.n_advances, 0);
    }
}

static void a_change_of_activity_is_progress(void **state)
{
    (void)state;
    lv_stall_detector s = doing(LV_ACTIVITY_READING);
    add_n(&s, 50, 0);
    lv_stall_sample signs = s.last;
    signs.activity.n_changes++;
    assert_true(lv_stall_detector_add(&s, &signs, 2 * TICK_S));
    assert_float_equal(s.stalled_s, 0, 0);
    assert_int_equal(s.n_advances, 1);
}

static void ops_are_progress_of_computing_but_not_of_waiting(void **state)
{
    (void)state;
    lv_stall_detector computes = doing(LV_ACTIVITY_COMPUTING), waits = computes;
    waits.last.activity.waiting = true;
    lv_stall_sample signs = computes.last;
    signs.tape_progress++;
    assert_true(lv_stall_detector_add(&computes, &signs, 2 * TICK_S));
    signs.activity.waiting = true;
    assert_false(lv_stall_detector_add(&waits, &signs, 2 * TICK_S));
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
        lv_stall_detector s = doing(cases[i].what);
        double stalled_s = add_n(&s, 3600, 0.01); /* an hour on a slow disk */
        assert_true(cases[i].alive ? stalled_s < 10 : stalled_s == 3600);
        s = doing(cases[i].what);
        s.last.activity.waiting = true;
        assert_float_equal(add_n(&s, 3600, 1), 3600, 1e-6); /* MPI spins while it waits */
    }
}

static void time_in_which_the_process_was_stopped_does_not_count(void **state)
{
    (void)state;
    lv_stall_detector s = doing(LV_ACTIVITY_READING);
    add_n(&s, 10, 0);
    lv_stall_sample signs = s.last;
    signs.at_s += 100000; /* SIGSTOP, a debugger, a virtual machine that was moved */
    lv_stall_detector_add(&s, &signs, 2 * TICK_S);
    assert_float_equal(s.stalled_s, 12, 1e-9);
}

static void what_the_main_thread_says_is_seen(void **state)
{
    (void)state;
    char text[LV_ACTIVITY_TEXT];
    lv_stall_sample before = lv_stall_sample_now();
    lv_activity_step_set(12);
    lv_activity_begin(LV_ACTIVITY_SAVING);
    lv_activity_wait_begin();
    lv_activity_wait_begin();
    lv_activity_wait_end();
    lv_tape *tape;
    assert_int_equal(lv_tape_create(&tape, 1 << 20), LV_OK);
    lv_tape_tensor(tape, LV_F32, 1, (const int64_t[]){4});
    lv_tape_destroy(&tape);
    lv_stall_sample signs = lv_stall_sample_now();
    assert_true(signs.activity.waiting);
    assert_string_equal(lv_activity_text(text, &signs.activity),
                        "step 12, waiting for other ranks");
    lv_activity_wait_end();
    signs = lv_stall_sample_now();
    assert_string_equal(lv_activity_text(text, &signs.activity), "step 12, writing a checkpoint");
    assert_int_equal(signs.activity.n_changes - before.activity.n_changes, 6);
    assert_int_equal(signs.tape_progress - before.tape_progress, 1);
    assert_true(signs.at_s >= before.at_s && signs.cpu_s >= before.cpu_s);
    lv_activity_step_set(0);
    signs = lv_stall_sample_now();
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
                                     .n_advances = 40,
                                     .activity = {.step = 512, .what = LV_ACTIVITY_READING},
                                     .host = "node07",
                                     .since = "2026-11-23 05:12:33"};

static void assert_same(const lv_heartbeat *a, const lv_heartbeat *b)
{
    assert_int_equal(a->n_beats, b->n_beats);
    assert_int_equal(a->ends_job, b->ends_job);
    assert_int_equal(a->n_advances, b->n_advances);
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
    longer.activity.waiting = longer.ends_job = true;
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
        "3 40 512 1 0 0\nnode07\n2026-11-23 05:12:33\n",
        "3 40 512 1 0 0\nnode07\nen",
        "3 40 512 9 0 0\nnode07\n2026-11-23 05:12:33\nend\n",
        "3 40 512 -1 0 0\nnode07\n2026-11-23 05:12:33\nend\n",
        "three\n",
        "999999999999999999999999999 1 1 1 1 0\na\nb\nend\n",
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
        now[2].n_advances++;
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
    now[3].n_advances++;
    assert_int_equal(stall(text, &stalled, before, now), 1);
    assert_false(stalled);
    assert_string_equal(text,
                        "llava:   rank 3 on node1: step 512, computing, slowly, last progress "
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

/* ---- the stall report ---- */

static void beat(int rank, int64_t n_beats, bool waiting)
{
    lv_heartbeat own = beating;
    char *path = lv_heartbeat_path(dir, rank);
    own.n_beats = n_beats;
    own.activity.waiting = waiting;
    assert_int_equal(lv_heartbeat_write(path, &own), LV_OK);
    free(path);
}

static lv_stall_detector waiting_for(double stalled_s)
{
    return (lv_stall_detector){.stalled_s = stalled_s,
                               .n_advances = 9,
                               .last = {.activity = {.step = 512, .waiting = true}}};
}

enum { SILENT = 1, WAITING, COMPUTING };

/* Four ranks of which the first may be stopped or busy with something, and the third is stopped.
 * out: told by whom */
static void report(bool told[4], int first)
{
    lv_stall_report r[4];
    for (int rank = 0; rank < 4; rank++) {
        r[rank] = (lv_stall_report){.dir = dir, .rank = rank, .n_ranks = 4, .limit_s = 10};
    }
    for (int round = 1; round <= 6; round++) {
        lv_stall_detector waits = waiting_for(2.5 * round), computes = waits;
        computes.last.activity.waiting = false;
        for (int rank = 0; rank < 4; rank++) {
            const bool stopped = rank == 2 || (rank == 0 && first == SILENT);
            beat(rank, stopped ? 1 : round, rank != 0 || first != COMPUTING);
        }
        for (int rank = first == SILENT; rank < 4; rank++) {
            const bool waiting = rank != 0 || first == WAITING;
            const bool may_tell = rank == 0 ? first == WAITING : rank == 3 && first != WAITING;
            bool stalled = lv_stall_report_update(&r[rank], waiting ? &waits : &computes);
            assert_int_equal(stalled, may_tell && (round == 4 || round == 6));
        }
    }
    for (int rank = 0; rank < 4; rank++) {
        told[rank] = r[rank].told;
        lv_stall_report_end(&r[rank]);
    }
}

static void rank_0_tells_who_is_behind(void **state)
{
    (void)state;
    bool told[4];
    report(told, WAITING);
    assert_true(told[0] && !told[1] && !told[2] && !told[3]);
}

static void the_last_rank_tells_if_rank_0_does_not_wait(void **state)
{
    (void)state;
    bool told[4];
    report(told, SILENT);
    assert_true(!told[0] && !told[1] && !told[2] && told[3]);
    report(told, COMPUTING);
    assert_true(!told[0] && !told[1] && !told[2] && told[3]);
}

static void a_report_ends_when_the_rank_advances(void **state)
{
    (void)state;
    lv_stall_report r = {.dir = dir, .rank = 1, .n_ranks = 2, .limit_s = 10};
    lv_stall_detector seen = waiting_for(6);
    assert_false(lv_stall_report_update(&r, &seen));
    assert_non_null(r.before);
    seen.n_advances++;
    seen.stalled_s = 0;
    assert_false(lv_stall_report_update(&r, &seen));
    assert_null(r.before);
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
        cmocka_unit_test(the_last_rank_tells_if_rank_0_does_not_wait),
        cmocka_unit_test(a_report_ends_when_the_rank_advances),
        cmocka_unit_test(a_fatal_signal_is_told_and_still_kills),
        cmocka_unit_test(a_stack_that_overflowed_is_told_too),
        cmocka_unit_test(who_handled_a_fatal_signal_before_has_it_next),
        cmocka_unit_test(who_has_told_already_aborts_without_a_word),
        cmocka_unit_test(another_thread_is_asked_where_it_is),
        cmocka_unit_test(without_a_limit_there_is_no_watchdog),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
