/* SPDX-License-Identifier: Apache-2.0 */
#include "train/checkpoint.h"

#include "autograd/error.h"
#include "autograd/kernels/parallel.h"
#include "data/file.h"
#include "data/json.h"
#include "data/manifest.h"
#include "train/checkpoint_slice.h"
#include "train/config.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char lv_checkpoint_format[] = "llava.c checkpoint";
enum { FORMAT_VERSION = 1, HEX_BYTES = 17 };

static char *slice_name(int rank)
{
    return lv_path("rank-%05d.h5", rank);
}

/* ---- the manifest ---- */

static void add_hex(cJSON *object, const char *key, uint64_t value)
{
    char text[HEX_BYTES];
    snprintf(text, sizeof text, "%016" PRIx64, value); /* a JSON number has 53 bits */
    cJSON_AddStringToObject(object, key, text);
}

static int same_hex(const cJSON *object, const char *key, uint64_t value, const char *what)
{
    char text[HEX_BYTES];
    const char *saved = NULL;
    int rc = lv_json_string(object, key, true, &saved);
    if (rc < 0) {
        return rc;
    }
    snprintf(text, sizeof text, "%016" PRIx64, value);
    return strcmp(saved, text) == 0
               ? LV_OK
               : lv_fail(LV_ERR_CONFIG, "%s (fingerprint %s, the run began with %s)", what, text,
                         saved);
}

static void add_parameters(cJSON *root, lv_params *params)
{
    cJSON *list = cJSON_AddArrayToObject(root, "parameters");
    for (size_t i = 0; i < lv_params_count(params); i++) {
        const lv_param *param = lv_params_at(params, i);
        if (!param->trainable) {
            continue;
        }
        cJSON *entry = cJSON_CreateObject();
        cJSON *shape = cJSON_AddArrayToObject(entry, "shape");
        cJSON_AddStringToObject(entry, "name", param->name);
        for (int d = 0; d < param->tensor.n_dims; d++) {
            cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)param->tensor.shape[d]));
        }
        cJSON_AddItemToArray(list, entry);
    }
}

static cJSON *make_manifest(const lv_comm *comm, const lv_train_state *state,
                            const lv_run_identity *identity, lv_params *params)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "format", lv_checkpoint_format);
    cJSON_AddNumberToObject(root, "version", FORMAT_VERSION);
    cJSON_AddNumberToObject(root, "step", (double)state->step);
    cJSON_AddNumberToObject(root, "n_updates", (double)state->n_updates);
    cJSON_AddNumberToObject(root, "n_skipped_in_a_row", (double)state->n_skipped_in_a_row);
    cJSON_AddNumberToObject(root, "n_ranks", comm->n_ranks);
    cJSON_AddNumberToObject(root, "n_elements", (double)lv_params_flat_count(params));
    add_hex(root, "frozen_fingerprint", identity->frozen_fingerprint);
    add_hex(root, "data_fingerprint", identity->data_fingerprint);
    add_parameters(root, params);
    cJSON_AddItemToObject(root, "config", cJSON_Duplicate(identity->config, true));
    return root;
}

int lv_checkpoint_manifest(cJSON **out, const char *dir)
{
    const char *format = NULL;
    int64_t version = 0;
    cJSON *root = NULL;
    char *path = lv_path("%s/manifest.json", dir);
    int rc = lv_manifest_read(&root, path);
    if (rc == LV_OK && (lv_json_string(root, "format", true, &format) < 0 ||
                        lv_json_int(root, "version", true, &version) < 0 ||
                        strcmp(format, lv_checkpoint_format) != 0 || version != FORMAT_VERSION)) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: not a checkpoint of this version (%d)", path,
                     FORMAT_VERSION);
    }
    free(path);
    if (rc < 0) {
        cJSON_Delete(root);
        return rc;
    }
    *out = root;
    return LV_OK;
}

/* ---- saving ---- */

