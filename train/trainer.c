/* SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/parallel.h"
#include "data/base/clock.h"
#include "data/base/file.h"
#include "data/base/lock.h"
#include "data/json/json.h"
#include "train/checkpoint/checkpoint.h"
#include "train/checkpoint/dir.h"
#include "train/checkpoint/save.h"
#include "train/cluster/job.h"
#include "train/cluster/ranks_compare.h"
#include "train/exchange/exchange.h"
#include "train/host/activity.h"
#include "train/host/progress.h"
#include "train/host/stop.h"
#include "train/metrics.h"
#include "train/output.h"
#include "train/run_dir.h"
#include "train/setup.h"
#include "train/step.h"
#include "train/validate.h"
#include "train/watch/watchdog.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SKIPPED_IN_A_ROW = 3 };

typedef struct {
    const lv_comm *comm;
    const lv_config *config;
    lv_setup setup;
    lv_exchange *exchange;
    lv_loader *loader;
    lv_metrics *metrics; /* rank 0's */
    lv_schedule schedule;
    lv_train_state state;
    lv_saver *saver;
    lv_watchdog *watchdog;
    char *resumed_dir;    /* the checkpoint that the run resumed from; NULL: none */
    int64_t resumed_step; /* -1: none */
    double flop_per_s;    /* of all ranks in bf16, as measured */
    double checkpoint_s;  /* when the last one was begun */
    double longest_step_s;
    lv_step_profile *profile; /* NULL: not wanted, or printed */
    int lock;                 /* of run.dir, on rank 0; -1: none */
} trainer;

/* ---- between steps ---- */

/* Begins an activity that may take seconds, shown on the terminal. */
static void begin_activity(const trainer *t, lv_activity what)
{
    lv_activity_begin(what);
    if (t->comm->rank == 0) {
        lv_progress_show(false, "%s", lv_activity_name(&(lv_activity_state){.what = what}));
    }
}

static lv_run_identity identity_of(const trainer *t)
{
    return (lv_run_identity){.config = t->config->json,
                             .frozen_fingerprint = lv_llava_fingerprint(t->setup.model),
                             .data_fingerprint = t->setup.data_fingerprint};
}

/* Between two steps: do all ranks have the same weights, to the bit? */
static int compare_weights(const trainer *t)
{
    if (t->comm->n_ranks == 1) {
        return LV_OK;
    }
    int rc = lv_comm_agree(t->comm, lv_exchange_finish(t->exchange));
    return rc < 0 ? rc
                  : lv_ranks_compare(t->comm, lv_params_checksum(lv_llava_params(t->setup.model)),
                                     "the trainable weights",
                                     "a file was read wrongly there, or CPU or memory err");
}

/* in     last: wait for it, no step follows */
static int save_checkpoint(trainer *t, bool last)
{
    lv_run_identity identity = identity_of(t);
    begin_activity(t, LV_ACTIVITY_SAVING);
    t->checkpoint_s = lv_clock_s();
    int rc = compare_weights(t);
    if (rc == LV_OK) {
        const lv_moments moments = lv_optimizer_moments(t->setup.optimizer);
        rc = lv_saver_begin(t->saver, &t->state, &identity, lv_llava_params(t->setup.model),
                            &moments);
    }
    return rc == LV_OK && last ? lv_saver_finish(t->saver) : rc;
}

static int validate(trainer *t)
{
    double loss = 0, begin_s = lv_clock_s();
    int64_t n_supervised = 0;
    lv_loader_options options = lv_setup_loader(&t->setup, t->comm, t->config, &t->setup.val_packs);
    int rc = lv_comm_agree(t->comm, lv_exchange_finish(t->exchange));
    if (rc < 0) {
        return rc;
    }
    lv_activity_begin(LV_ACTIVITY_VALIDATING);
    rc = lv_validate(&loss, &n_supervised, t->setup.model, t->setup.tape, t->comm, &options);
    if (rc == LV_OK && t->metrics) {
        rc = lv_metrics_validation(t->metrics, t->state.step, loss, n_supervised,
                                   lv_clock_s() - begin_s);
    }
    return lv_comm_agree(t->comm, rc);
}

