/* SPDX-License-Identifier: Apache-2.0 */
#include "train/exchange.h"

#include "autograd/error.h"
#include "data/thread.h"
#include "train/activity.h"
#include "train/comm_internal.h"
#include "train/exchange_flight.h"
#include "train/progress.h"

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

/* Gradients go in the order in which a backward pass is done with them, from the last flat element
 * that is read in bf16 to the first, then what is read in f32; weights the other way round, as a
 * forward pass needs them. So position p of a move is bucket order[p] or order[n - 1 - p]. */
struct lv_exchange {
    lv_route route;
    lv_exchange_options options;
    int64_t *order;    /* [n_buckets] */
    int64_t *position; /* [n_buckets]: the inverse */
    int *n_open;       /* [n_buckets]: parameters whose gradients may still change */
    int *n_params;     /* [n_buckets]: of which it has elements */
    bool *landed;      /* [n_buckets], by position in the move */
    lv_touched_rows rows;
    lv_flight flights[N_FLIGHTS];
    int64_t n_buckets;
    double waited_s;
    bool grads_begun; /* of this step some travel already */

    /* One move at a time. The thread that moves writes n_started, landed and n_landed, the main
     * thread n_ready. */
    lv_move move;
    int64_t n_started;
    _Atomic int64_t n_ready;  /* positions that may start */
    _Atomic bool rows_final;  /* no more are touched: a move of gradients may unite them */
    _Atomic int64_t n_landed; /* positions below it have landed */
    _Atomic bool awaited;     /* the main thread does nothing but wait */

    bool threaded;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* of what follows, and of n_landed */
    bool moving, quit;
    _Atomic int rc; /* of the moves so far */
    char message[MESSAGE_BYTES];
};

/* ---- moving ---- */

static int64_t bucket_at(const lv_exchange *x, int64_t position)
{
    return x->order[x->move == LV_MOVE_GRADS ? position : x->n_buckets - 1 - position];
}

static int64_t position_of(const lv_exchange *x, int64_t bucket)
{
    const int64_t p = x->position[bucket];
    return x->move == LV_MOVE_GRADS ? p : x->n_buckets - 1 - p;
}

static bool may_start(const lv_exchange *x)
{
    return x->n_started < atomic_load(&x->n_ready) &&
           (x->move == LV_MOVE_WEIGHTS || x->rows.known ||
            !lv_touched_rows_concern(&x->rows,
                                     x->route.shard->buckets[bucket_at(x, x->n_started)]));
}

static int start_what_is_ready(lv_exchange *x, bool *happened)
{
    int rc = LV_OK;
    if (x->move == LV_MOVE_GRADS && atomic_load(&x->rows_final)) {
        rc = lv_touched_rows_unite(&x->rows, x->route.comm);
    }
    for (int f = 0; rc == LV_OK && f < N_FLIGHTS && may_start(x); f++) {
        if (!x->flights[f].flying) {
            rc = lv_flight_start(&x->flights[f], &x->route, x->move, bucket_at(x, x->n_started++));
            *happened = true;
        }
    }
    return rc;
}

static int land(lv_exchange *x, bool *happened)
{
    int64_t n_landed = atomic_load(&x->n_landed);
    int rc = LV_OK;
    for (int f = 0; rc == LV_OK && f < N_FLIGHTS; f++) {
        lv_flight *flight = &x->flights[f];
        bool landed = false;
        rc = flight->flying ? lv_flight_test(flight, &x->route, &landed) : LV_OK;
        if (landed) {
            x->landed[position_of(x, flight->bucket)] = true;
            *happened = true;
        }
    }
    while (n_landed < x->n_buckets && x->landed[n_landed]) {
        n_landed++;
    }
    atomic_store(&x->n_landed, n_landed);
    return rc;
}

/* *happened: something was started or landed. */
static int move_on(lv_exchange *x, bool *happened)
{
    *happened = false;
    int rc = start_what_is_ready(x, happened);
    return rc == LV_OK ? land(x, happened) : rc;
}

static bool is_over(const lv_exchange *x)
{
    return atomic_load(&x->n_landed) == x->n_buckets;
}

/* By the main thread, without another: all of it. */
static int move_all(lv_exchange *x)
{
    bool happened;
    int rc = LV_OK;
    while (rc == LV_OK && !is_over(x)) {
        rc = move_on(x, &happened);
        if (happened) {
            lv_activity_progress();
        }
    }
    return rc;
}

