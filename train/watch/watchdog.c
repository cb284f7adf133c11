/* SPDX-License-Identifier: Apache-2.0
 *
 * Two threads, so that a file system that hangs cannot silence both: one looks at the main thread
 * and touches no file, the other writes the heartbeat and reads those of the others.
 */
#include "train/watch/watchdog.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "data/base/file.h"
#include "data/base/thread.h"
#include "train/host/crash.h"
#include "train/host/launcher.h"
#include "train/host/tell.h"
#include "train/watch/stall_report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const double LOOK = 1.0 / 20, BEAT = 1.0 / 4; /* parts of the limit */
static const double MIN_WAIT_S = 0.01, MAX_LOOK_S = 5;
enum { BACKTRACE_BYTES = 6000 };

struct lv_watchdog {
    lv_watchdog_options options;
    char host[LV_HEARTBEAT_TEXT];
    char *dir, *own_path; /* of heartbeats; NULL with one rank */
    pthread_t main_thread, look_thread, beat_thread;
    long main_tid;
    int64_t n_beats;    /* the beating thread's */
    lv_inquiry inquiry; /* its own, too */

    pthread_mutex_t lock; /* over all that follows */
    pthread_cond_t wake;
    bool look_started, beat_started;
    bool ending;
    lv_stillness seen;
    time_t since;         /* when the main thread was last seen to go on */
    double beat_silent_s; /* since the beating thread last ended a round */
};

/* What one thread tells the other. */
typedef struct {
    lv_stillness seen;
    time_t since;
} view;

static view look_up(lv_watchdog *w)
{
    pthread_mutex_lock(&w->lock);
    view v = {.seen = w->seen, .since = w->since};
    pthread_mutex_unlock(&w->lock);
    return v;
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
    bool goes_on = !w->ending;
    pthread_mutex_unlock(&w->lock);
    return goes_on;
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
            "goes on from the last checkpoint");
    lv_tell_pause();
    lv_launcher_outlive();
    _exit(1);
}

/* ---- the thread that looks at the main thread ---- */

static void report_own(const lv_watchdog *w, const view *v)
{
    char text[BACKTRACE_BYTES], since[LV_HEARTBEAT_TEXT], still[32], activity[LV_ACTIVITY_TEXT];
    lv_backtrace_of(text, sizeof text, w->main_thread, w->main_tid);
    clock_text(since, v->since);
    lv_tell("%s, without progress for %s, since %s; its main thread is in\n%s",
            lv_activity_text(activity, &v->seen.last.activity),
            lv_duration_words(still, v->seen.still_s), since, text);
}

/* Nobody can be asked. */
static void report_silence(const lv_watchdog *w, const view *v)
{
    char still[32];
    lv_tell("has waited %s for other ranks, and %s does not answer: its file system stalls",
            lv_duration_words(still, v->seen.still_s), w->dir);
}

static double look_s(const lv_watchdog *w)
{
    return fmin(LOOK * w->options.limit_s, MAX_LOOK_S);
}

/* What a look finds. */
typedef struct {
    view now;
    bool moved;     /* the main thread has gone on */
    double still_s; /* for how long it had not, before that */
    bool alone;     /* the other thread does not come back from the file system */
} sight;

static sight look(lv_watchdog *w)
{
    const lv_life_signs signs = lv_life_signs_now();
    sight s;
    pthread_mutex_lock(&w->lock);
    s.still_s = w->seen.still_s;
    s.moved = lv_stillness_look(&w->seen, &signs, 2 * look_s(w));
    w->since = s.moved ? time(NULL) : w->since;
    w->beat_silent_s += look_s(w);
    s.alone = w->beat_started && w->beat_silent_s >= w->options.limit_s;
    s.now = (view){.seen = w->seen, .since = w->since};
    pthread_mutex_unlock(&w->lock);
    return s;
}