static int fail_diverged(trainer *t)
{
    /* Finish the save in progress; its failure must not hide the divergence. */
    lv_saver_finish(t->saver);
    int64_t step = lv_saver_last_step(t->saver);
    char *last_good =
        step < 0 ? lv_path("none was saved") : lv_checkpoint_path(t->config->run.dir, step);
    int rc = lv_fail(LV_ERR_DIVERGED,
                     "loss or gradient not finite in %" PRId64
                     " steps in a row, the last of them %" PRId64
                     "; the last good checkpoint: %s. Lower optim.lr, or look at the data of these "
                     "steps",
                     t->state.n_skipped_in_a_row, t->state.step, last_good);
    free(last_good);
    return rc;
}

/* After the agreed stop and its checkpoint. returns LV_ERR_STOPPED */
static int fail_stopped(const trainer *t)
{
    double time_left_s = lv_stop_time_left_s(); /* clocks may differ: the largest counts */
    char why[96] = "on request", left[32];
    int rc = lv_comm_max_double(t->comm, &time_left_s, 1);
    if (rc < 0) {
        return rc;
    }
    if (time_left_s == 0) {
        snprintf(why, sizeof why,
                 "after the end of the job by SLURM_JOB_END_TIME (unset one of an older job)");
    } else if (time_left_s > 0) {
        snprintf(why, sizeof why, "%s before the end of the job",
                 lv_duration_text(left, time_left_s));
    }
    return lv_fail(LV_ERR_STOPPED,
                   "stopped %s; the checkpoint of step %" PRId64
                   " is in %s/checkpoints, the same command goes on from it",
                   why, t->state.step, t->config->run.dir);
}

/* When a checkpoint is due by the clock; INFINITY: never. */
static double save_at_s(const trainer *t)
{
    const double minutes = t->config->checkpoint.every_minutes;
    return minutes > 0 ? t->checkpoint_s + 60 * minutes : INFINITY;
}

static bool is_every(int64_t every, int64_t step)
{
    return every > 0 && step % every == 0;
}

static int save_if_due(trainer *t, bool last, const lv_step_requests *requests)
{
    bool due = requests->save || is_every(t->config->checkpoint.every_steps, t->state.step);
    int rc = LV_OK;
    /* none that is merely due among steps that were skipped: it would count as a good one */
    if (last || requests->stop || (due && t->state.n_skipped_in_a_row == 0)) {
        rc = save_checkpoint(t, last || requests->stop);
    }
    return rc < 0 ? rc : lv_saver_poll(t->saver);
}

/* After a step. The first of the process warms up: memory is new to it, the threads start.
 * in     last: no step follows */
static int profile_step(trainer *t, bool *warm, bool last)
{
    if (!t->profile) {
        return LV_OK;
    }
    if (!*warm && !last) {
        *t->profile = (lv_step_profile){0};
        *warm = true;
        return LV_OK;
    }
    if (!last && t->profile->n_steps < LV_PROFILED_STEPS) {
        return LV_OK;
    }
    if (t->comm->rank == 0) {
        lv_progress_end();
    }
    int rc = lv_step_profile_print(t->profile, t->comm);
    t->profile = NULL;
    return rc;
}

