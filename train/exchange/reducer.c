/* SPDX-License-Identifier: Apache-2.0 */
#include "train/exchange/reducer.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "data/base/thread.h"
#include "train/cluster/comm.h"
#include "train/host/activity.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POLL_NS = 1000 * 1000 }; /* while the main thread computes: polling takes its time */

struct lv_reducer {
    lv_params *params;
    const lv_shard *shard;
    int64_t *order;    /* [n_buckets] position p is bucket order[p] or order[n_buckets - 1 - p] */
    int64_t *position; /* [n_buckets]: the inverse */
    bool *done;        /* [n_buckets], by position in the collective */
    lv_sparse_rows rows;
    lv_pending *pending;
    int64_t n_buckets;
    double waited_s;

    /* One collective at a time. The thread that runs it writes n_started, done and n_done, the main
     * thread n_ready and rows_closed. */
    lv_collective what;
    int64_t n_started;
    _Atomic int64_t n_ready;  /* positions that may start */
    _Atomic bool rows_closed; /* all rows are marked: a reduce-scatter may unite them */
    _Atomic int64_t n_done;   /* positions below it are done */
    _Atomic bool awaited;     /* the main thread does nothing but wait */

    bool threaded;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* of the fields below, and of n_done */
    bool running, quit;
    _Atomic bool failed; /* failure, the first of all collectives, is there */
    lv_failure failure;
};

/* ---- running a collective ---- */

int64_t lv_reducer_bucket(const lv_reducer *r, lv_collective what, int64_t position)
{
    return r->order[what == LV_REDUCE_SCATTER ? position : r->n_buckets - 1 - position];
}

int64_t lv_reducer_position(const lv_reducer *r, lv_collective what, int64_t bucket)
{
    const int64_t p = r->position[bucket];
    return what == LV_REDUCE_SCATTER ? p : r->n_buckets - 1 - p;
}

/* The next bucket, if it may start; -1: not yet. */
static int64_t next_ready(const lv_reducer *r)
{
    if (r->n_started >= atomic_load(&r->n_ready) || !lv_pending_has_room(r->pending)) {
        return -1;
    }
    const int64_t bucket = lv_reducer_bucket(r, r->what, r->n_started);
    return r->what == LV_ALL_GATHER || r->rows.complete ||
                   !lv_sparse_rows_overlap(&r->rows, r->shard->buckets[bucket])
               ? bucket
               : -1;
}

static int start_ready(lv_reducer *r, bool *progress)
{
    int rc = LV_OK;
    int64_t bucket;
    if (r->what == LV_REDUCE_SCATTER && atomic_load(&r->rows_closed)) {
        rc = lv_pending_unite_rows(r->pending);
    }
    while (rc == LV_OK && (bucket = next_ready(r)) >= 0) {
        rc = lv_pending_start(r->pending, r->what, bucket);
        r->n_started++;
        *progress = true;
    }
    return rc;
}

static int test_pending(lv_reducer *r, bool *progress)
{
    int64_t done[LV_MAX_PENDING], n_done = atomic_load(&r->n_done);
    int n;
    const int rc = lv_pending_test(r->pending, done, &n);
    for (int i = 0; i < n; i++) {
        r->done[lv_reducer_position(r, r->what, done[i])] = true;
        *progress = true;
    }
    while (n_done < r->n_buckets && r->done[n_done]) {
        n_done++;
    }
    atomic_store(&r->n_done, n_done);
    return rc;
}

/* *progress: a bucket was started or is done. */
static int poll_once(lv_reducer *r, bool *progress)
{
    *progress = false;
    int rc = start_ready(r, progress);
    return rc < 0 ? rc : test_pending(r, progress);
}

static bool is_complete(const lv_reducer *r)
{
    return atomic_load(&r->n_done) == r->n_buckets;
}

/* On the main thread, without another: all of it. */
static int run_here(lv_reducer *r)
{
    bool progress;
    int rc = LV_OK;
    while (rc == LV_OK && !is_complete(r)) {
        rc = poll_once(r, &progress);
        if (progress) {
            lv_activity_progress();
        }
    }
    return rc;
}

static void pause_polling(const lv_reducer *r)
{
    const struct timespec pause = {.tv_nsec = POLL_NS};
    if (atomic_load(&r->awaited)) {
        sched_yield();
    } else {
        nanosleep(&pause, NULL);
    }
}

