/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers claim micro-batches in the order in which they will be used, build each one without the
 * lock, and leave it in its slot; the consumer takes them from the slots in order. The steps are
 * in a ring. The worker that finds everything planned claimed plans the next step.
 */
#include "data/loader/loader.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "data/base/thread.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* One micro-batch, from its claim to its use. */
typedef struct {
    bool ready; /* or failed */
    lv_batch batch;
    int64_t n_bytes; /* counted as ahead: a bound of what it will need, then what it has */
} loader_slot;

typedef struct {
    lv_step_head head;
    lv_plan plan;
    loader_slot *slots; /* [plan.n_micro_batches] */
} loader_step;

struct lv_loader {
    lv_loader_options options; /* packs is a copy, sampler.packs NULL */
    lv_sampler *sampler;       /* under the lock: it has scratch */
    int64_t steps_per_epoch;
    int n_threads;
    pthread_t *threads;
    int64_t *ids, *length; /* scratch of the planning: one global batch */

    pthread_mutex_t lock; /* of all members below */
    pthread_cond_t claimable, ready;
    loader_step *ring; /* step s, use_step <= s < n_planned, is ring[s % n_ring] */
    int64_t n_ring;
    int64_t n_planned;              /* the first step that is not planned */
    int64_t claim_step, claim_slot; /* the first micro-batch that is not claimed */
    int64_t use_step, use_slot;     /* the next to use; first_step - 1 before the first step */
    int64_t ahead_bytes;            /* of batches claimed and not yet used */
    bool stop;
    lv_failure failure; /* the first in the order of use; with one nothing more is begun */
    int64_t failed_step, failed_slot; /* its place; slot -1: planning the step */

    lv_batch *borrowed; /* the consumer's alone */
    bool received;      /* the consumer has the failure */
};

/* Under the lock. */
static void note_failure(lv_loader *loader, int64_t step, int64_t slot, int rc)
{
    if (loader->failure.code == LV_OK || step < loader->failed_step ||
        (step == loader->failed_step && slot < loader->failed_slot)) {
        lv_failure_take(&loader->failure, rc);
        loader->failed_step = step;
        loader->failed_slot = slot;
    }
}

/* Under the lock. The consumer's failure if this is its place; everything before it succeeds. */
static int failure_at(lv_loader *loader, int64_t step, int64_t slot)
{
    loader->received =
        loader->received ||
        (loader->failure.code < 0 && loader->failed_step == step && loader->failed_slot == slot);
    return loader->received ? lv_failure_raise(&loader->failure) : LV_OK;
}

static loader_step *step_at(lv_loader *loader, int64_t s)
{
    return &loader->ring[s % loader->n_ring];
}

static void step_free(loader_step *step)
{
    for (int64_t i = 0; step->slots && i < step->plan.n_micro_batches; i++) {
        lv_batch_free(&step->slots[i].batch);
    }
    free(step->slots);
    lv_plan_free(&step->plan);
    *step = (loader_step){0};
}

static const lv_sample_counts *sample_counts(const lv_loader_options *options, int64_t id)
{
    int64_t index;
    lv_pack *pack = lv_batch_locate(options->packs, options->n_packs, id, &index);
    return &lv_pack_counts(pack)[index];
}

static int64_t sample_length(const lv_loader_options *options, int64_t id)
{
    return lv_batch_length(sample_counts(options, id), options->vision.rows_per_image,
                           options->max_length);
}

/* An upper bound of lv_batch.n_bytes: images that the limit cuts away are counted too. */
static int64_t batch_bytes_bound(const lv_loader_options *options, const int64_t *ids, int64_t n)
{
    const int64_t size = options->vision.image_size;
    const int64_t image_bytes = 3 * size * size * (int64_t)sizeof(float);
    int64_t bytes = (2 * n + 1) * (int64_t)sizeof(int64_t);
    for (int64_t i = 0; i < n; i++) {
        int64_t pixel_bytes;
        bytes += 3 * (int64_t)sizeof(int32_t) * sample_length(options, ids[i]);
        if (__builtin_mul_overflow(image_bytes, sample_counts(options, ids[i])->n_images,
                                   &pixel_bytes) ||
            __builtin_add_overflow(bytes, pixel_bytes, &bytes)) {
            return INT64_MAX; /* building it will fail */
        }
    }
    return bytes;
}