static void pause_between_looks(const lv_exchange *x)
{
    const struct timespec nap = {.tv_nsec = NAP_NS};
    if (atomic_load(&x->awaited)) {
        sched_yield();
    } else {
        nanosleep(&nap, NULL);
    }
}

static void tell(lv_exchange *x, int rc, bool moving)
{
    pthread_mutex_lock(&x->lock);
    x->moving = moving;
    if (rc < 0 && x->rc == LV_OK) {
        x->rc = rc;
        strncpy(x->message, lv_error_message(), MESSAGE_BYTES - 1);
    }
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->lock);
}

static void run_move(lv_exchange *x)
{
    int rc = LV_OK;
    while (rc == LV_OK && !is_over(x)) {
        bool happened;
        rc = move_on(x, &happened);
        if (happened && rc == LV_OK) {
            tell(x, LV_OK, true);
        } else {
            pause_between_looks(x);
        }
    }
    tell(x, rc, false);
}

static void *thread_main(void *argument)
{
    lv_exchange *x = argument;
    if (x->options.begin_thread) {
        x->options.begin_thread(x->options.thread_context);
    }
    pthread_mutex_lock(&x->lock);
    while (x->moving || !x->quit) { /* others wait for what has begun */
        if (!x->moving) {
            pthread_cond_wait(&x->changed, &x->lock);
            continue;
        }
        pthread_mutex_unlock(&x->lock);
        run_move(x);
        pthread_mutex_lock(&x->lock);
    }
    pthread_mutex_unlock(&x->lock);
    return NULL;
}

/* ---- the main thread's side ---- */

static void begin_move(lv_exchange *x, lv_move move, int64_t n_ready)
{
    LV_CHECK(is_over(x), "a move begins while another is under way");
    x->move = move;
    x->n_started = 0;
    memset(x->landed, 0, (size_t)x->n_buckets * sizeof *x->landed);
    atomic_store(&x->n_ready, n_ready);
    atomic_store(&x->n_landed, 0);
    if (x->threaded) {
        tell(x, LV_OK, true);
    }
}

/* Until the positions below n have landed, or something failed. */
static int wait_for(lv_exchange *x, int64_t n)
{
    if (atomic_load(&x->n_landed) >= n && x->rc == LV_OK) {
        return LV_OK;
    }
    const double begin_s = lv_clock_s();
    int rc = LV_OK;
    lv_activity_wait_begin();
    if (x->threaded) {
        pthread_mutex_lock(&x->lock);
        atomic_store(&x->awaited, true);
        while (x->moving && atomic_load(&x->n_landed) < n) {
            pthread_cond_wait(&x->changed, &x->lock);
            lv_activity_progress();
        }
        atomic_store(&x->awaited, false);
        rc = x->rc < 0 ? lv_fail(x->rc, "%s", x->message) : LV_OK;
        pthread_mutex_unlock(&x->lock);
    } else {
        rc = move_all(x);
    }
    lv_activity_wait_end();
    x->waited_s += lv_clock_s() - begin_s;
    return rc;
}

/* The thread has left the move too, so that another may begin. */
static int wait_for_all(lv_exchange *x)
{
    int rc = wait_for(x, x->n_buckets);
    if (x->threaded) {
        pthread_mutex_lock(&x->lock);
        while (x->moving) {
            pthread_cond_wait(&x->changed, &x->lock);
        }
        pthread_mutex_unlock(&x->lock);
    }
    return rc;
}

static int64_t last_element(const lv_tensor *tensor, const lv_exchange *x)
{
    const lv_real *grad = tensor->grad; /* parameters lie in it as among the flat elements */
    return grad - lv_params_flat_grad(x->route.params) + lv_tensor_count(tensor) - 1;
}

static int64_t first_element(const lv_tensor *tensor, const lv_exchange *x)
{
    return last_element(tensor, x) - lv_tensor_count(tensor) + 1;
}

/* A lv_tape_owner's await: the buckets of a parameter arrive in ascending order. */
static void await_weights(void *context, const lv_tensor *tensor)
{
    lv_exchange *x = context;
    if (x->move == LV_MOVE_WEIGHTS) {
        const int64_t bucket = lv_shard_bucket_of(x->route.shard, last_element(tensor, x));
        wait_for(x, position_of(x, bucket) + 1); /* lv_exchange_finish tells what failed */
    }
}