/* Steps of the directories in run_dir/checkpoints, newest first; *steps is the caller's. */
static int list_steps(const char *checkpoints, int64_t **steps, size_t *n)
{
    DIR *dir = opendir(checkpoints);
    *steps = NULL;
    *n = 0;
    if (!dir) {
        return errno == ENOENT ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: opening", checkpoints);
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        int64_t step = 0;
        int end = 0;
        if (sscanf(entry->d_name, "step-%18" SCNd64 "%n", &step, &end) != 1 || step < 0 ||
            entry->d_name[end] != '\0') {
            continue;
        }
        int64_t *grown = realloc(*steps, (*n + 1) * sizeof **steps);
        LV_CHECK(grown, "out of memory listing %s", checkpoints);
        *steps = grown;
        size_t at = (*n)++;
        for (; at > 0 && grown[at - 1] < step; at--) {
            grown[at] = grown[at - 1];
        }
        grown[at] = step;
    }
    closedir(dir);
    return LV_OK;
}

static char *step_dir(const char *checkpoints, int64_t step)
{
    return lv_path("%s/step-%06" PRId64, checkpoints, step);
}

char *lv_checkpoint_path(const char *run_dir, int64_t step)
{
    char *checkpoints = lv_path("%s/checkpoints", run_dir);
    char *dir = step_dir(checkpoints, step);
    free(checkpoints);
    return dir;
}

/* Removes a checkpoint so that at no moment a part of it looks whole. */
static int remove_checkpoint(const char *dir)
{
    char *aside = lv_path("%s.removed", dir);
    int rc = lv_dir_remove(aside);
    if (rc == LV_OK && lv_dir_exists(dir)) {
        rc = lv_file_rename(dir, aside);
    }
    if (rc == LV_OK) {
        rc = lv_dir_remove(aside);
    }
    free(aside);
    return rc;
}

/* A checkpoint of a step that the run, going on from an earlier one, has yet to do again: kept, but
 * under a name that no resume takes. */
static int set_aside(const char *dir)
{
    char *aside = lv_path("%s.aside", dir);
    int rc = lv_dir_remove(aside);
    if (rc == LV_OK && lv_dir_exists(dir)) {
        rc = lv_file_rename(dir, aside);
    }
    if (rc == LV_OK) {
        fprintf(stderr, "llava: %s is of a later step: kept as %s\n", dir, aside);
    }
    free(aside);
    return rc;
}

/* Of the checkpoints up to `step` the newest `keep` stay. */
static int prune(const char *checkpoints, int64_t keep, int64_t step)
{
    int64_t *steps = NULL;
    size_t n = 0;
    int rc = list_steps(checkpoints, &steps, &n);
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        char *dir = step_dir(checkpoints, steps[i]);
        if (steps[i] > step) {
            rc = set_aside(dir);
        } else if (keep-- <= 0) {
            rc = remove_checkpoint(dir);
        }
        free(dir);
    }
    free(steps);
    return rc;
}

static int prepare(const char *checkpoints, const char *beside)
{
    int rc = lv_dir_create(checkpoints);
    if (rc == LV_OK) {
        rc = lv_dir_remove(beside); /* left by a run that was killed while writing it */
    }
    return rc == LV_OK ? lv_dir_create(beside) : rc;
}

/* Size and CRC-32 of each rank's slice, as doubles because they are summed over ranks. */
typedef struct {
    double n_bytes, crc;
} slice_sum;

static int write_slice(const lv_comm *comm, const char *beside, lv_params *params,
                       const lv_real *exp_avg, const lv_real *exp_avg_sq, slice_sum *sum)
{
    const lv_shard *shard = lv_params_shard(params);
    lv_real *values = malloc((size_t)shard->own_count * sizeof *values + 1);
    LV_CHECK(values, "out of memory for a checkpoint");
    for (int64_t k = 0; k < shard->n_buckets; k++) {
        const lv_piece *piece = &shard->pieces[k];
        memcpy(values + piece->at, lv_params_master(params, piece),
               (size_t)(piece->end - piece->begin) * sizeof *values);
    }
    const lv_real *buffers[LV_SLICE_BUFFERS] = {values, exp_avg, exp_avg_sq};
    lv_range slice = {0, shard->own_count};
    char *name = slice_name(comm->rank);
    char *path = lv_path("%s/%s", beside, name);
    uint32_t crc = 0;
    int64_t n_bytes = 0;
    int rc = lv_slice_write(path, buffers, slice.begin, slice.end);
    free(values);
    rc = rc == LV_OK ? lv_file_crc32(&crc, &n_bytes, path) : rc;
    *sum = (slice_sum){.n_bytes = (double)n_bytes, .crc = crc};
    free(path);
    free(name);
    return rc;
}