static int fill_step(loader_step *step, lv_loader *loader, int64_t s)
{
    const lv_loader_options *options = &loader->options;
    lv_plan *plan = &step->plan;
    step->head.step = s;
    step->head.epoch = s / loader->steps_per_epoch;
    int64_t n = lv_sampler_batch(loader->sampler, step->head.epoch, s % loader->steps_per_epoch,
                                 loader->ids);
    for (int64_t i = 0; i < n; i++) {
        loader->length[i] = sample_length(options, loader->ids[i]);
    }
    int rc = lv_plan_make(plan, loader->ids, loader->length, n, options->rank, options->n_ranks,
                          options->micro_batch_tokens);
    if (rc != LV_OK) {
        return rc;
    }
    step->head.n_micro_batches = plan->n_micro_batches;
    step->head.n_global_samples = n;
    step->head.samples_hash = lv_sampler_hash(loader->ids, n);
    step->slots = calloc((size_t)plan->n_micro_batches + 1, sizeof *step->slots);
    if (!step->slots) {
        return lv_fail(LV_ERR_MEMORY, "no memory for %lld micro-batches",
                       (long long)plan->n_micro_batches);
    }
    for (int64_t i = 0; i < plan->n_micro_batches; i++) {
        const int64_t *start = &plan->micro_start[i];
        step->slots[i].n_bytes =
            batch_bytes_bound(options, plan->sample_ids + start[0], start[1] - start[0]);
    }
    return LV_OK;
}

/* Under the lock; everything planned is claimed, and the ring has room. */
static void plan_next_step(lv_loader *loader)
{
    loader_step *step = step_at(loader, loader->n_planned);
    int rc = fill_step(step, loader, loader->n_planned);
    if (rc < 0) {
        note_failure(loader, loader->n_planned, -1, rc);
    } else if (step->plan.n_micro_batches == 0) {
        loader->claim_step++;
    }
    loader->n_planned++;
    pthread_cond_signal(&loader->ready);
}

/* claim: the next micro-batch to build; waits while enough is ahead. Under the lock.
 * out    *index: its place in the step
 * returns its step, NULL when nothing is left to do */
static loader_step *claim(lv_loader *loader, int64_t *index)
{
    const lv_loader_options *options = &loader->options;
    while (!loader->stop && loader->failure.code == LV_OK &&
           loader->claim_step < options->n_steps) {
        if (loader->claim_step < loader->n_planned) {
            loader_step *step = step_at(loader, loader->claim_step);
            const loader_slot *slot = &step->slots[loader->claim_slot];
            /* With nothing ahead the consumer needs this one next: it may always be built. */
            if (loader->ahead_bytes == 0 ||
                slot->n_bytes <= options->ahead_bytes - loader->ahead_bytes) {
                loader->ahead_bytes += slot->n_bytes;
                *index = loader->claim_slot++;
                if (loader->claim_slot == step->plan.n_micro_batches) {
                    loader->claim_step++;
                    loader->claim_slot = 0;
                }
                return step;
            }
        } else if (loader->n_planned < loader->use_step + loader->n_ring) {
            plan_next_step(loader);
            continue;
        }
        pthread_cond_wait(&loader->claimable, &loader->lock);
    }
    return NULL;
}