static void close_bucket(lv_exchange *x, int64_t bucket)
{
    int64_t n_ready = atomic_load(&x->n_ready);
    x->n_open[bucket]--;
    while (n_ready < x->n_buckets && x->n_open[x->order[n_ready]] == 0) {
        n_ready++;
    }
    atomic_store(&x->n_ready, n_ready);
}

static void close_param(lv_exchange *x, const lv_tensor *tensor)
{
    const int64_t last = lv_shard_bucket_of(x->route.shard, last_element(tensor, x));
    for (int64_t k = lv_shard_bucket_of(x->route.shard, first_element(tensor, x)); k <= last; k++) {
        close_bucket(x, k);
    }
}

/* The first of the step to travel; all may still change. */
static int begin_grads(lv_exchange *x)
{
    if (x->grads_begun) {
        return LV_OK;
    }
    int rc = wait_for_all(x);
    if (rc == LV_OK) {
        memcpy(x->n_open, x->n_params, (size_t)x->n_buckets * sizeof *x->n_open);
        begin_move(x, LV_MOVE_GRADS, 0);
        x->grads_begun = true;
    }
    return rc;
}

/* A lv_tape_owner's grad_done. One that got no gradient is cleared later, in lv_params_grad_end. */
static void grad_done(void *context, const lv_tensor *tensor)
{
    lv_exchange *x = context;
    if (!tensor->grad_begun) {
        return;
    }
    if (begin_grads(x) == LV_OK) { /* if not, lv_exchange_grads fails with the same */
        close_param(x, tensor);
    }
}

/* A lv_tape_owner's grad_rows. */
static void grad_rows(void *context, const lv_tensor *tensor, const int32_t *ids, int64_t n)
{
    lv_exchange *x = context;
    lv_touched_rows_mark(&x->rows, tensor, ids, n);
}

lv_tape_owner lv_exchange_owner(lv_exchange *exchange, bool last)
{
    lv_tape_owner owner = {.context = exchange};
    if (exchange->route.shard->n_ranks > 1) {
        owner.grad_rows = grad_rows;
    }
    if (exchange->threaded) {
        owner.await = await_weights;
        owner.grad_done = last ? grad_done : NULL;
    }
    return owner;
}

int lv_exchange_grads(lv_exchange *x)
{
    if (x->route.shard->n_ranks == 1) {
        return LV_OK;
    }
    int rc = begin_grads(x);
    x->grads_begun = false;
    atomic_store(&x->rows_final, true);
    atomic_store(&x->n_ready, x->n_buckets);
    rc = rc == LV_OK ? wait_for_all(x) : rc;
    atomic_store(&x->rows_final, false);
    lv_touched_rows_clear(&x->rows);
    return rc;
}

int lv_exchange_weights(lv_exchange *x)
{
    if (x->route.shard->n_ranks == 1) {
        return LV_OK;
    }
    begin_move(x, LV_MOVE_WEIGHTS, x->n_buckets);
    return x->threaded ? LV_OK : wait_for_all(x);
}

int lv_exchange_finish(lv_exchange *x)
{
    return x->route.shard->n_ranks == 1 ? LV_OK : wait_for_all(x);
}

double lv_exchange_waited_s(lv_exchange *x)
{
    const double waited_s = x->waited_s;
    x->waited_s = 0;
    return waited_s;
}

/* ---- the beginning and the end ---- */

bool lv_exchange_overlaps(const lv_exchange *x)
{
    return x->threaded;
}

int64_t lv_exchange_bytes(lv_params *params, lv_dtype wire)
{
    const lv_shard *shard = lv_params_shard(params);
    const int64_t n = shard->n_buckets < N_FLIGHTS ? shard->n_buckets : N_FLIGHTS;
    return shard->n_ranks > 1
               ? n * lv_flight_bytes(shard, wire, lv_touched_rows_param(params) != NULL)
               : 0;
}

