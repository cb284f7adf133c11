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

enum {
    N_FLIGHTS = 4,        /* buckets under way at once */
    NAP_NS = 1000 * 1000, /* between two looks while the main thread computes: its time, too */
    MESSAGE_BYTES = 512,
};

struct lv_mover {
    lv_route route;
    int64_t *order;    /* [n_buckets] position p is bucket order[p] or order[n_buckets - 1 - p] */
    int64_t *position; /* [n_buckets]: the inverse */
    bool *landed;      /* [n_buckets], by position in the move */
    lv_touched_rows rows;
    lv_flight flights[N_FLIGHTS];
    int64_t n_buckets;
    double waited_s;

    /* One move at a time. The thread that moves writes n_started, landed and n_landed, the main
     * thread n_ready and rows_closed. */
    lv_move move;
    int64_t n_started;
    _Atomic int64_t n_ready;  /* positions that may start */
    _Atomic bool rows_closed; /* no more are touched: a move of gradients may unite them */
    _Atomic int64_t n_landed; /* positions below it have landed */
    _Atomic bool awaited;     /* the main thread does nothing but wait */

    bool threaded;
    pthread_t thread;
    void (*begin_thread)(const void *context);
    const void *thread_context;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* of what follows, and of n_landed */
    bool moving, quit;
    _Atomic int rc; /* of the moves so far */
    char message[MESSAGE_BYTES];
};

/* ---- moving ---- */

int64_t lv_mover_bucket(const lv_mover *m, lv_move move, int64_t position)
{
    return m->order[move == LV_MOVE_GRADS ? position : m->n_buckets - 1 - position];
}

int64_t lv_mover_position(const lv_mover *m, lv_move move, int64_t bucket)
{
    const int64_t p = m->position[bucket];
    return move == LV_MOVE_GRADS ? p : m->n_buckets - 1 - p;
}

static bool may_start(const lv_mover *m)
{
    return m->n_started < atomic_load(&m->n_ready) &&
           (m->move == LV_MOVE_WEIGHTS || m->rows.known ||
            !lv_touched_rows_concern(
                &m->rows, m->route.shard->buckets[lv_mover_bucket(m, m->move, m->n_started)]));
}

static int start_what_is_ready(lv_mover *m, bool *happened)
{
    int rc = LV_OK;
    if (m->move == LV_MOVE_GRADS && atomic_load(&m->rows_closed)) {
        rc = lv_touched_rows_unite(&m->rows, m->route.comm);
    }
    for (int f = 0; rc == LV_OK && f < N_FLIGHTS && may_start(m); f++) {
        if (!m->flights[f].flying) {
            rc = lv_flight_start(&m->flights[f], &m->route, m->move,
                                 lv_mover_bucket(m, m->move, m->n_started++));
            *happened = true;
        }
    }
    return rc;
}

static int land(lv_mover *m, bool *happened)
{
    int64_t n_landed = atomic_load(&m->n_landed);
    int rc = LV_OK;
    for (int f = 0; rc == LV_OK && f < N_FLIGHTS; f++) {
        lv_flight *flight = &m->flights[f];
        bool landed = false;
        rc = flight->flying ? lv_flight_test(flight, &m->route, &landed) : LV_OK;
        if (landed) {
            m->landed[lv_mover_position(m, m->move, flight->bucket)] = true;
            *happened = true;
        }
    }
    while (n_landed < m->n_buckets && m->landed[n_landed]) {
        n_landed++;
    }
    atomic_store(&m->n_landed, n_landed);
    return rc;
}

/* *happened: something was started or landed. */
static int move_on(lv_mover *m, bool *happened)
{
    *happened = false;
    int rc = start_what_is_ready(m, happened);
    return rc < 0 ? rc : land(m, happened);
}

static bool is_over(const lv_mover *m)
{
    return atomic_load(&m->n_landed) == m->n_buckets;
}

/* By the main thread, without another: all of it. */
static int move_all(lv_mover *m)
{
    bool happened;
    int rc = LV_OK;
    while (rc == LV_OK && !is_over(m)) {
        rc = move_on(m, &happened);
        if (happened) {
            lv_activity_progress();
        }
    }
    return rc;
}