static int run_steps(trainer *t)
{
    const lv_config *c = t->config;
    lv_step_parts parts = {.comm = t->comm,
                           .config = c,
                           .setup = &t->setup,
                           .exchange = t->exchange,
                           .loader = t->loader,
                           .metrics = t->metrics,
                           .schedule = t->schedule,
                           .flop_per_s = t->flop_per_s,
                           .profile = t->profile};
    bool warm = false;
    lv_step_requests requests;
    double begin_s = lv_clock_s();
    int rc;
    if (t->comm->rank == 0) {
        lv_stop_answer("saves after this step, then ends");
    }
    while ((rc = lv_step_run(&t->state, &requests, &parts, save_at_s(t))) > 0) {
        bool last = t->state.step == t->schedule.n_steps;
        if (last) {
            lv_progress_end(); /* the last step's line stays */
        }
        rc = profile_step(t, &warm, last || requests.stop);
        parts.profile = t->profile;
        if (rc < 0) {
            return rc;
        }
        bool nothing_learnt = last && t->state.n_updates == 0 && t->state.n_skipped_in_a_row > 0;
        if (t->state.n_skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW || nothing_learnt) {
            return fail_diverged(t);
        }
        if (is_every(c->train.val_every_steps, t->state.step) ||
            (last && c->train.val_every_steps > 0)) {
            rc = validate(t);
        }
        if (rc == LV_OK) rc = save_if_due(t, last, &requests);
        if (rc < 0) {
            return rc;
        }
        if (requests.stop && !last) {
            return fail_stopped(t);
        }
        t->longest_step_s = fmax(t->longest_step_s, lv_clock_s() - begin_s);
        begin_s = lv_clock_s();
        lv_stop_reserve(t->longest_step_s + lv_saver_longest_s(t->saver));
    }
    return rc;
}

/* ---- the beginning and the end ---- */

/* A resumed run may have another number of steps, with a message. */
static int check_length(const trainer *t)
{
    const int64_t before = t->state.n_steps, now = t->schedule.n_steps;
    if (t->state.step > now) {
        return lv_fail(LV_ERR_CONFIG,
                       "the checkpoint is at step %" PRId64 ", the run ends at %" PRId64
                       ": raise train.max_steps or epochs, or choose another run.dir",
                       t->state.step, now);
    }
    if (before > 0 && before != now && t->state.step < now && t->comm->rank == 0 &&
        t->schedule.kind != LV_SCHEDULE_CONSTANT) {
        lv_warn("the run was of %" PRId64 " steps and is of %" PRId64
                ": the learning rate goes on as in a run of %" PRId64,
                before, now, now);
    }
    return LV_OK;
}

/* A run of one step that is all warm-up: nothing would be learnt. A learning rate of 0 that the
 * config names is meant. */
static int check_learning(const trainer *t)
{
    const lv_config *c = t->config;
    if (t->state.step > 0 || t->schedule.n_steps != 1 || lv_schedule_factor(&t->schedule, 0) > 0 ||
        (c->optim.lr == 0 && c->optim.projector_lr <= 0)) {
        return LV_OK;
    }
    return lv_fail(LV_ERR_CONFIG,
                   "optim.warmup_ratio: %g of the only step of this run is its warm-up, whose "
                   "learning rate is 0: nothing would be learnt (%" PRId64
                   " samples, train.global_batch_size %" PRId64
                   "); lower train.global_batch_size, raise train.epochs, or set "
                   "optim.warmup_ratio=0",
                   c->optim.warmup_ratio, t->setup.train_packs.n_samples,
                   c->train.global_batch_size);
}

static int resume_from(trainer *t, const char *dir)
{
    lv_run_identity identity = identity_of(t);
    const lv_moments moments = lv_optimizer_moments(t->setup.optimizer);
    int rc = lv_checkpoint_load(t->comm, dir, &identity, &t->state, lv_llava_params(t->setup.model),
                                &moments);
    if (rc < 0) {
        return rc;
    }
    rc = lv_exchange_weights(t->exchange, NULL, NULL);
    if (rc < 0) {
        return rc;
    }
    t->resumed_step = t->state.step;
    t->resumed_dir = lv_path("%s", dir);
    if (t->comm->rank == 0) {
        printf("going on from %s%s\n", dir,
               t->state.step == t->schedule.n_steps ? ", the end of the run" : "");
    }
    return check_length(t);
}

static int resume(trainer *t, const char *how)
{
    char *dir = NULL;
    int rc = lv_checkpoint_choose(t->comm, t->config->run.dir, how, &dir);
    if (rc == LV_OK && dir) rc = resume_from(t, dir);
    free(dir);
    return rc;
}

