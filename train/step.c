/* SPDX-License-Identifier: Apache-2.0 */
#include "train/step.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "optim/adamw.h"
#include "train/host/activity.h"
#include "train/host/memory.h"
#include "train/host/stop.h"
#include "train/validate.h"

#include <math.h>

/* Sums over ranks, as doubles: one reduction for all. */
enum { SUM_LOSS, SUM_SUPERVISED, SUM_TOKENS, SUM_UNLABELLED, SUM_FLOP, SUM_SQUARES, N_SUMS };
/* The largest of any rank. */
enum {
    MAX_DATA_WAIT,
    MAX_COMM_WAIT,
    MAX_RSS_ANON,
    MAX_RSS_FILE,
    MAX_RSS_SHMEM,
    MAX_STOP,
    MAX_SAVE,
    N_MAXIMA
};

static int64_t count_unlabelled_samples(const lv_batch *batch)
{
    int64_t n = 0;
    for (int i = 0; i < batch->n_samples; i++) {
        bool labelled = false;
        for (int64_t t = batch->seq_start[i]; t < batch->seq_start[i + 1]; t++) {
            labelled = labelled || batch->label[t] != LV_NO_LABEL;
        }
        n += !labelled;
    }
    return n;
}

/* This rank's micro-batches: gradients and sums. */
static int run_micro_batches(const lv_step_parts *p, int64_t n, double sums[N_SUMS], double *wait_s)
{
    lv_llava *model = p->setup->model;
    const lv_pack_list *packs = &p->setup->train_packs;
    for (int64_t i = 0; i < n; i++) {
        const lv_batch *batch;
        double loss_sum = 0, waited_s = 0, flop = lv_tape_flop(p->setup->tape);
        lv_activity_begin(LV_ACTIVITY_READING);
        lv_profile_part *before = lv_step_profile_enter(p->profile, LV_STEP_DATA, 0);
        int rc = lv_loader_next_batch(p->loader, &batch, &waited_s);
        lv_activity_begin(LV_ACTIVITY_COMPUTING);
        *wait_s += waited_s;
        if (rc == LV_OK) {
            rc = lv_batch_check_ids(batch, packs->packs, packs->n,
                                    lv_llava_config_of(model)->text.vocab_size);
        }
        lv_step_profile_leave(p->profile, before);
        if (rc < 0) {
            return rc;
        }
        const lv_tape_owner owner = lv_exchange_owner(p->exchange, i == n - 1);
        lv_tape_owner_set(p->setup->tape, &owner);
        lv_tape_reset(p->setup->tape);
        if (batch->n_supervised > 0) {
            lv_backward(p->setup->tape, lv_llava_loss(model, p->setup->tape, batch, &loss_sum));
        }
        sums[SUM_LOSS] += loss_sum;
        sums[SUM_SUPERVISED] += (double)batch->n_supervised;
        sums[SUM_TOKENS] += (double)batch->seq_start[batch->n_samples];
        sums[SUM_UNLABELLED] += (double)count_unlabelled_samples(batch);
        sums[SUM_FLOP] += lv_tape_flop(p->setup->tape) - flop;
    }
    return LV_OK;
}

/* Sums and maxima over ranks; afterwards all take the same decisions.
 * in     rc: of this rank's micro-batches; gradients are sent in any case, other ranks wait for them
 */
static int reduce(const lv_step_parts *p, int rc, double save_at_s, double sums[N_SUMS],
                  double maxima[N_MAXIMA])
{
    lv_params *params = lv_llava_params(p->setup->model);
    lv_profile_part *before = lv_step_profile_enter(p->profile, LV_STEP_EXCHANGE, 0);
    const int exchange_rc = lv_exchange_grads(p->exchange);
    const double grad_bytes = (double)lv_params_shard(params)->own_count * sizeof(lv_real);
    lv_profile_part *exchange = lv_step_profile_enter(p->profile, LV_STEP_NORM, grad_bytes);
    sums[SUM_SQUARES] = lv_optimizer_sum_squares(params);
    lv_step_profile_leave(p->profile, exchange);
    double begin_s = lv_clock_s();
    rc = lv_comm_agree(p->comm, rc < 0 ? rc : exchange_rc);
    if (rc == LV_OK) rc = lv_comm_sum_double(p->comm, sums, N_SUMS);
    maxima[MAX_COMM_WAIT] = lv_exchange_waited_s(p->exchange) + lv_clock_s() - begin_s;
    const lv_process_memory memory = lv_memory_now();
    maxima[MAX_RSS_ANON] = (double)memory.anon_bytes;
    maxima[MAX_RSS_FILE] = (double)memory.file_bytes;
    maxima[MAX_RSS_SHMEM] = (double)memory.shmem_bytes;
    maxima[MAX_STOP] = lv_stop_requested();
    maxima[MAX_SAVE] = lv_clock_s() >= save_at_s;
    if (rc == LV_OK) rc = lv_comm_max_double(p->comm, maxima, N_MAXIMA);
    lv_step_profile_leave(p->profile, before);
    return rc;
}

typedef struct {
    const lv_setup *setup;
    lv_step_profile *profile;
    lv_update how;
} bucket_update;

