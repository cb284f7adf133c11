/* SPDX-License-Identifier: Apache-2.0 */
#include "train/setup.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/base/hash.h"
#include "data/base/thread.h"
#include "data/chat/template.h"
#include "data/json/json.h"
#include "data/tokenizer/tokenizer.h"
#include "train/cluster/job.h"
#include "train/cluster/ranks_compare.h"
#include "train/model/hf/hf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t READ_AHEAD_BYTES = 256 << 20;

static int open_model(lv_llava **out, const lv_comm *comm, const lv_config *config, bool dry,
                      bool copies)
{
    const int layer = (int)config->model.vision_select_layer;
    lv_llava_options options = {
        .llava = config->model.llava,
        .vision_tower = config->model.vision_tower,
        .language_model = config->model.language_model,
        .projector_type = config->model.projector_type,
        .projector_weights = config->model.projector_weights,
        .vision_select_layer = layer == LV_LAYER_NOT_GIVEN ? NULL : &layer,
        .vision_select_feature = config->model.vision_select_feature,
        .trainable = config->train.trainable.items,
        .n_trainable = config->train.trainable.n,
        .precision = config->train.precision,
        .recompute = config->train.recompute,
        .seed = (uint64_t)config->train.seed,
        .dry = dry,
        .rank = comm->rank,
        .n_ranks = comm->n_ranks,
        .bucket_count = lv_shard_bucket_count(config->comm.bucket_mb, comm->n_ranks),
        .copies = copies,
    };
    return lv_llava_open(out, &options);
}

int lv_setup_model(lv_llava **out, const lv_config *config)
{
    const lv_comm single = lv_comm_single();
    return open_model(out, &single, config, false, false);
}

/* A file of the projector alone would lose other trained parameters. */
static int check_output(const lv_config *config, lv_params *params)
{
    for (size_t i = 0; !config->train.output_full && i < lv_params_count(params); i++) {
        const lv_param *param = lv_params_at(params, i);
        if (param->trainable && param->part != LV_PART_CONNECTOR) {
            return lv_fail(LV_ERR_CONFIG,
                           "train.output: projector, but %s is trained too and would "
                           "be lost; use full",
                           param->name);
        }
    }
    return LV_OK;
}

static int open_packs(lv_pack_list *list, const lv_config_packs *wanted, const char *tokenizer,
                      uint64_t *fingerprint)
{
    for (size_t i = 0; i < wanted->n; i++) {
        const char *self_crc = "";
        int rc = lv_pack_open(&list->packs[list->n], wanted->paths[i]);
        if (rc < 0) {
            return rc;
        }
        const lv_pack *pack = list->packs[list->n++];
        const char *packed_with = lv_pack_tokenizer_fingerprint(pack);
        if (tokenizer && strcmp(packed_with, tokenizer) != 0) {
            return lv_fail(LV_ERR_CONFIG,
                           "%s: packed with another tokenizer (%s) than the language "
                           "model's (%s); pack again",
                           wanted->paths[i], packed_with, tokenizer);
        }
        rc = lv_json_string(lv_pack_manifest(pack), "self_crc32", true, &self_crc);
        if (rc < 0) {
            return lv_fail_within("%s", wanted->paths[i]);
        }
        list->sampled[list->n - 1] = (lv_sampler_pack){.n_samples = lv_pack_n_samples(pack),
                                                       .weight = wanted->weights[i],
                                                       .counts = lv_pack_counts(pack)};
        list->n_samples += lv_pack_n_samples(pack);
        *fingerprint = lv_hash_text(*fingerprint, self_crc);
    }
    return LV_OK;
}

static int open_data(lv_setup *setup, const lv_comm *comm, const lv_config *config)
{
    lv_tokenizer *tokenizer = NULL;
    uint64_t unused = 0;
    const char *dir = lv_llava_tokenizer_dir(setup->model);
    int rc = dir ? lv_tokenizer_open(&tokenizer, dir) : LV_OK;
    const char *fingerprint = tokenizer ? lv_tokenizer_fingerprint(tokenizer) : NULL;
    setup->data_fingerprint = LV_HASH_START;
    setup->n_tokenizer_ids = tokenizer ? lv_tokenizer_vocab_size(tokenizer) : 0;
    if (tokenizer && comm->rank == 0) {
        lv_tokenizer_warn_ids(tokenizer);
    }
    if (rc == LV_OK) {
        rc = open_packs(&setup->train_packs, &config->data.packs, fingerprint,
                        &setup->data_fingerprint);
    }
    if (rc == LV_OK) {
        rc = open_packs(&setup->val_packs, &config->data.val_packs, fingerprint, &unused);
    }
    lv_tokenizer_close(&tokenizer);
    return rc;
}