/* Rank 0, when all slices are on the disk: the manifest, and the name that says it is whole. */
static int publish(const lv_comm *comm, cJSON *manifest, const slice_sum *sums, const char *beside,
                   const char *dir)
{
    int rc = LV_OK;
    for (int rank = 0; rc == LV_OK && rank < comm->n_ranks; rank++) {
        char *name = slice_name(rank);
        rc = lv_manifest_add_entry(manifest, name, (int64_t)sums[rank].n_bytes,
                                   (uint32_t)sums[rank].crc);
        free(name);
    }
    if (rc == LV_OK) {
        char *path = lv_path("%s/manifest.json", beside);
        rc = lv_manifest_write(path, manifest);
        free(path);
    }
    if (rc == LV_OK && lv_dir_exists(dir)) {
        rc = remove_checkpoint(dir); /* a damaged one that the resume passed over */
    }
    return rc == LV_OK ? lv_file_rename(beside, dir) : rc;
}

/* All ranks' slices into the folder beside, then rank 0 makes it the checkpoint. */
static int write_all(const lv_comm *comm, const char *beside, const char *dir,
                     const lv_train_state *state, const lv_run_identity *identity,
                     lv_params *params, const lv_real *exp_avg, const lv_real *exp_avg_sq)
{
    slice_sum *sums = calloc((size_t)comm->n_ranks, sizeof *sums);
    LV_CHECK(sums, "out of memory for a checkpoint's checksums");
    int rc = lv_comm_agree(
        comm, write_slice(comm, beside, params, exp_avg, exp_avg_sq, &sums[comm->rank]));
    rc = rc == LV_OK ? lv_comm_sum_double(comm, &sums[0].n_bytes, 2 * comm->n_ranks) : rc;
    if (rc == LV_OK && comm->rank == 0) {
        cJSON *manifest = make_manifest(comm, state, identity, params);
        rc = publish(comm, manifest, sums, beside, dir);
        cJSON_Delete(manifest);
    }
    free(sums);
    return lv_comm_agree(comm, rc);
}

int lv_checkpoint_save(const lv_comm *comm, const char *run_dir, int64_t keep,
                       const lv_train_state *state, const lv_run_identity *identity,
                       lv_params *params, const lv_real *exp_avg, const lv_real *exp_avg_sq)
{
    char *checkpoints = lv_path("%s/checkpoints", run_dir);
    char *dir = step_dir(checkpoints, state->step);
    char *beside = lv_path("%s.tmp", dir);
    int rc = lv_comm_agree(comm, comm->rank == 0 ? prepare(checkpoints, beside) : LV_OK);
    rc = rc == LV_OK ? write_all(comm, beside, dir, state, identity, params, exp_avg, exp_avg_sq)
                     : rc;
    if (rc == LV_OK && comm->rank == 0 && prune(checkpoints, keep, state->step) < 0) {
        fprintf(stderr, "llava: an old checkpoint could not be removed: %s\n", lv_error_message());
    } else if (rc < 0 && comm->rank == 0) {
        int code = rc;
        char *message =
            lv_path("checkpoint at step %" PRId64 ": %s", state->step, lv_error_message());
        lv_dir_remove(beside); /* best effort: give the space back */
        rc = lv_fail(code, "%s", message);
        free(message);
    }
    free(beside);
    free(dir);
    free(checkpoints);
    return rc;
}

/* ---- reading ---- */