static lv_schedule make_schedule(const trainer *t)
{
    const lv_loader_options options =
        lv_setup_loader(&t->setup, t->comm, t->config, &t->setup.train_packs);
    const int64_t n_steps = lv_setup_n_steps(t->config, &options.sampler);
    return (lv_schedule){.kind = t->config->optim.schedule,
                         .n_steps = n_steps,
                         .warmup_steps =
                             lv_schedule_warmup_steps(t->config->optim.warmup_ratio, n_steps)};
}

static int open_exchange(trainer *t)
{
    const lv_exchange_options options = {
        .wire = t->config->comm.wire_bf16 ? LV_BF16 : LV_F32,
        .overlap = t->config->comm.overlap,
    };
    int rc = lv_exchange_create(&t->exchange, t->comm, lv_llava_params(t->setup.model), &options);
    if (rc == LV_OK && t->comm->n_ranks > 1 && options.overlap &&
        !lv_exchange_overlaps(t->exchange) && t->comm->rank == 0) {
        lv_warn("comm.overlap: this MPI lets no other thread call it "
                "(MPI_THREAD_MULTIPLE): gradients are summed after the backward pass");
    }
    return rc;
}

static int open_loader(trainer *t)
{
    lv_loader_options options =
        lv_setup_loader(&t->setup, t->comm, t->config, &t->setup.train_packs);
    options.first_step = t->state.step;
    options.n_steps = t->schedule.n_steps;
    int rc = lv_loader_create(&t->loader, &options);
    return rc == LV_ERR_MEMORY ? lv_fail_within("data.workers %d", options.n_workers) : rc;
}

static int open_saver(trainer *t)
{
    const lv_saver_options options = {.comm = t->comm,
                                      .run_dir = t->config->run.dir,
                                      .keep = t->config->checkpoint.keep,
                                      .continue_on_error = !t->config->checkpoint.stop_on_error,
                                      .last = t->resumed_step};
    return lv_saver_create(&t->saver, &options);
}

/* run.dir/config.json, for users. */
static int write_config(const trainer *t)
{
    char *text = lv_json_print(t->config->json);
    char *path = lv_path("%s/config.json", t->config->run.dir);
    int rc = lv_file_write(path, text, strlen(text));
    free(path);
    free(text);
    return rc;
}

static int open_metrics(trainer *t)
{
    if (t->comm->rank != 0) {
        return LV_OK;
    }
    int rc = write_config(t);
    return rc < 0 ? rc
                  : lv_metrics_open(&t->metrics, t->config->run.dir, t->state.step,
                                    t->schedule.n_steps, t->config->log.every_steps,
                                    !t->config->checkpoint.stop_on_error);
}

/* From the last checkpoint, which has the shards of all ranks, after the memory of training was
 * freed. */
static int write_output(const trainer *t)
{
    char *checkpoint = t->resumed_step == t->state.step
                           ? lv_path("%s", t->resumed_dir)
                           : lv_checkpoint_path(t->config->run.dir, t->state.step);
    int rc = t->comm->rank == 0 ? lv_output_write(t->config, checkpoint) : LV_OK;
    free(checkpoint);
    return lv_comm_agree(t->comm, rc);
}

static int start_watchdog(trainer *t)
{
    const lv_watchdog_options options = {.run_dir = t->config->run.dir,
                                         .limit_s = 60 * t->config->comm.stall_minutes,
                                         .stop = t->config->comm.stop_on_stall};
    return lv_watchdog_start(&t->watchdog, t->comm, &options);
}

/* Makes run.dir and takes its lock, which the system releases when the process ends. */
static int lock_run_dir(trainer *t)
{
    int rc = lv_dir_create(t->config->run.dir);
    if (rc == LV_OK) rc = lv_lock_take(&t->lock, t->config->run.dir);
    return rc < 0 ? rc : lv_run_dir_check(t->config, t->comm->n_ranks);
}

