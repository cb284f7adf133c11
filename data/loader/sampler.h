/* SPDX-License-Identifier: Apache-2.0
 *
 * Which samples a step takes: a function of (seed, epoch, step) alone, nothing per rank. Sample ids
 * run through the packs in their order.
 *
 * Weights. A pack of n samples is an endless stream of passes over them, each pass in an order of
 * its own (seed, pack, pass) when shuffled. An epoch takes the next m = round(weight * n) samples
 * of it, at least one: of weight 2 all of them twice, of weight 0.5 one half, in the next epoch the
 * other. Over the epochs each sample of a pack comes equally often. The samples of all packs are
 * then shuffled together (seed, epoch); without shuffling they are taken pack by pack.
 *
 * group_by_modality_length, as in LLaVA: the epoch's samples with an image and those of text alone
 * are each shuffled and cut into megabatches of the global batch size, and each megabatch is
 * sorted by its number of words, longest first. The last megabatch of either kind, full or not, is
 * set aside; the others of both are shuffled and are a step each; the two that were set aside are
 * merged, sorted by id, and are the last step, or the last two. With one kind alone, its
 * megabatches are the steps, in their order. A pass of a pack then spreads its samples with an
 * image evenly over its length, so that a part of a pass holds its share of either kind, up to
 * rounding.
 * source LLaVA, llava_trainer.py: get_modality_length_grouped_indices
 */
#ifndef LV_DATA_LOADER_SAMPLER_H
#define LV_DATA_LOADER_SAMPLER_H

#include "data/pack/pack.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t n_samples;
    double weight;                  /* > 0 */
    const lv_sample_counts *counts; /* [n_samples], borrowed; of grouping alone */
} lv_sampler_pack;

typedef struct {
    const lv_sampler_pack *packs;
    int n_packs;
    int64_t global_batch_size;
    uint64_t seed;
    bool shuffle;
    bool group_by_modality_length; /* with shuffle */
} lv_sampler_options;

/* lv_sampler_epoch_samples: the sum of the packs' m. */
int64_t lv_sampler_epoch_samples(const lv_sampler_options *options);

/* lv_sampler_steps_per_epoch: ceil(lv_sampler_epoch_samples / global_batch_size); the last batch
 * has the rest. */
int64_t lv_sampler_steps_per_epoch(const lv_sampler_options *options);

typedef struct lv_sampler lv_sampler;

/* lv_sampler_create: no list of all samples is made; grouping keeps a bit of each.
 * in     options is copied, its array of packs too; the counts outlive the sampler
 * fails  LV_ERR_MEMORY; LV_ERR_UNSUPPORTED: grouping of a pack of more than 2^31 samples */
int lv_sampler_create(lv_sampler **out, const lv_sampler_options *options);
void lv_sampler_destroy(lv_sampler **sampler);

/* lv_sampler_batch: the ids of step s (0-based) of an epoch, into ids[global_batch_size] (no more
 * than lv_sampler_epoch_samples are written). From one thread at a time: the sampler has scratch.
 * returns how many. */
int64_t lv_sampler_batch(lv_sampler *sampler, int64_t epoch, int64_t step, int64_t *ids);

/* lv_sampler_hash: of ids in their order, for metrics ("samples_hash"): see hash.h. */
uint64_t lv_sampler_hash(const int64_t *ids, int64_t n);

#endif