static void put_in_order(lv_exchange *x)
{
    const lv_shard *shard = x->route.shard;
    int64_t n_bf16 = 0;
    lv_dtype dtype = LV_BF16;
    while (n_bf16 < x->n_buckets) {
        lv_params_read_at(x->route.params, shard->buckets[n_bf16].begin, &dtype);
        if (dtype != LV_BF16) {
            break;
        }
        n_bf16++;
    }
    for (int64_t p = 0; p < x->n_buckets; p++) {
        x->order[p] = p < n_bf16 ? n_bf16 - 1 - p : x->n_buckets - 1 - (p - n_bf16);
        x->position[x->order[p]] = p;
    }
}

static void count_params(lv_exchange *x)
{
    lv_params *params = x->route.params;
    for (size_t i = 0; i < lv_params_count(params); i++) {
        const lv_tensor *tensor = &lv_params_at(params, i)->tensor;
        if (!tensor->requires_grad) {
            continue;
        }
        const int64_t last = lv_shard_bucket_of(x->route.shard, last_element(tensor, x));
        for (int64_t k = lv_shard_bucket_of(x->route.shard, first_element(tensor, x)); k <= last;
             k++) {
            x->n_params[k]++;
        }
    }
}

static int create_buffers(lv_exchange *x)
{
    const size_t n = (size_t)x->n_buckets + 1;
    x->order = calloc(n, sizeof *x->order);
    x->position = calloc(n, sizeof *x->position);
    x->n_open = calloc(n, sizeof *x->n_open);
    x->n_params = calloc(n, sizeof *x->n_params);
    x->landed = calloc(n, sizeof *x->landed);
    if (!x->order || !x->position || !x->n_open || !x->n_params || !x->landed) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a list of %zu buckets", n);
    }
    int rc = lv_touched_rows_create(&x->rows, x->route.params);
    for (int f = 0; rc == LV_OK && f < N_FLIGHTS && f < x->n_buckets; f++) {
        rc = lv_flight_create(&x->flights[f], &x->route);
    }
    return rc;
}

static int start_thread(lv_exchange *x)
{
    int rc = lv_thread_start(&x->thread, thread_main, x);
    x->threaded = rc == LV_OK;
    return rc;
}

int lv_exchange_create(lv_exchange **out, const lv_comm *comm, lv_params *params,
                       const lv_exchange_options *options)
{
    lv_exchange *x = calloc(1, sizeof *x);
    LV_CHECK(x, "out of memory");
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->changed, NULL);
    x->options = *options;
    x->route = (lv_route){.params = params,
                          .shard = lv_params_shard(params),
                          .rows = &x->rows,
                          .comm = MPI_COMM_NULL,
                          .wire = options->wire};
    x->move = LV_MOVE_WEIGHTS; /* all of which have arrived */
    if (comm->n_ranks == 1) {
        *out = x;
        return LV_OK;
    }
    x->n_buckets = x->route.shard->n_buckets;
    atomic_store(&x->n_landed, x->n_buckets);
    int rc = create_buffers(x);
    if (rc == LV_OK) {
        put_in_order(x);
        count_params(x);
        rc = options->overlap && comm->any_thread ? start_thread(x) : LV_OK;
    }
    rc = lv_comm_agree(comm, rc);
    rc = rc == LV_OK ? lv_comm_checked(MPI_Comm_dup(MPI_COMM_WORLD, &x->route.comm), "MPI_Comm_dup")
                     : rc;
    if (rc < 0) {
        lv_exchange_destroy(&x);
        return rc;
    }
    *out = x;
    return LV_OK;
}

void lv_exchange_destroy(lv_exchange **exchange)
{
    lv_exchange *x = *exchange;
    if (!x) {
        return;
    }
    if (x->threaded) {
        pthread_mutex_lock(&x->lock);
        x->quit = true;
        pthread_cond_broadcast(&x->changed);
        pthread_mutex_unlock(&x->lock);
        pthread_join(x->thread, NULL);
    }
    for (int f = 0; f < N_FLIGHTS; f++) {
        lv_flight_destroy(&x->flights[f]);
    }
    lv_touched_rows_destroy(&x->rows);
    if (x->route.comm != MPI_COMM_NULL) {
        MPI_Comm_free(&x->route.comm);
    }
    pthread_cond_destroy(&x->changed);
    pthread_mutex_destroy(&x->lock);
    free(x->order);
    free(x->position);
    free(x->n_open);
    free(x->n_params);
    free(x->landed);
    free(x);
    *exchange = NULL;
}