/* Every rank's slice is listed, so that checking what is listed checks them all. */
static int check_slices_listed(const cJSON *manifest, const char *dir)
{
    const cJSON *files = lv_json_find(manifest, "files");
    int64_t n_ranks = 0;
    int rc = lv_json_int(manifest, "n_ranks", true, &n_ranks);
    if (rc == LV_OK && (n_ranks < 1 || n_ranks != cJSON_GetArraySize(files))) {
        rc = lv_fail(LV_ERR_FORMAT, "%" PRId64 " ranks, but %d files", n_ranks,
                     cJSON_GetArraySize(files));
    }
    for (int64_t rank = 0; rc == LV_OK && rank < n_ranks; rank++) {
        char *name = slice_name((int)rank);
        if (!lv_json_find(files, name)) {
            rc = lv_fail(LV_ERR_FORMAT, "%s is not listed", name);
        }
        free(name);
    }
    return rc < 0 ? lv_fail_within("%s/manifest.json", dir) : rc;
}

int lv_checkpoint_verify(const char *dir)
{
    cJSON *manifest = NULL;
    int rc = lv_checkpoint_manifest(&manifest, dir);
    if (rc == LV_OK) {
        rc = check_slices_listed(manifest, dir);
    }
    if (rc == LV_OK) {
        rc = lv_manifest_check_files(manifest, dir, NULL);
    }
    cJSON_Delete(manifest);
    return rc;
}

static int find_newest(const char *run_dir, char **dir)
{
    int64_t *steps = NULL;
    size_t n = 0;
    char *checkpoints = lv_path("%s/checkpoints", run_dir);
    int rc = list_steps(checkpoints, &steps, &n);
    *dir = NULL;
    for (size_t i = 0; rc == LV_OK && !*dir && i < n; i++) {
        char *candidate = step_dir(checkpoints, steps[i]);
        if (lv_checkpoint_verify(candidate) == LV_OK) {
            *dir = candidate;
            break;
        }
        fprintf(stderr, "llava: passing over a checkpoint: %s\n", lv_error_message());
        free(candidate);
    }
    free(steps);
    free(checkpoints);
    return rc;
}

int lv_checkpoint_find(const lv_comm *comm, const char *run_dir, char **dir)
{
    int64_t n = 0;
    *dir = NULL;
    int rc = lv_comm_agree(comm, comm->rank == 0 ? find_newest(run_dir, dir) : LV_OK);
    if (rc < 0) {
        return rc;
    }
    n = *dir ? (int64_t)strlen(*dir) + 1 : 0;
    rc = lv_comm_broadcast(comm, &n, sizeof n);
    if (rc < 0 || n == 0) {
        return rc;
    }
    if (comm->rank != 0) {
        *dir = malloc((size_t)n);
        LV_CHECK(*dir, "out of memory for a path");
    }
    return lv_comm_broadcast(comm, *dir, n);
}

static int compare_parameters(const cJSON *manifest, lv_params *params)
{
    const cJSON *saved = lv_json_find(manifest, "parameters");
    const cJSON *saved_entry = saved ? saved->child : NULL;
    cJSON *wrapper = cJSON_CreateObject();
    add_parameters(wrapper, params);
    const cJSON *entry = lv_json_find(wrapper, "parameters")->child;
    int rc = LV_OK;
    while (rc == LV_OK && (entry || saved_entry)) {
        if (!cJSON_Compare(entry, saved_entry, true)) {
            char *a = saved_entry ? cJSON_PrintUnformatted(saved_entry) : NULL;
            char *b = entry ? cJSON_PrintUnformatted(entry) : NULL;
            rc = lv_fail(LV_ERR_SHAPE, "the checkpoint has %s where the model has %s",
                         a ? a : "no more parameters", b ? b : "no more parameters");
            cJSON_free(a);
            cJSON_free(b);
            break;
        }
        entry = entry->next;
        saved_entry = saved_entry->next;
    }
    cJSON_Delete(wrapper);
    return rc;
}

static int compare_identity(const cJSON *manifest, const lv_run_identity *identity)
{
    const cJSON *config = lv_json_find(manifest, "config");
    int rc = lv_config_compare(config, identity->config);
    if (rc == LV_OK) {
        rc = same_hex(manifest, "frozen_fingerprint", identity->frozen_fingerprint,
                      "the frozen weights are not those that the run began with");
    }
    if (rc == LV_OK) {
        rc = same_hex(manifest, "data_fingerprint", identity->data_fingerprint,
                      "the packs are not those that the run began with");
    }
    return rc;
}