/* Before the model: threads, agreement of the ranks, the lock of run.dir. */
static int begin_job(trainer *t, const char *how, const char *products)
{
    const lv_dtype wire = t->config->comm.wire_bf16 ? LV_BF16 : LV_F32;
    int rc =
        lv_comm_agree(t->comm, lv_stop_before_end(60 * t->config->checkpoint.before_end_minutes));
    if (rc == LV_OK) rc = lv_threads_start(&t->setup.threads, t->comm);
    if (rc == LV_OK) {
        rc = lv_job_start(t->comm, t->config->json, how, &t->setup.threads, products, wire);
    }
    if (rc == LV_OK && t->comm->rank == 0) rc = lock_run_dir(t);
    rc = lv_comm_agree(t->comm, rc < 0 ? rc : lv_checkpoint_check_named(how));
    return rc < 0 ? rc : start_watchdog(t);
}

static int open_setup(trainer *t, const char *products)
{
    begin_activity(t, LV_ACTIVITY_LOADING);
    int rc = lv_setup_open(&t->setup, t->comm, t->config);
    if (rc < 0) {
        return rc;
    }
    if (t->comm->rank == 0) {
        lv_progress_end();
        lv_setup_print(&t->setup, t->comm, t->config, products);
    }
    return lv_setup_check_length(&t->setup, t->comm, t->config);
}

static int begin_run(trainer *t, const char *how)
{
    const char *products = lv_gemm_start();
    if (t->comm->rank == 0) {
        lv_stop_answer("saves after the first step, then ends");
    }
    int rc = begin_job(t, how, products);
    if (rc == LV_OK) rc = open_setup(t, products);
    if (rc < 0) {
        return rc;
    }
    t->schedule = make_schedule(t);
    rc = open_exchange(t);
    if (rc == LV_OK) rc = resume(t, how);
    if (rc == LV_OK) rc = check_learning(t);
    if (rc == LV_OK) rc = compare_weights(t);
    t->state.n_steps = t->schedule.n_steps;
    if (rc == LV_OK) rc = lv_compute_rate(&t->flop_per_s, t->comm);
    if (rc == LV_OK) rc = lv_comm_agree(t->comm, open_saver(t));
    if (rc == LV_OK) rc = lv_comm_agree(t->comm, open_metrics(t));
    return rc < 0 ? rc : lv_comm_agree(t->comm, open_loader(t));
}

/* Frees the parts that only steps use. returns the first failure */
static int close_parts(trainer *t, int rc)
{
    lv_failure first;
    lv_failure_take(&first, rc);
    lv_saver_destroy(&t->saver);
    lv_loader_destroy(&t->loader);
    int close_rc = lv_metrics_close(&t->metrics);
    if (first.code < 0 && close_rc < 0) {
        lv_warn("%s", lv_error_message());
    }
    rc = first.code < 0 ? lv_failure_raise(&first) : lv_comm_agree(t->comm, close_rc);
    lv_exchange_destroy(&t->exchange);
    lv_setup_close(&t->setup);
    return rc;
}

int lv_train(const lv_comm *comm, const lv_config *config, const char *how, bool profile)
{
    lv_step_profile steps = {0};
    trainer t = {.comm = comm,
                 .config = config,
                 .profile = profile ? &steps : NULL,
                 .lock = -1,
                 .resumed_step = -1,
                 .checkpoint_s = lv_clock_s()};
    int rc = begin_run(&t, how);
    if (rc == LV_OK) rc = run_steps(&t);
    rc = close_parts(&t, rc);
    if (rc == LV_OK) {
        if (comm->rank == 0) {
            lv_stop_answer("the run is done, and ends when its output is written");
        }
        begin_activity(&t, LV_ACTIVITY_WRITING);
        lv_progress_end();
        rc = write_output(&t);
    }
    free(t.resumed_dir);
    lv_watchdog_stop(&t.watchdog);
    if (t.lock >= 0) {
        close(t.lock);
    }
    return rc;
}