static void publish_state(lv_reducer *r, int rc, bool running)
{
    pthread_mutex_lock(&r->lock);
    r->running = running;
    if (rc < 0 && !atomic_load(&r->failed)) {
        lv_failure_take(&r->failure, rc);
        atomic_store(&r->failed, true);
    }
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void run_on_thread(lv_reducer *r)
{
    int rc = LV_OK;
    while (rc == LV_OK && !is_complete(r)) {
        bool progress;
        rc = poll_once(r, &progress);
        if (progress && rc == LV_OK) {
            publish_state(r, LV_OK, true);
        } else {
            pause_polling(r);
        }
    }
    publish_state(r, rc, false);
}

static void *reducer_thread(void *argument)
{
    lv_reducer *r = argument;
    pthread_mutex_lock(&r->lock);
    while (r->running || !r->quit) { /* other ranks wait for a collective that has begun */
        if (!r->running) {
            pthread_cond_wait(&r->changed, &r->lock);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        run_on_thread(r);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- the main thread's side ---- */

void lv_reducer_begin(lv_reducer *r, lv_collective what)
{
    LV_CHECK(is_complete(r), "a collective begins before the last one is complete");
    r->what = what;
    r->n_started = 0;
    memset(r->done, 0, (size_t)r->n_buckets * sizeof *r->done);
    atomic_store(&r->n_ready, 0);
    atomic_store(&r->n_done, 0);
    if (r->threaded) {
        publish_state(r, LV_OK, true);
    }
}

void lv_reducer_ready_set(lv_reducer *r, int64_t n_ready)
{
    atomic_store(&r->n_ready, n_ready);
}

void lv_reducer_rows_mark(lv_reducer *r, const lv_tensor *tensor, const int32_t *ids, int64_t n)
{
    lv_sparse_rows_mark(&r->rows, tensor, ids, n);
}

void lv_reducer_rows_close(lv_reducer *r)
{
    atomic_store(&r->rows_closed, true);
}

static int wait_for_thread(lv_reducer *r, int64_t n)
{
    pthread_mutex_lock(&r->lock);
    atomic_store(&r->awaited, true);
    while (r->running && atomic_load(&r->n_done) < n) {
        pthread_cond_wait(&r->changed, &r->lock);
        lv_activity_progress();
    }
    atomic_store(&r->awaited, false);
    const int rc = lv_failure_raise(&r->failure);
    pthread_mutex_unlock(&r->lock);
    return rc;
}

int lv_reducer_wait(lv_reducer *r, int64_t n)
{
    if (atomic_load(&r->n_done) >= n && !atomic_load(&r->failed)) {
        return LV_OK;
    }
    const double begin_s = lv_clock_s();
    lv_activity_wait_begin();
    const int rc = r->threaded ? wait_for_thread(r, n) : run_here(r);
    lv_activity_wait_end();
    r->waited_s += lv_clock_s() - begin_s;
    return rc;
}

int lv_reducer_wait_all(lv_reducer *r)
{
    int rc = lv_reducer_wait(r, r->n_buckets);
    if (r->threaded) {
        pthread_mutex_lock(&r->lock);
        while (r->running) {
            pthread_cond_wait(&r->changed, &r->lock);
        }
        pthread_mutex_unlock(&r->lock);
    }
    if (atomic_exchange(&r->rows_closed, false)) {
        lv_sparse_rows_clear(&r->rows); /* for the next step */
    }
    return rc;
}

double lv_reducer_waited_s(lv_reducer *r)
{
    const double waited_s = r->waited_s;
    r->waited_s = 0;
    return waited_s;
}

lv_collective lv_reducer_current(const lv_reducer *r)
{
    return r->what;
}

bool lv_reducer_is_threaded(const lv_reducer *r)
{
    return r->threaded;
}

/* ---- the beginning and the end ---- */

static void order_buckets(lv_reducer *r)
{
    int64_t n_bf16 = 0;
    lv_dtype dtype = LV_BF16;
    while (n_bf16 < r->n_buckets) {
        lv_params_read_at(r->params, r->shard->buckets[n_bf16].begin, &dtype);
        if (dtype != LV_BF16) {
            break;
        }
        n_bf16++;
    }
    for (int64_t p = 0; p < r->n_buckets; p++) {
        r->order[p] = p < n_bf16 ? n_bf16 - 1 - p : r->n_buckets - 1 - (p - n_bf16);
        r->position[r->order[p]] = p;
    }
}

static int create_lists(lv_reducer *r)
{
    const size_t n = (size_t)r->n_buckets + 1;
    r->order = calloc(n, sizeof *r->order);
    r->position = calloc(n, sizeof *r->position);
    r->done = calloc(n, sizeof *r->done);
    if (!r->order || !r->position || !r->done) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a list of %zu buckets", n);
    }
    order_buckets(r);
    return lv_sparse_rows_create(&r->rows, r->params);
}

static int start_thread(lv_reducer *r)
{
    int rc = lv_thread_start(&r->thread, reducer_thread, r);
    r->threaded = rc == LV_OK;
    return rc;
}

int lv_reducer_create(lv_reducer **out, const lv_comm *comm, lv_params *params,
                      const lv_exchange_options *options)
{
    lv_reducer *r = calloc(1, sizeof *r);
    LV_CHECK(r, "out of memory");
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    r->params = params;
    r->shard = lv_params_shard(params);
    r->what = LV_ALL_GATHER; /* complete: all ranks have all weights */
    r->n_buckets = r->shard->n_buckets;
    atomic_store(&r->n_done, r->n_buckets);
    int rc = create_lists(r);
    if (rc == LV_OK && options->overlap && comm->any_thread) rc = start_thread(r);
    rc = lv_comm_agree(comm, rc);
    if (rc == LV_OK) rc = lv_pending_create(&r->pending, comm, params, &r->rows, options->wire);
    if (rc < 0) {
        lv_reducer_destroy(&r);
        return rc;
    }
    *out = r;
    return LV_OK;
}

void lv_reducer_destroy(lv_reducer **reducer)
{
    lv_reducer *r = *reducer;
    if (!r) {
        return;
    }
    if (r->threaded) {
        pthread_mutex_lock(&r->lock);
        r->quit = true;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
        pthread_join(r->thread, NULL);
    }
    lv_pending_destroy(&r->pending);
    lv_sparse_rows_destroy(&r->rows);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r->order);
    free(r->position);
    free(r->done);
    free(r);
    *reducer = NULL;
}