static void *look_on(void *context)
{
    lv_watchdog *w = context;
    const double limit_s = w->options.limit_s;
    bool told = false;
    while (wait_s(w, look_s(w))) {
        const sight s = look(w);
        const lv_stillness *seen = &s.now.seen;
        char still[32];
        if (s.moved && told) {
            lv_tell("goes on, after %s", lv_duration_words(still, s.still_s));
        }
        told = told && !s.moved;
        if (told || seen->still_s < limit_s) {
            continue;
        }
        if (!seen->last.activity.waiting) {
            report_own(w, &s.now);
        } else if (s.alone && seen->still_s >= 2 * limit_s) {
            report_silence(w, &s.now);
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

/* ---- the thread that keeps up the heartbeat and reads those of the others ---- */

static int beat(lv_watchdog *w, const view *v)
{
    lv_heartbeat own = {
        .n_beats = ++w->n_beats, .n_moves = v->seen.n_moves, .activity = v->seen.last.activity};
    memcpy(own.host, w->host, sizeof own.host);
    clock_text(own.since, v->since);
    return lv_heartbeat_write(w->own_path, &own);
}

static void *beat_on(void *context)
{
    lv_watchdog *w = context;
    while (wait_s(w, BEAT * w->options.limit_s)) {
        view v = look_up(w);
        beat(w, &v); /* if it fails the others miss it, and nobody asks unless they wait */
        bool stalled = lv_inquiry_continue(&w->inquiry, &v.seen);
        if (stalled && w->options.stop) {
            if (w->inquiry.told) {
                end_job();
            }
            lv_launcher_outlive(); /* another has told; this host may be cut off */
            _exit(1);
        }
        pthread_mutex_lock(&w->lock);
        w->beat_silent_s = 0;
        pthread_mutex_unlock(&w->lock);
    }
    lv_inquiry_close(&w->inquiry);
    return NULL;
}

/* ---- the beginning and the end ---- */

static int create(lv_watchdog **out, const lv_watchdog_options *options)
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
    w->seen.last = lv_life_signs_now();
    gethostname(w->host, sizeof w->host - 1);
    pthread_mutex_init(&w->lock, NULL); /* these cannot fail on Linux */
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out = w;
    return LV_OK;
}

/* Heartbeats of an earlier job go, then each rank's first is there before anyone reads. */
static int prepare_dir(lv_watchdog *w, const lv_comm *comm)
{
    int rc = LV_OK;
    w->dir = lv_path("%s/heartbeat", w->options.run_dir);
    w->own_path = lv_heartbeat_path(w->dir, comm->rank);
    w->inquiry = (lv_inquiry){
        .dir = w->dir, .rank = comm->rank, .n_ranks = comm->n_ranks, .limit_s = w->options.limit_s};
    if (comm->rank == 0) {
        rc = lv_dir_remove(w->dir);
        if (rc == LV_OK) rc = lv_dir_create(w->dir);
    }
    rc = lv_comm_agree(comm, rc);
    view v = look_up(w);
    return rc < 0 ? rc : lv_comm_agree(comm, beat(w, &v));
}

/* The lock is held, so that a thread that has begun finds all of it. */
static int start_threads(lv_watchdog *w)
{
    pthread_mutex_lock(&w->lock);
    int rc = lv_thread_start(&w->look_thread, look_on, w);
    w->look_started = rc == LV_OK;
    if (rc == LV_OK && w->dir) {
        rc = lv_thread_start(&w->beat_thread, beat_on, w);
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
    int rc = lv_comm_agree(comm, create(&w, options));
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
    if (w->look_started) {
        pthread_join(w->look_thread, NULL);
    }
    if (w->beat_started) {
        pthread_join(w->beat_thread, NULL);
    }
    if (w->dir) {
        unlink(w->own_path);
        rmdir(w->dir); /* who is the last */
    }
    free(w->own_path);
    free(w->dir);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
    *watchdog = NULL;
}