/* A lv_exchange_update. */
static void update_bucket(void *context, int64_t bucket)
{
    const bucket_update *u = context;
    lv_params *params = lv_llava_params(u->setup->model);
    lv_profile_part *before =
        lv_step_profile_enter(u->profile, LV_STEP_OPTIMIZER,
                              lv_optimizer_step_bytes(u->setup->optimizer, params, bucket));
    lv_optimizer_step(u->setup->optimizer, params, bucket, &u->how);
    lv_step_profile_leave(u->profile, before);
}

/* Applies the update if it is finite.
 * out    the step's loss, norm, lr, applied */
static int apply_update(lv_step_metrics *m, lv_train_state *state, const lv_step_parts *p,
                        const double sums[N_SUMS])
{
    int rc = LV_OK;
    double n = sums[SUM_SUPERVISED];
    double lr_factor = lv_schedule_factor(&p->schedule, state->step);
    m->loss = n > 0 ? sums[SUM_LOSS] / n : NAN;
    m->grad_norm = n > 0 ? sqrt(sums[SUM_SQUARES]) / n : 0;
    m->lr = lr_factor * p->config->optim.lr;
    m->applied = isfinite(m->loss) && isfinite(m->grad_norm);
    if (m->applied) {
        double clip = lv_clip_factor(m->grad_norm, p->config->optim.max_grad_norm);
        bucket_update u = {p->setup, p->profile, {lr_factor, clip / n, ++state->n_updates}};
        lv_profile_part *before = lv_step_profile_enter(p->profile, LV_STEP_EXCHANGE, 0);
        rc = lv_exchange_weights(p->exchange, update_bucket, &u);
        lv_step_profile_leave(p->profile, before);
    }
    /* a batch without any label, by the length limit, is no sign of divergence */
    state->n_skipped_in_a_row = m->applied || n == 0 ? 0 : state->n_skipped_in_a_row + 1;
    state->step++;
    return rc;
}

/* The loader's next step. returns 1 after a step, 0 at the end of the run */
static int run(lv_train_state *state, lv_step_requests *requests, const lv_step_parts *p,
               double save_at_s)
{
    lv_params *params = lv_llava_params(p->setup->model);
    double sums[N_SUMS] = {0}, maxima[N_MAXIMA] = {0};
    lv_step_head head;
    double begin_s = lv_clock_s();
    lv_activity_step_set(state->step + 1);
    lv_activity_begin(LV_ACTIVITY_READING);
    lv_profile_part *before = lv_step_profile_enter(p->profile, LV_STEP_DATA, 0);
    int rc = lv_comm_agree(p->comm, lv_loader_next_step(p->loader, &head));
    lv_step_profile_leave(p->profile, before);
    if (rc < 0 || state->step == p->schedule.n_steps) {
        return rc;
    }
    lv_activity_begin(LV_ACTIVITY_COMPUTING);
    lv_params_grad_begin(params);
    rc = run_micro_batches(p, head.n_micro_batches, sums, &maxima[MAX_DATA_WAIT]);
    lv_params_grad_end(params);
    rc = reduce(p, rc, save_at_s, sums, maxima);
    if (rc < 0) {
        return rc;
    }
    lv_step_metrics m = {.epoch = head.epoch,
                         .tokens = (int64_t)sums[SUM_TOKENS],
                         .supervised_tokens = (int64_t)sums[SUM_SUPERVISED],
                         .unlabelled_samples = (int64_t)sums[SUM_UNLABELLED],
                         .samples_hash = head.samples_hash,
                         .data_wait_s = maxima[MAX_DATA_WAIT],
                         .comm_wait_s = maxima[MAX_COMM_WAIT],
                         .rss_anon_bytes = (int64_t)maxima[MAX_RSS_ANON],
                         .rss_file_bytes = (int64_t)maxima[MAX_RSS_FILE],
                         .rss_shmem_bytes = (int64_t)maxima[MAX_RSS_SHMEM]};
    rc = apply_update(&m, state, p, sums);
    m.step = state->step;
    m.step_s = lv_clock_s() - begin_s;
    m.mfu = p->flop_per_s > 0 ? sums[SUM_FLOP] / (m.step_s * p->flop_per_s) : NAN;
    *requests = (lv_step_requests){.stop = maxima[MAX_STOP] > 0, .save = maxima[MAX_SAVE] > 0};
    before = lv_step_profile_enter(p->profile, LV_STEP_OUTPUT, 0);
    if (rc == LV_OK && p->metrics) {
        rc = lv_metrics_step(p->metrics, &m);
    }
    rc = lv_comm_agree(p->comm, rc);
    lv_step_profile_leave(p->profile, before);
    return rc < 0 ? rc : 1;
}

int lv_step_run(lv_train_state *state, lv_step_requests *requests, const lv_step_parts *p,
                double save_at_s)
{
    lv_step_profile_begin(p->profile, p->setup->tape, state->step + 1);
    const int rc = run(state, requests, p, save_at_s);
    lv_step_profile_end(p->profile, p->setup->tape);
    return rc;
}