static int open_own_model(lv_setup *setup, const lv_comm *comm, const lv_config *config)
{
    int rc =
        open_model(&setup->model, comm, config, false, config->model.weights != LV_WEIGHTS_MAP);
    return rc < 0 ? rc : check_output(config, lv_llava_params(setup->model));
}

/* Packs, tape and optimiser. */
static int open_own_rest(lv_setup *setup, const lv_comm *comm, const lv_config *config)
{
    lv_adamw hyper = {.lr = config->optim.lr,
                      .beta1 = config->optim.beta1,
                      .beta2 = config->optim.beta2,
                      .eps = config->optim.eps,
                      .weight_decay = config->optim.weight_decay};
    int rc = open_data(setup, comm, config);
    if (rc == LV_OK) rc = lv_tape_create(&setup->tape, 0);
    if (rc == LV_OK) {
        lv_tape_dtype_set(setup->tape, lv_llava_dtype(setup->model));
    }
    if (rc == LV_OK) {
        rc = lv_optimizer_create(&setup->optimizer, lv_llava_params(setup->model), &hyper,
                                 config->optim.projector_lr, config->optim.moments);
    }
    return rc;
}

int lv_setup_open(lv_setup *setup, const lv_comm *comm, const lv_config *config)
{
    lv_thread_hook_set(lv_threads_leave_core, &setup->threads);
    int rc = lv_comm_agree(comm, open_own_model(setup, comm, config));
    if (rc < 0) {
        return rc;
    }
    lv_params *params = lv_llava_params(setup->model);
    const uint64_t model =
        lv_hash_uint64(lv_llava_fingerprint(setup->model), (uint64_t)lv_params_flat_count(params));
    rc = lv_ranks_compare(comm, model,
                          "the models (files of frozen weights, shapes of trained ones)",
                          "is there an old copy, or another file, behind the same path?");
    if (rc == LV_OK) {
        rc = lv_frozen_weights_place(&setup->frozen, comm, config->model.weights,
                                     &setup->threads.slice, params);
    }
    if (rc == LV_OK) rc = lv_comm_agree(comm, open_own_rest(setup, comm, config));
    return rc < 0
               ? rc
               : lv_ranks_compare(comm, setup->data_fingerprint, "the packs",
                                  "is there an old copy, or another pack, behind the same path?");
}

static const char *missing_pack(const lv_config_packs *wanted)
{
    for (size_t i = 0; i < wanted->n; i++) {
        if (!lv_file_exists(wanted->paths[i])) {
            return wanted->paths[i];
        }
    }
    return NULL;
}

/* Ids of one sample, in the rows that are left of it. */
static int check_ids(const lv_setup *setup, lv_pack *pack, int64_t i, int rows_per_image,
                     int64_t n_rows)
{
    const lv_sample_counts *counts = &lv_pack_counts(pack)[i];
    const int64_t vocab_size = lv_llava_config_of(setup->model)->text.vocab_size;
    int32_t *tokens = calloc((size_t)counts->n_tokens + 1, sizeof *tokens);
    uint8_t *supervised = calloc((size_t)counts->n_tokens + 1, sizeof *supervised);
    int64_t *image_ids = calloc((size_t)counts->n_images + 1, sizeof *image_ids);
    int rc = tokens && supervised && image_ids
                 ? lv_pack_read_sample(pack, i, tokens, supervised, image_ids, NULL)
                 : lv_fail(LV_ERR_MEMORY, "no memory to read a sample");
    for (int64_t t = 0, row = 0; rc == LV_OK && t < counts->n_tokens && row < n_rows; t++) {
        row += tokens[t] == LV_IMAGE_TOKEN ? rows_per_image : 1;
        if (tokens[t] >= vocab_size) {
            rc = lv_fail(LV_ERR_CONFIG,
                         "%s: sample %" PRId64 " has the token id %d, but the language model's "
                         "embedding has %" PRId64 " rows (vocab_size), fewer than the tokenizer of "
                         "%s has ids: give the model rows for them (transformers: "
                         "resize_token_embeddings), or pack with a tokenizer without what was "
                         "added",
                         lv_pack_dir(pack), i, (int)tokens[t], vocab_size,
                         lv_llava_tokenizer_dir(setup->model));
        }
    }
    free(image_ids);
    free(supervised);
    free(tokens);
    return rc;
}

