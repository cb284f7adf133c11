/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of a run, opened and checked from its configuration: model, packs, optimiser.
 */
#ifndef LV_TRAIN_SETUP_H
#define LV_TRAIN_SETUP_H

#include "data/loader/loader.h"
#include "train/cluster/comm.h"
#include "train/cluster/frozen_weights.h"
#include "train/cluster/threads.h"
#include "train/config/config.h"
#include "train/model/llava/llava.h"
#include "train/optimizer.h"

/* Packs, their samples numbered one after another. */
typedef struct {
    lv_pack *packs[LV_MAX_LIST];
    lv_sampler_pack sampled[LV_MAX_LIST]; /* the same, for the sampler */
    int n;
    int64_t n_samples;
} lv_pack_list;

typedef struct {
    lv_threads threads; /* lv_threads_start comes before lv_setup_open */
    lv_llava *model;
    lv_shared_copy frozen; /* the model's, if config->model.weights is not LV_WEIGHTS_MAP */
    lv_tape *tape;
    lv_optimizer *optimizer;
    lv_pack_list train_packs, val_packs;
    uint64_t data_fingerprint; /* of train_packs */
    int64_t n_tokenizer_ids;   /* of the language model's tokenizer, 0: it has none */
} lv_setup;

/* lv_setup_open: collective; start it with {0}, end it with lv_setup_close, also after a failure.
 * All ranks have the same frozen weights, trainable parameters and packs.
 * fails  on all ranks with the message of the first that failed, or the names of hosts whose files
 *        differ */
int lv_setup_open(lv_setup *setup, const lv_comm *comm, const lv_config *config);

/* lv_setup_open_plan: for a plan, by one process as rank 0 of n_ranks, of which none owns more: a
 * model without values, a dry tape, no optimiser; the packs if all exist.
 * out    no_pack: the first of data.packs that is missing, NULL: none; the config's
 * fails  as the run would: LV_ERR_CONFIG, LV_ERR_FORMAT, LV_ERR_IO, LV_ERR_MEMORY */
int lv_setup_open_plan(lv_setup *setup, const lv_config *config, int n_ranks, const char **no_pack);

void lv_setup_close(lv_setup *setup);

/* lv_setup_check_length: collective: counts the samples that data.max_length leaves without any
 * label; a message on rank 0 if there are any. Also looks for samples that the language model has
 * no rows for: more positions than max_position_embeddings, ids beyond its embedding; of a plan
 * lv_setup_open_plan does.
 * fails  LV_ERR_CONFIG if none has a label left, or naming such a sample; LV_ERR_IO,
 *        LV_ERR_FORMAT */
int lv_setup_check_length(const lv_setup *setup, const lv_comm *comm, const lv_config *config);

/* lv_setup_model: the model alone, as the configuration names it; for export.
 * in     config->train.trainable says which parameters lie in the flat buffers */
int lv_setup_model(lv_llava **out, const lv_config *config);

/* lv_setup_loader: options for a loader over packs, which outlive it; the caller sets the steps. */
lv_loader_options lv_setup_loader(const lv_setup *setup, const lv_comm *comm,
                                  const lv_config *config, const lv_pack_list *packs);

/* lv_setup_n_steps: of the whole run. */
int64_t lv_setup_n_steps(const lv_config *config, const lv_sampler_options *sampler);

/* lv_setup_print: threads, precision, samples, steps and parameters, for the log.
 * in     products: of lv_gemm_start */
void lv_setup_print(const lv_setup *setup, const lv_comm *comm, const lv_config *config,
                    const char *products);

#endif