static void *work(void *context)
{
    lv_loader *loader = context;
    const lv_loader_options *options = &loader->options;
    loader_step *step;
    int64_t i;
    pthread_mutex_lock(&loader->lock);
    while ((step = claim(loader, &i)) != NULL) {
        const lv_plan *plan = &step->plan;
        loader_slot *slot = &step->slots[i];
        const int64_t *ids = plan->sample_ids + plan->micro_start[i];
        int n = (int)(plan->micro_start[i + 1] - plan->micro_start[i]);
        pthread_mutex_unlock(&loader->lock);

        lv_batch batch = {0};
        int rc = lv_batch_read(&batch, options->packs, options->n_packs, ids, n, &options->vision,
                               options->max_length);

        pthread_mutex_lock(&loader->lock);
        slot->ready = true;
        slot->batch = batch;
        if (rc == LV_OK) {
            loader->ahead_bytes -= slot->n_bytes - (int64_t)batch.n_bytes;
            slot->n_bytes = (int64_t)batch.n_bytes;
        } else {
            note_failure(loader, step->head.step, i, rc);
        }
        pthread_cond_signal(&loader->ready);
        pthread_cond_broadcast(&loader->claimable);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

static int start_threads(lv_loader *loader)
{
    while (loader->n_threads < loader->options.n_workers) {
        int rc = lv_thread_start(&loader->threads[loader->n_threads], work, loader);
        if (rc < 0) {
            return lv_fail_within("%d threads to read ahead", loader->options.n_workers);
        }
        loader->n_threads++;
    }
    return LV_OK;
}

static int check_packs(const lv_loader_options *options)
{
    LV_CHECK(options->sampler.n_packs == options->n_packs, "a sampler of %d packs, %d packs",
             options->sampler.n_packs, options->n_packs);
    for (int p = 0; p < options->n_packs; p++) {
        const lv_pack *pack = options->packs[p];
        const lv_sample_counts *counts = lv_pack_counts(pack);
        int64_t n = lv_pack_n_samples(pack), n_images = 0;
        LV_CHECK(options->sampler.packs[p].n_samples == n, "pack %d: %lld samples of %lld", p,
                 (long long)options->sampler.packs[p].n_samples, (long long)n);
        for (int64_t i = 0; i < n; i++) {
            n_images += counts[i].n_images;
        }
        if (n_images > 0 && lv_batch_check_pack(pack, &options->vision) != LV_OK) {
            return lv_fail_within("pack %s", lv_pack_dir(pack));
        }
    }
    return LV_OK;
}

static int check_steps(const lv_loader_options *options)
{
    const int64_t n = lv_sampler_epoch_samples(&options->sampler);
    int64_t n_epochs, n_all;
    if (n < 1) {
        return lv_fail(LV_ERR_CONFIG, "there is no sample in the packs (%d)", options->n_packs);
    }
    n_epochs = options->n_steps / lv_sampler_steps_per_epoch(&options->sampler) + 2;
    if (__builtin_mul_overflow(n_epochs, n, &n_all)) {
        return lv_fail(LV_ERR_CONFIG, "%lld steps of %lld samples are more than can be counted",
                       (long long)options->n_steps, (long long)options->sampler.global_batch_size);
    }
    return LV_OK;
}

int64_t lv_loader_ring_steps(int n_workers)
{
    return 2 * (int64_t)n_workers + 2;
}

static int allocate_loader(lv_loader *loader)
{
    const lv_loader_options *options = &loader->options;
    const int64_t n_epoch = lv_sampler_epoch_samples(&options->sampler);
    const int64_t size = options->sampler.global_batch_size;
    size_t n = (size_t)(size < n_epoch ? size : n_epoch);
    size_t n_workers = (size_t)options->n_workers;
    loader->n_ring = lv_loader_ring_steps(options->n_workers);
    loader->ring = calloc((size_t)loader->n_ring, sizeof *loader->ring);
    loader->threads = calloc(n_workers, sizeof *loader->threads);
    loader->ids = calloc(n, sizeof *loader->ids);
    loader->length = calloc(n, sizeof *loader->length);
    loader->steps_per_epoch = lv_sampler_steps_per_epoch(&options->sampler);
    if (!loader->ring || !loader->threads || !loader->ids || !loader->length) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a loader of global batches of %zu", n);
    }
    return lv_sampler_create(&loader->sampler, &options->sampler);
}

int lv_loader_create(lv_loader **out, const lv_loader_options *options)
{
    LV_CHECK(options->n_workers >= 1 && options->first_step >= 0, "%d workers, first step %lld",
             options->n_workers, (long long)options->first_step);
    int rc = check_packs(options);
    if (rc == LV_OK) rc = check_steps(options);
    if (rc != LV_OK) {
        return rc;
    }
    lv_loader *loader = calloc(1, sizeof *loader);
    lv_pack **packs = calloc((size_t)options->n_packs, sizeof *packs);
    if (!loader || !packs) {
        free(loader);
        free(packs);
        return lv_fail(LV_ERR_MEMORY, "no memory for a loader");
    }
    memcpy(packs, options->packs, (size_t)options->n_packs * sizeof *packs);
    loader->options = *options;
    loader->options.packs = packs;
    loader->n_planned = loader->claim_step = options->first_step;
    loader->use_step = options->first_step - 1;
    pthread_mutex_init(&loader->lock, NULL); /* these three cannot fail on Linux */
    pthread_cond_init(&loader->claimable, NULL);
    pthread_cond_init(&loader->ready, NULL);
    rc = allocate_loader(loader);
    loader->options.sampler.packs = NULL;
    if (rc != LV_OK) {
        goto fail;
    }
    rc = start_threads(loader);
    if (rc != LV_OK) {
        goto fail;
    }
    *out = loader;
    return LV_OK;
fail:
    lv_loader_destroy(&loader);
    return rc;
}

void lv_loader_destroy(lv_loader **loader_ptr)
{
    lv_loader *loader = *loader_ptr;
    if (!loader) {
        return;
    }
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_broadcast(&loader->claimable);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->n_threads; i++) {
        pthread_join(loader->threads[i], NULL);
    }
    for (int64_t i = 0; loader->ring && i < loader->n_ring; i++) {
        step_free(&loader->ring[i]);
    }
    pthread_mutex_destroy(&loader->lock);
    pthread_cond_destroy(&loader->claimable);
    pthread_cond_destroy(&loader->ready);
    lv_sampler_destroy(&loader->sampler);
    free(loader->ring);
    free(loader->threads);
    free(loader->ids);
    free(loader->length);
    free(loader->options.packs);
    free(loader);
    *loader_ptr = NULL;
}