/* This rank's share of a list, for what the language model has no rows for. */
static int check_rows(const lv_setup *setup, const lv_comm *comm, const lv_config *config,
                      const lv_pack_list *list)
{
    const lv_llama_config *text = &lv_llava_config_of(setup->model)->text;
    const bool has_more_ids = setup->n_tokenizer_ids > text->vocab_size;
    lv_vision_input vision;
    lv_llava_vision_input(setup->model, config->data.image_aspect, &vision);
    for (int p = 0; p < list->n; p++) {
        lv_pack *pack = list->packs[p];
        for (int64_t i = comm->rank; i < lv_pack_n_samples(pack); i += comm->n_ranks) {
            const int64_t n_rows = lv_batch_length(&lv_pack_counts(pack)[i], vision.rows_per_image,
                                                   config->data.max_length);
            if (n_rows > text->max_positions) {
                return lv_fail(LV_ERR_CONFIG,
                               "data.max_length: %" PRId64 ", but the language model of %s has "
                               "%" PRId64 " positions (max_position_embeddings), and sample "
                               "%" PRId64 " of %s takes %" PRId64 " rows: set data.max_length to "
                               "%" PRId64 " at most",
                               config->data.max_length, lv_llava_tokenizer_dir(setup->model),
                               text->max_positions, i, lv_pack_dir(pack), n_rows,
                               text->max_positions);
            }
            int rc =
                has_more_ids ? check_ids(setup, pack, i, vision.rows_per_image, n_rows) : LV_OK;
            if (rc < 0) {
                return rc;
            }
        }
    }
    return LV_OK;
}

/* The number of ids of the tokenizer beside the language model, if there is one. */
static int count_tokenizer_ids(lv_setup *setup)
{
    lv_tokenizer *tokenizer = NULL;
    lv_hf_tokenizer files;
    const char *dir = lv_llava_tokenizer_dir(setup->model);
    int rc = lv_hf_tokenizer_read(&files, dir);
    if (rc < 0 || !files.found || (rc = lv_tokenizer_open(&tokenizer, dir)) < 0) {
        return rc;
    }
    setup->n_tokenizer_ids = lv_tokenizer_vocab_size(tokenizer);
    lv_tokenizer_close(&tokenizer);
    return LV_OK;
}

int lv_setup_open_plan(lv_setup *setup, const lv_config *config, int n_ranks, const char **no_pack)
{
    static const size_t ADDRESS_BYTES = (size_t)1 << 42;
    const lv_comm first = {.n_ranks = n_ranks, .n_local_ranks = 1};
    int rc =
        open_model(&setup->model, &first, config, true, config->model.weights != LV_WEIGHTS_MAP);
    if (rc == LV_OK) rc = check_output(config, lv_llava_params(setup->model));
    *no_pack = missing_pack(&config->data.packs);
    if (rc == LV_OK && !*no_pack) {
        rc = open_packs(&setup->train_packs, &config->data.packs, NULL, &setup->data_fingerprint);
    }
    if (rc == LV_OK) rc = count_tokenizer_ids(setup);
    if (rc == LV_OK) {
        const lv_comm single = lv_comm_single();
        rc = check_rows(setup, &single, config, &setup->train_packs);
    }
    if (rc == LV_OK) rc = lv_tape_create(&setup->tape, ADDRESS_BYTES);
    if (rc == LV_OK) {
        lv_tape_dtype_set(setup->tape, lv_llava_dtype(setup->model));
        lv_tape_dry_set(setup->tape, true);
    }
    return rc;
}

static int count_unlabelled(const lv_setup *setup, const lv_comm *comm, const lv_config *config,
                            double *n_unlabelled)
{
    lv_vision_input vision;
    lv_llava_vision_input(setup->model, config->data.image_aspect, &vision);
    for (int p = 0; p < setup->train_packs.n; p++) {
        lv_pack *pack = setup->train_packs.packs[p];
        for (int64_t i = comm->rank; i < lv_pack_n_samples(pack); i += comm->n_ranks) {
            int64_t n_labels = 0;
            int rc =
                lv_batch_labels(&n_labels, pack, i, vision.rows_per_image, config->data.max_length);
            if (rc < 0) {
                return rc;
            }
            *n_unlabelled += n_labels == 0;
        }
    }
    return LV_OK;
}