static int load_slices(const cJSON *manifest, const char *dir, lv_params *params, lv_real *exp_avg,
                       lv_real *exp_avg_sq)
{
    const lv_shard *shard = lv_params_shard(params);
    lv_real *values = malloc((size_t)shard->own_count * sizeof *values + 1);
    LV_CHECK(values, "out of memory for a checkpoint");
    lv_real *buffers[LV_SLICE_BUFFERS] = {values, exp_avg, exp_avg_sq};
    int64_t n_ranks = 0, n_elements = 0;
    int rc = lv_json_int(manifest, "n_ranks", true, &n_ranks);
    if (rc == LV_OK && (n_ranks < 1 || n_ranks > INT_MAX)) {
        rc = lv_fail(LV_ERR_FORMAT, "impossible \"n_ranks\": %" PRId64, n_ranks);
    }
    if (rc == LV_OK) {
        rc = lv_json_int(manifest, "n_elements", true, &n_elements);
    }
    if (rc == LV_OK && n_elements != lv_params_flat_count(params)) {
        rc = lv_fail(LV_ERR_SHAPE, "%" PRId64 " elements, the model has %" PRId64, n_elements,
                     lv_params_flat_count(params));
    }
    for (int64_t rank = shard->rank; rc == LV_OK && rank == shard->rank; rank++) {
        lv_range slice = {0, shard->own_count};
        char *name = slice_name((int)rank);
        char *path = lv_path("%s/%s", dir, name);
        rc = lv_slice_read(path, buffers, slice.begin, slice.end);
        free(path);
        free(name);
    }
    for (int64_t k = 0; rc == LV_OK && k < shard->n_buckets; k++) {
        const lv_piece *piece = &shard->pieces[k];
        memcpy(lv_params_master(params, piece), values + piece->at,
               (size_t)(piece->end - piece->begin) * sizeof *values);
    }
    free(values);
    return rc;
}

static int read_state(lv_train_state *out, const cJSON *manifest)
{
    lv_train_state s = {0};
    int rc = lv_json_int(manifest, "step", true, &s.step);
    rc = rc == LV_OK ? lv_json_int(manifest, "n_updates", true, &s.n_updates) : rc;
    rc =
        rc == LV_OK ? lv_json_int(manifest, "n_skipped_in_a_row", true, &s.n_skipped_in_a_row) : rc;
    if (rc == LV_OK && (s.n_updates < 0 || s.n_updates > s.step || s.n_skipped_in_a_row < 0 ||
                        s.n_skipped_in_a_row > s.step)) {
        rc = lv_fail(LV_ERR_FORMAT,
                     "impossible: step %" PRId64 ", %" PRId64 " updates, %" PRId64
                     " steps skipped in a row",
                     s.step, s.n_updates, s.n_skipped_in_a_row);
    }
    if (rc == LV_OK) {
        *out = s;
    }
    return rc;
}

static int load_here(const char *dir, const lv_run_identity *identity, lv_train_state *state,
                     lv_params *params, lv_real *exp_avg, lv_real *exp_avg_sq)
{
    cJSON *manifest = NULL;
    lv_train_state found = {0};
    int rc = lv_checkpoint_manifest(&manifest, dir);
    if (rc < 0) {
        return rc;
    }
    rc = identity ? compare_identity(manifest, identity) : LV_OK;
    rc = rc == LV_OK ? compare_parameters(manifest, params) : rc;
    rc = rc == LV_OK ? read_state(&found, manifest) : rc;
    rc = rc == LV_OK ? load_slices(manifest, dir, params, exp_avg, exp_avg_sq) : rc;
    cJSON_Delete(manifest);
    if (rc < 0) {
        return lv_fail_within("%s", dir);
    }
    lv_params_refresh(params);
    *state = found;
    return LV_OK;
}

int lv_checkpoint_load(const lv_comm *comm, const char *dir, const lv_run_identity *identity,
                       lv_train_state *state, lv_params *params, lv_real *exp_avg,
                       lv_real *exp_avg_sq)
{
    return lv_comm_agree(comm, load_here(dir, identity, state, params, exp_avg, exp_avg_sq));
}
