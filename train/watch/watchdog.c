/* SPDX-License-Identifier: Apache-2.0
 *
 * Two threads, so that a file system that hangs cannot silence both: one polls the main thread and
 * accesses no file, the other writes this rank's heartbeat and reads those of the others.
 */
#include "train/watch/watchdog.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "data/base/file.h"
#include "data/base/thread.h"
#include "train/host/crash.h"
#include "train/watch/stall_report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const double POLL = 1.0 / 20, BEAT = 1.0 / 4; /* parts of the limit */
static const double MIN_WAIT_S = 0.01, MAX_POLL_S = 5;
enum { BACKTRACE_BYTES = 6000 };

struct lv_watchdog {
    lv_watchdog_options options;
    char host[LV_HEARTBEAT_TEXT];
    char *dir, *own_path; /* of heartbeats; NULL with one rank */
    pthread_t main_thread, poll_thread, beat_thread;
    long main_tid;
    int64_t n_beats;        /* of the beat thread */
    lv_stall_report report; /* of the beat thread */

    pthread_mutex_t lock; /* over all that follows */
    pthread_cond_t wake;
    bool poll_started, beat_started;
    bool ending;
    lv_stall_detector seen;
    time_t since;         /* the main thread's last progress that was seen */
    double beat_silent_s; /* since the beat thread's last round */
};

/* A consistent copy of what the poll thread found. */
typedef struct {
    lv_stall_detector seen;
    time_t since;
} snapshot;

static snapshot take_snapshot(lv_watchdog *w)
{
    pthread_mutex_lock(&w->lock);
    snapshot s = {.seen = w->seen, .since = w->since};
    pthread_mutex_unlock(&w->lock);
    return s;
}

/* returns false when the watchdog is to end */
static bool wait_s(lv_watchdog *w, double s)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    s = fmax(s, MIN_WAIT_S);
    double whole = floor(s);
    until.tv_sec += (time_t)whole;
    until.tv_nsec += (long)(1e9 * (s - whole));
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&w->lock);
    while (!w->ending && pthread_cond_timedwait(&w->wake, &w->lock, &until) != ETIMEDOUT) {
    }
    bool continues = !w->ending;
    pthread_mutex_unlock(&w->lock);
    return continues;
}

static void clock_text(char buf[LV_HEARTBEAT_TEXT], time_t at)
{
    struct tm local;
    localtime_r(&at, &local);
    strftime(buf, LV_HEARTBEAT_TEXT, "%Y-%m-%d %H:%M:%S", &local);
}

static _Noreturn void end_job(void)
{
    lv_tell("ends the job, which comm.on_stall asks for; what is saved stays, and the same command "
            "continues from the last checkpoint");
    lv_message_pause();
    _exit(1);
}

/* ---- the thread that polls the main thread ---- */

static void report_own(const lv_watchdog *w, const snapshot *s)
{
    char text[BACKTRACE_BYTES], since[LV_HEARTBEAT_TEXT], stalled[32], activity[LV_ACTIVITY_TEXT];
    lv_backtrace_of(text, sizeof text, w->main_thread, w->main_tid);
    clock_text(since, s->since);
    lv_tell("%s, without progress for %s, since %s; its main thread is in\n%s",
            lv_activity_text(activity, &s->seen.last.activity),
            lv_duration_words(stalled, s->seen.stalled_s), since, text);
}

/* No other rank's heartbeat can be read. */
static void report_silence(const lv_watchdog *w, const snapshot *s)
{
    char stalled[32];
    lv_tell("has waited %s for other ranks, and %s does not answer: its file system stalls",
            lv_duration_words(stalled, s->seen.stalled_s), w->dir);
}

static double poll_interval_s(const lv_watchdog *w)
{
    return fmin(POLL * w->options.limit_s, MAX_POLL_S);
}

typedef struct {
    snapshot now;
    bool advanced;    /* the main thread has made progress */
    double stalled_s; /* without, before that */
    bool alone;       /* the beat thread does not return from the file system */
} poll_result;

static poll_result poll_main_thread(lv_watchdog *w)
{
    const lv_stall_sample sample = lv_stall_sample_now();
    poll_result r;
    pthread_mutex_lock(&w->lock);
    r.stalled_s = w->seen.stalled_s;
    r.advanced = lv_stall_detector_add(&w->seen, &sample, 2 * poll_interval_s(w));
    w->since = r.advanced ? time(NULL) : w->since;
    w->beat_silent_s += poll_interval_s(w);
    r.alone = w->beat_started && w->beat_silent_s >= w->options.limit_s;
    r.now = (snapshot){.seen = w->seen, .since = w->since};
    pthread_mutex_unlock(&w->lock);
    return r;
}

static void *run_polls(void *context)
{
    lv_watchdog *w = context;
    const double limit_s = w->options.limit_s;
    bool told = false;
    while (wait_s(w, poll_interval_s(w))) {
        const poll_result r = poll_main_thread(w);
        const lv_stall_detector *seen = &r.now.seen;
        char stalled[32];
        if (r.advanced && told) {
            lv_tell("continues, after %s", lv_duration_words(stalled, r.stalled_s));
        }
        told = told && !r.advanced;
        if (told || seen->stalled_s < limit_s) {
            continue;
        }
        if (!seen->last.activity.waiting) {
            report_own(w, &r.now);
        } else if (r.alone && seen->stalled_s >= 2 * limit_s) {
            report_silence(w, &r.now);
        } else {
            continue;
        }
        told = true;
        if (w->options.stop) {
            end_job();
        }
    }
    return NULL;
}