int lv_setup_check_length(const lv_setup *setup, const lv_comm *comm, const lv_config *config)
{
    const long long n_samples = setup->train_packs.n_samples;
    double n = 0;
    int rc = check_rows(setup, comm, config, &setup->train_packs);
    if (rc == LV_OK) rc = check_rows(setup, comm, config, &setup->val_packs);
    rc = lv_comm_agree(comm, rc);
    if (rc == LV_OK) rc = lv_comm_agree(comm, count_unlabelled(setup, comm, config, &n));
    if (rc == LV_OK) rc = lv_comm_sum_double(comm, &n, 1);
    if (rc < 0 || n == 0) {
        return rc;
    }
    if ((long long)n == n_samples) {
        return lv_fail(LV_ERR_CONFIG,
                       "data.max_length: %lld rows leave none of the %lld samples anything to "
                       "learn from (an image takes %d rows)",
                       (long long)config->data.max_length, n_samples,
                       lv_llava_rows_per_image(lv_llava_config_of(setup->model)));
    }
    if (comm->rank == 0) {
        lv_warn("data.max_length %lld leaves %.0f of %lld samples without a label: nothing "
                "is learnt from them",
                (long long)config->data.max_length, n, n_samples);
    }
    return LV_OK;
}

static void close_packs(lv_pack_list *list)
{
    for (int i = 0; i < list->n; i++) {
        lv_pack_close(&list->packs[i]);
    }
    list->n = 0;
}

void lv_setup_close(lv_setup *setup)
{
    lv_optimizer_destroy(&setup->optimizer);
    lv_tape_destroy(&setup->tape);
    close_packs(&setup->train_packs);
    close_packs(&setup->val_packs);
    lv_llava_close(&setup->model);
    lv_shared_copy_destroy(&setup->frozen);
    lv_thread_hook_set(NULL, NULL);
}

lv_loader_options lv_setup_loader(const lv_setup *setup, const lv_comm *comm,
                                  const lv_config *config, const lv_pack_list *packs)
{
    lv_loader_options options = {
        .packs = (lv_pack **)packs->packs,
        .n_packs = packs->n,
        .max_length = config->data.max_length,
        .micro_batch_tokens = config->train.micro_batch_tokens,
        .sampler = {.packs = packs->sampled,
                    .n_packs = packs->n,
                    .global_batch_size = config->train.global_batch_size,
                    .seed = (uint64_t)config->train.seed,
                    .shuffle = config->data.shuffle,
                    .group_by_modality_length = config->data.group_by_modality_length},
        .rank = comm->rank,
        .n_ranks = comm->n_ranks,
        .n_workers = (int)config->data.workers,
        .ahead_bytes = READ_AHEAD_BYTES,
    };
    lv_llava_vision_input(setup->model, config->data.image_aspect, &options.vision);
    return options;
}

int64_t lv_setup_n_steps(const lv_config *config, const lv_sampler_options *sampler)
{
    return config->train.max_steps > 0 ? config->train.max_steps
                                       : config->train.epochs * lv_sampler_steps_per_epoch(sampler);
}

/* Whether a part is trained that only images have an effect on. */
static bool trains_for_images(const lv_params *params)
{
    return lv_params_trains(params, LV_PART_VISION) || lv_params_trains(params, LV_PART_CONNECTOR);
}

static bool packs_have_images(const lv_pack_list *list)
{
    int64_t n = 0;
    for (int i = 0; i < list->n; i++) {
        n += lv_pack_n_images(list->packs[i]);
    }
    return n > 0;
}

void lv_setup_print(const lv_setup *setup, const lv_comm *comm, const lv_config *config,
                    const char *products)
{
    const lv_sampler_options sampler =
        lv_setup_loader(setup, comm, config, &setup->train_packs).sampler;
    const int64_t n_samples = setup->train_packs.n_samples;
    const int64_t n_epoch = lv_sampler_epoch_samples(&sampler);
    const int64_t n_steps = lv_setup_n_steps(config, &sampler);
    char *compute = lv_compute_text(lv_llava_dtype(setup->model), products);
    printf("%s; %s\n", setup->threads.line, compute);
    free(compute);
    for (int i = 0; i < LV_LLAVA_N_NOTES; i++) {
        const char *note = lv_llava_note(setup->model, i);
        if (note) {
            lv_warn("%s", note);
        }
    }
    printf("%" PRId64 " samples, ", n_samples);
    if (n_epoch != n_samples) {
        printf("%" PRId64 " an epoch by the weights of their packs, ", n_epoch);
    }
    const int64_t batch = config->train.global_batch_size;
    printf("%" PRId64 " step%s of %" PRId64, n_steps, n_steps == 1 ? "" : "s",
           n_epoch < batch ? n_epoch : batch);
    if (n_epoch < batch) {
        printf(" (train.global_batch_size is %" PRId64 ")", batch);
    }
    printf(", %" PRId64 " trainable parameters; %s\n",
           lv_params_flat_count(lv_llava_params(setup->model)), config->run.dir);
    fflush(stdout);
    if (!packs_have_images(&setup->train_packs) &&
        trains_for_images(lv_llava_params(setup->model))) {
        lv_warn("data.packs have no image: projector and vision tower learn nothing "
                "(train.trainable)");
    }
}