static void give_back(lv_loader *loader)
{
    if (loader->borrowed) {
        lv_batch_free(loader->borrowed);
        loader->borrowed = NULL;
    }
}

int lv_loader_next_step(lv_loader *loader, lv_step_head *head)
{
    int result = 1;
    give_back(loader);
    if (loader->received) {
        return lv_failure_raise(&loader->failure);
    }
    pthread_mutex_lock(&loader->lock);
    int64_t s = loader->use_step + 1;
    if (s > loader->options.first_step) {
        loader_step *last = step_at(loader, loader->use_step);
        LV_CHECK(loader->use_slot == last->plan.n_micro_batches,
                 "%lld of the %lld micro-batches of step %lld were taken",
                 (long long)loader->use_slot, (long long)last->plan.n_micro_batches,
                 (long long)loader->use_step);
    }
    if (s >= loader->options.n_steps) {
        result = 0;
        goto done;
    }
    if (s > loader->options.first_step) {
        step_free(step_at(loader, loader->use_step));
    }
    loader->use_step = s;
    loader->use_slot = 0;
    pthread_cond_broadcast(&loader->claimable);
    while (loader->n_planned <= s) {
        pthread_cond_wait(&loader->ready, &loader->lock);
    }
    int rc = failure_at(loader, s, -1);
    if (rc < 0) {
        result = rc;
        goto done;
    }
    *head = step_at(loader, s)->head;
done:
    pthread_mutex_unlock(&loader->lock);
    return result;
}

int lv_loader_next_batch(lv_loader *loader, const lv_batch **batch, double *wait_s)
{
    const double begin_s = lv_clock_s();
    give_back(loader);
    if (loader->received) {
        return lv_failure_raise(&loader->failure);
    }
    pthread_mutex_lock(&loader->lock);
    LV_CHECK(loader->use_step >= loader->options.first_step, "there was no lv_loader_next_step");
    loader_step *step = step_at(loader, loader->use_step);
    LV_CHECK(loader->use_slot < step->plan.n_micro_batches, "step %lld has %lld micro-batches",
             (long long)loader->use_step, (long long)step->plan.n_micro_batches);
    loader_slot *slot = &step->slots[loader->use_slot];
    while (!slot->ready) {
        pthread_cond_wait(&loader->ready, &loader->lock);
    }
    int rc = failure_at(loader, loader->use_step, loader->use_slot);
    if (rc == LV_OK) {
        loader->use_slot++;
        loader->ahead_bytes -= slot->n_bytes;
        pthread_cond_broadcast(&loader->claimable);
    }
    pthread_mutex_unlock(&loader->lock);
    if (rc < 0) {
        return rc;
    }
    loader->borrowed = &slot->batch;
    *batch = &slot->batch;
    if (wait_s) {
        *wait_s = lv_clock_s() - begin_s;
    }
    return LV_OK;
}
