/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_loader: reads micro-batches ahead of their use, on threads of its own, in order.
 */
#ifndef LV_DATA_LOADER_LOADER_H
#define LV_DATA_LOADER_LOADER_H

#include "data/loader/batch.h"
#include "data/loader/plan.h"
#include "data/loader/sampler.h"

typedef struct lv_loader lv_loader;

typedef struct {
    lv_pack **packs; /* opened, the caller's; sample ids run through them in this order */
    int n_packs;
    lv_vision_input vision;
    int64_t max_length; /* rows, 0 = no limit */
    int64_t micro_batch_tokens;
    lv_sampler_options sampler; /* of the same packs, in this order */
    int rank, n_ranks;
    int n_workers;       /* >= 1 */
    int64_t ahead_bytes; /* bound of the batches waiting to be used; one micro-batch always may */
    int64_t first_step;  /* global step to begin with: epoch = step / steps_per_epoch */
    int64_t n_steps;     /* global step to end before */
} lv_loader_options;

/* lv_loader_create: start the threads, which leave signals to the caller's. options is copied
 * (its arrays too); the packs stay the caller's and outlive the loader.
 * fails  LV_ERR_CONFIG: no sample, a pack stores pixels of another size or aspect, or n_steps are
 *        more than can be counted; LV_ERR_MEMORY; as lv_sampler_create */
int lv_loader_create(lv_loader **out, const lv_loader_options *options);
void lv_loader_destroy(lv_loader **loader); /* at any time; joins the threads */

/* lv_loader_ring_steps: how many steps, including the one in use, may have batches in memory. */
int64_t lv_loader_ring_steps(int n_workers);

/* lv_step_head: the next step, before its data is there. */
typedef struct {
    int64_t step, epoch;
    int64_t n_micro_batches; /* of this rank; may be 0 */
    int64_t n_global_samples;
    uint64_t samples_hash;
} lv_step_head;

/* lv_loader_next_step: begin the next step, when all micro-batches of the last were taken.
 * returns 1, or 0 after the last, or an error. */
int lv_loader_next_step(lv_loader *loader, lv_step_head *head);

/* lv_loader_next_batch: the next micro-batch of the step, in order; waits for it. Borrowed until
 * the next call of either function. Called n_micro_batches times a step, no more and no less;
 * both functions from one thread only.
 * out    wait_s: seconds waited; may be NULL
 * fails  with the reader's error, naming pack, sample and image, in the place of the micro-batch
 *        that could not be read; every later call fails the same way */
int lv_loader_next_batch(lv_loader *loader, const lv_batch **batch, double *wait_s);

#endif