/* ---- the thread that writes heartbeats, and reads those of the others ---- */

static int write_heartbeat(lv_watchdog *w, const snapshot *s, bool ends_job)
{
    lv_heartbeat own = {.n_beats = ++w->n_beats,
                        .ends_job = ends_job,
                        .n_advances = s->seen.n_advances,
                        .activity = s->seen.last.activity};
    memcpy(own.host, w->host, sizeof own.host);
    clock_text(own.since, s->since);
    return lv_heartbeat_write(w->own_path, &own);
}

/* Has one of the ranks that report a stall ended the job? The launcher may not reach this host. */
static bool job_has_ended(const lv_watchdog *w)
{
    bool ended = false;
    for (int i = 0; i < 2; i++) {
        char *path = lv_heartbeat_path(w->dir, i == 0 ? 0 : w->report.n_ranks - 1);
        ended = ended || lv_heartbeat_read(path).ends_job;
        free(path);
    }
    return ended;
}

static void *run_heartbeats(void *context)
{
    lv_watchdog *w = context;
    while (wait_s(w, BEAT * w->options.limit_s)) {
        snapshot s = take_snapshot(w);
        const bool waits = s.seen.last.activity.waiting && s.seen.stalled_s >= w->options.limit_s;
        write_heartbeat(w, &s,
                        false); /* a failure is seen by the others, as a rank that is silent */
        if (w->options.stop && waits && job_has_ended(w)) {
            _exit(1);
        }
        if (lv_stall_report_update(&w->report, &s.seen) && w->options.stop) {
            write_heartbeat(w, &s, true);
            end_job();
        }
        pthread_mutex_lock(&w->lock);
        w->beat_silent_s = 0;
        pthread_mutex_unlock(&w->lock);
    }
    lv_stall_report_end(&w->report);
    return NULL;
}

/* ---- the beginning and the end ---- */

static int create_watchdog(lv_watchdog **out, const lv_watchdog_options *options)
{
    pthread_condattr_t monotonic;
    lv_watchdog *w = calloc(1, sizeof *w);
    if (!w) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the watchdog");
    }
    w->options = *options;
    w->main_thread = pthread_self();
    w->main_tid = (long)gettid();
    w->since = time(NULL);
    w->seen.last = lv_stall_sample_now();
    gethostname(w->host, sizeof w->host - 1);
    pthread_mutex_init(&w->lock, NULL); /* these cannot fail on Linux */
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out = w;
    return LV_OK;
}

/* Removes heartbeats of an earlier job; each rank's first is written before any is read. */
static int prepare_dir(lv_watchdog *w, const lv_comm *comm)
{
    int rc = LV_OK;
    w->dir = lv_path("%s/heartbeat", w->options.run_dir);
    w->own_path = lv_heartbeat_path(w->dir, comm->rank);
    w->report = (lv_stall_report){
        .dir = w->dir, .rank = comm->rank, .n_ranks = comm->n_ranks, .limit_s = w->options.limit_s};
    if (comm->rank == 0) {
        rc = lv_dir_remove(w->dir);
        if (rc == LV_OK) rc = lv_dir_create(w->dir);
    }
    rc = lv_comm_agree(comm, rc);
    snapshot s = take_snapshot(w);
    return rc < 0 ? rc : lv_comm_agree(comm, write_heartbeat(w, &s, false));
}

/* Under the lock, so that a thread that has begun finds the fields of both set. */
static int start_threads(lv_watchdog *w)
{
    pthread_mutex_lock(&w->lock);
    int rc = lv_thread_start(&w->poll_thread, run_polls, w);
    w->poll_started = rc == LV_OK;
    if (rc == LV_OK && w->dir) {
        rc = lv_thread_start(&w->beat_thread, run_heartbeats, w);
        w->beat_started = rc == LV_OK;
    }
    pthread_mutex_unlock(&w->lock);
    return rc < 0 ? lv_fail_within("the watchdog") : rc;
}

int lv_watchdog_start(lv_watchdog **out, const lv_comm *comm, const lv_watchdog_options *options)
{
    lv_watchdog *w = NULL;
    *out = NULL;
    if (options->limit_s <= 0) {
        return LV_OK;
    }
    lv_backtrace_catch();
    int rc = lv_comm_agree(comm, create_watchdog(&w, options));
    if (rc == LV_OK && comm->n_ranks > 1) {
        rc = prepare_dir(w, comm);
    }
    if (rc == LV_OK) rc = lv_comm_agree(comm, start_threads(w));
    if (rc < 0) {
        lv_watchdog_stop(&w);
        return rc;
    }
    *out = w;
    return LV_OK;
}

void lv_watchdog_stop(lv_watchdog **watchdog)
{
    lv_watchdog *w = *watchdog;
    if (!w) {
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->ending = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    if (w->poll_started) {
        pthread_join(w->poll_thread, NULL);
    }
    if (w->beat_started) {
        pthread_join(w->beat_thread, NULL);
    }
    if (w->dir) {
        unlink(w->own_path);
        rmdir(w->dir); /* succeeds on the last rank */
    }
    free(w->own_path);
    free(w->dir);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
    *watchdog = NULL;
}