static void pause_between_looks(const lv_mover *m)
{
    const struct timespec nap = {.tv_nsec = NAP_NS};
    if (atomic_load(&m->awaited)) {
        sched_yield();
    } else {
        nanosleep(&nap, NULL);
    }
}

static void tell(lv_mover *m, int rc, bool moving)
{
    pthread_mutex_lock(&m->lock);
    m->moving = moving;
    if (rc < 0 && m->rc == LV_OK) {
        m->rc = rc;
        strncpy(m->message, lv_error_message(), MESSAGE_BYTES - 1);
    }
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

static void run_move(lv_mover *m)
{
    int rc = LV_OK;
    while (rc == LV_OK && !is_over(m)) {
        bool happened;
        rc = move_on(m, &happened);
        if (happened && rc == LV_OK) {
            tell(m, LV_OK, true);
        } else {
            pause_between_looks(m);
        }
    }
    tell(m, rc, false);
}

static void *thread_main(void *argument)
{
    lv_mover *m = argument;
    if (m->begin_thread) {
        m->begin_thread(m->thread_context);
    }
    pthread_mutex_lock(&m->lock);
    while (m->moving || !m->quit) { /* others wait for what has begun */
        if (!m->moving) {
            pthread_cond_wait(&m->changed, &m->lock);
            continue;
        }
        pthread_mutex_unlock(&m->lock);
        run_move(m);
        pthread_mutex_lock(&m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* ---- the main thread's side ---- */

void lv_mover_begin(lv_mover *m, lv_move move)
{
    LV_CHECK(is_over(m), "a move begins while another is under way");
    m->move = move;
    m->n_started = 0;
    memset(m->landed, 0, (size_t)m->n_buckets * sizeof *m->landed);
    atomic_store(&m->n_ready, 0);
    atomic_store(&m->n_landed, 0);
    if (m->threaded) {
        tell(m, LV_OK, true);
    }
}

void lv_mover_ready_set(lv_mover *m, int64_t n_ready)
{
    atomic_store(&m->n_ready, n_ready);
}

void lv_mover_rows_mark(lv_mover *m, const lv_tensor *tensor, const int32_t *ids, int64_t n)
{
    lv_touched_rows_mark(&m->rows, tensor, ids, n);
}

void lv_mover_rows_close(lv_mover *m)
{
    atomic_store(&m->rows_closed, true);
}

int lv_mover_wait(lv_mover *m, int64_t n)
{
    if (atomic_load(&m->n_landed) >= n && m->rc == LV_OK) {
        return LV_OK;
    }
    const double begin_s = lv_clock_s();
    int rc = LV_OK;
    lv_activity_wait_begin();
    if (m->threaded) {
        pthread_mutex_lock(&m->lock);
        atomic_store(&m->awaited, true);
        while (m->moving && atomic_load(&m->n_landed) < n) {
            pthread_cond_wait(&m->changed, &m->lock);
            lv_activity_progress();
        }
        atomic_store(&m->awaited, false);
        rc = m->rc < 0 ? lv_fail(m->rc, "%s", m->message) : LV_OK;
        pthread_mutex_unlock(&m->lock);
    } else {
        rc = move_all(m);
    }
    lv_activity_wait_end();
    m->waited_s += lv_clock_s() - begin_s;
    return rc;
}

int lv_mover_wait_all(lv_mover *m)
{
    int rc = lv_mover_wait(m, m->n_buckets);
    if (m->threaded) {
        pthread_mutex_lock(&m->lock);
        while (m->moving) {
            pthread_cond_wait(&m->changed, &m->lock);
        }
        pthread_mutex_unlock(&m->lock);
    }
    if (atomic_exchange(&m->rows_closed, false)) {
        lv_touched_rows_clear(&m->rows); /* for the next step */
    }
    return rc;
}

double lv_mover_waited_s(lv_mover *m)
{
    const double waited_s = m->waited_s;
    m->waited_s = 0;
    return waited_s;
}

lv_move lv_mover_move(const lv_mover *m)
{
    return m->move;
}

bool lv_mover_is_threaded(const lv_mover *m)
{
    return m->threaded;
}

/* ---- the beginning and the end ---- */

int64_t lv_mover_bytes(lv_params *params, lv_dtype wire)
{
    const lv_shard *shard = lv_params_shard(params);
    const int64_t n = shard->n_buckets < N_FLIGHTS ? shard->n_buckets : N_FLIGHTS;
    return n * lv_flight_bytes(shard, wire, lv_touched_rows_param(params) != NULL);
}

static void put_in_order(lv_mover *m)
{
    const lv_shard *shard = m->route.shard;
    int64_t n_bf16 = 0;
    lv_dtype dtype = LV_BF16;
    while (n_bf16 < m->n_buckets) {
        lv_params_read_at(m->route.params, shard->buckets[n_bf16].begin, &dtype);
        if (dtype != LV_BF16) {
            break;
        }
        n_bf16++;
    }
    for (int64_t p = 0; p < m->n_buckets; p++) {
        m->order[p] = p < n_bf16 ? n_bf16 - 1 - p : m->n_buckets - 1 - (p - n_bf16);
        m->position[m->order[p]] = p;
    }
}

static int create_buffers(lv_mover *m)
{
    const size_t n = (size_t)m->n_buckets + 1;
    m->order = calloc(n, sizeof *m->order);
    m->position = calloc(n, sizeof *m->position);
    m->landed = calloc(n, sizeof *m->landed);
    if (!m->order || !m->position || !m->landed) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a list of %zu buckets", n);
    }
    int rc = lv_touched_rows_create(&m->rows, m->route.params);
    for (int f = 0; rc == LV_OK && f < N_FLIGHTS && f < m->n_buckets; f++) {
        rc = lv_flight_create(&m->flights[f], &m->route);
    }
    return rc;
}

static int start_thread(lv_mover *m)
{
    int rc = lv_thread_start(&m->thread, thread_main, m);
    m->threaded = rc == LV_OK;
    return rc;
}

int lv_mover_create(lv_mover **out, const lv_comm *comm, lv_params *params,
                    const lv_exchange_options *options)
{
    lv_mover *m = calloc(1, sizeof *m);
    LV_CHECK(m, "out of memory");
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    m->begin_thread = options->begin_thread;
    m->thread_context = options->thread_context;
    m->route = (lv_route){.params = params,
                          .shard = lv_params_shard(params),
                          .rows = &m->rows,
                          .comm = MPI_COMM_NULL,
                          .wire = options->wire};
    m->move = LV_MOVE_WEIGHTS; /* all of which have arrived */
    m->n_buckets = m->route.shard->n_buckets;
    atomic_store(&m->n_landed, m->n_buckets);
    int rc = create_buffers(m);
    if (rc == LV_OK) {
        put_in_order(m);
        rc = options->overlap && comm->any_thread ? start_thread(m) : LV_OK;
    }
    rc = lv_comm_agree(comm, rc);
    if (rc == LV_OK) {
        rc = lv_comm_checked(MPI_Comm_dup(MPI_COMM_WORLD, &m->route.comm), "MPI_Comm_dup");
    }
    if (rc < 0) {
        lv_mover_destroy(&m);
        return rc;
    }
    *out = m;
    return LV_OK;
}

void lv_mover_destroy(lv_mover **mover)
{
    lv_mover *m = *mover;
    if (!m) {
        return;
    }
    if (m->threaded) {
        pthread_mutex_lock(&m->lock);
        m->quit = true;
        pthread_cond_broadcast(&m->changed);
        pthread_mutex_unlock(&m->lock);
        pthread_join(m->thread, NULL);
    }
    for (int f = 0; f < N_FLIGHTS; f++) {
        lv_flight_destroy(&m->flights[f]);
    }
    lv_touched_rows_destroy(&m->rows);
    if (m->route.comm != MPI_COMM_NULL) {
        MPI_Comm_free(&m->route.comm);
    }
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    free(m->order);
    free(m->position);
    free(m->landed);
    free(m);
    *mover = NULL;
}
