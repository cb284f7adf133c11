/* SPDX-License-Identifier: Apache-2.0 */
#include "train/checkpoint/checkpoint.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/json/manifest.h"
#include "train/checkpoint/dir.h"
#include "train/checkpoint/file.h"
#include "train/checkpoint/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- is it whole? ---- */

static int check_step(const cJSON *manifest, int64_t step)
{
    int64_t saved = 0;
    int rc = lv_json_int(manifest, "step", true, &saved);
    return rc < 0 || saved == step
               ? rc
               : lv_fail(LV_ERR_FORMAT, "it is of step %" PRId64 ", not of its folder's name",
                         saved);
}

/* The manifest, and this rank's share of the files.
 * in     step: -1: any */
static int verify_own(const lv_comm *comm, const char *dir, int64_t step)
{
    cJSON *manifest = NULL;
    int n_files = 0;
    int rc = lv_checkpoint_manifest(&manifest, dir);
    if (rc < 0) {
        return rc;
    }
    rc = lv_checkpoint_manifest_files(&n_files, manifest);
    if (rc == LV_OK && step >= 0) rc = check_step(manifest, step);
    rc = rc < 0 ? lv_fail_within("%s/manifest.json", dir) : LV_OK;
    for (int i = comm->rank; rc == LV_OK && i < n_files; i += comm->n_ranks) {
        char *name = lv_checkpoint_file_name(i);
        rc = lv_manifest_check_file(manifest, dir, name);
        free(name);
    }
    cJSON_Delete(manifest);
    return rc;
}

int lv_checkpoint_verify(const lv_comm *comm, const char *dir)
{
    return lv_comm_agree(comm, verify_own(comm, dir, -1));
}

/* Rank 0's list, to all. */
static int share_list(const lv_comm *comm, const char *run_dir, int64_t **steps, int64_t *n)
{
    size_t n_found = 0;
    *steps = NULL;
    int rc =
        lv_comm_agree(comm, comm->rank == 0 ? lv_checkpoint_list(steps, &n_found, run_dir) : LV_OK);
    *n = (int64_t)n_found;
    if (rc == LV_OK) rc = lv_comm_broadcast(comm, n, sizeof *n);
    if (rc == LV_OK && comm->rank != 0) {
        *steps = calloc((size_t)*n + 1, sizeof **steps);
        LV_CHECK(*steps, "out of memory for a list of checkpoints");
    }
    return rc < 0 ? rc : lv_comm_broadcast(comm, *steps, *n * (int64_t)sizeof **steps);
}

int lv_checkpoint_find(const lv_comm *comm, const char *run_dir, char **dir)
{
    int64_t *steps = NULL, n = 0;
    *dir = NULL;
    int rc = share_list(comm, run_dir, &steps, &n);
    for (int64_t i = 0; rc == LV_OK && !*dir && i < n; i++) {
        char *candidate = lv_checkpoint_path(run_dir, steps[i]);
        int whole = lv_comm_agree(comm, verify_own(comm, candidate, steps[i]));
        if (whole == LV_OK) {
            *dir = candidate;
            break;
        }
        if (whole == LV_ERR_COMM) {
            rc = whole;
        } else if (comm->rank == 0) {
            lv_warn("passing over a checkpoint: %s", lv_error_message());
        }
        free(candidate);
    }
    if (rc == LV_OK && !*dir && n > 0) {
        rc = lv_fail(
            LV_ERR_FORMAT,
            "%s/checkpoints: none of the checkpoints there can be used, see above: mend that; or, "
            "to begin at the first step, move them away or choose another run.dir",
            run_dir);
    }
    free(steps);
    return rc;
}

int lv_checkpoint_check_named(const char *dir)
{
    if (strcmp(dir, "auto") == 0 || strcmp(dir, "none") == 0) {
        return LV_OK;
    }
    char *of_run = lv_path("%s/checkpoints", dir);
    char *manifest = lv_path("%s/manifest.json", dir);
    int rc = LV_OK;
    if (!lv_dir_exists(dir)) {
        rc = lv_fail(LV_ERR_CONFIG,
                     "--resume: expected auto, none or the directory of a checkpoint, found %s",
                     dir);
    } else if (lv_dir_exists(of_run)) {
        rc =
            lv_fail(LV_ERR_CONFIG,
                    "--resume: %s is the directory of a run; name one of the checkpoints in %s, or "
                    "auto for the newest in run.dir",
                    dir, of_run);
    } else if (!lv_file_exists(manifest)) {
        rc = lv_fail(LV_ERR_CONFIG,
                     "--resume: %s is no checkpoint: it has no manifest.json; name a directory as "
                     "RUN_DIR/checkpoints/step-000500",
                     dir);
    }
    free(manifest);
    free(of_run);
    return rc;
}

int lv_checkpoint_choose(const lv_comm *comm, const char *run_dir, const char *how, char **dir)
{
    const bool none = strcmp(how, "none") == 0;
    *dir = NULL;
    if (!none && strcmp(how, "auto") != 0) {
        int rc = lv_checkpoint_verify(comm, how);
        *dir = rc == LV_OK ? lv_path("%s", how) : NULL;
        return rc;
    }
    int rc = lv_checkpoint_find(comm, run_dir, dir);
    if (rc == LV_OK && none && *dir) {
        rc = lv_fail(LV_ERR_CONFIG,
                     "--resume none, but %s is there: choose another run.dir, or remove the "
                     "checkpoints",
                     *dir);
        free(*dir);
        *dir = NULL;
    }
    return rc;
}

/* ---- loading ---- */

/* The ranges of all files, in the order of files, each row ending with empty ones. */
typedef struct {
    int n_files;
    int64_t *n_ranges; /* [n_files] */
    int64_t most;      /* the largest of those */
    lv_range *ranges;  /* [n_files][most] */
} range_table;

static lv_range *ranges_of(const range_table *table, int64_t file)
{
    return table->ranges + file * table->most;
}

/* lists[i]: the ranges of this rank's i-th file, of every n_ranks-th one. */
static int read_own_lists(const lv_comm *comm, const char *dir, int64_t count, range_table *table,
                          lv_range **lists)
{
    int rc = LV_OK;
    for (int i = comm->rank; rc == LV_OK && i < table->n_files; i += comm->n_ranks) {
        char *name = lv_checkpoint_file_name(i);
        char *path = lv_path("%s/%s", dir, name);
        rc = lv_rank_file_ranges(&lists[i / comm->n_ranks], &table->n_ranges[i], path, count);
        free(path);
        free(name);
    }
    return rc;
}

/* Every rank gets all lists: in one round those of n_ranks files, in their order. Collective. */
static int gather_lists(const lv_comm *comm, const char *dir, int64_t count, range_table *table,
                        lv_range **lists, int n_rounds)
{
    int rc = LV_OK;
    int64_t n = 0;
    for (int i = 0; rc == LV_OK && i < n_rounds; i++) {
        int64_t *round = table->n_ranges + i * comm->n_ranks, own = round[comm->rank];
        rc = lv_comm_gather_all(comm, round, &own, sizeof own);
    }
    for (int i = 0; i < table->n_files; i++) {
        n += table->n_ranges[i];
        table->most = table->n_ranges[i] > table->most ? table->n_ranges[i] : table->most;
    }
    const int64_t row_bytes = table->most * (int64_t)sizeof(lv_range);
    if (rc == LV_OK && (n > count || row_bytes > INT32_MAX)) {
        return lv_fail(LV_ERR_FORMAT, "%s: %" PRId64 " ranges of %" PRId64 " elements", dir, n,
                       count);
    }
    lv_range *own = calloc((size_t)table->most + 1, sizeof *own);
    table->ranges =
        calloc((size_t)n_rounds * (size_t)comm->n_ranks, (size_t)row_bytes + sizeof(lv_range));
    LV_CHECK(own && table->ranges, "out of memory for the ranges of a checkpoint");
    for (int i = 0; rc == LV_OK && i < n_rounds; i++) {
        const int64_t first = i * comm->n_ranks, n_own = table->n_ranges[first + comm->rank];
        memset(own, 0, (size_t)row_bytes);
        if (lists[i]) {
            memcpy(own, lists[i], (size_t)n_own * sizeof *own);
        }
        rc = lv_comm_gather_all(comm, ranges_of(table, first), own, (int)row_bytes);
    }
    free(own);
    return rc;
}

static int make_table(const lv_comm *comm, const char *dir, int64_t count, range_table *table)
{
    const int n_rounds = (table->n_files - 1) / comm->n_ranks + 1;
    lv_range **lists = calloc((size_t)n_rounds, sizeof *lists);
    table->n_ranges = calloc((size_t)n_rounds * (size_t)comm->n_ranks, sizeof *table->n_ranges);
    LV_CHECK(lists && table->n_ranges, "out of memory for a list of files");
    int rc = lv_comm_agree(comm, read_own_lists(comm, dir, count, table, lists));
    if (rc == LV_OK) rc = gather_lists(comm, dir, count, table, lists, n_rounds);
    for (int i = 0; i < n_rounds; i++) {
        free(lists[i]);
    }
    free(lists);
    return rc;
}

/* Empty ones first. */
static int by_begin(const void *a, const void *b)
{
    const lv_range *x = a, *y = b;
    const int order = (x->begin > y->begin) - (x->begin < y->begin);
    return order ? order : (x->end > y->end) - (x->end < y->end);
}

/* Is every element in exactly one range? */
static int check_tiling(const range_table *table, int64_t count)
{
    const int64_t n = table->n_files * table->most;
    lv_range *sorted = calloc((size_t)n + 1, sizeof *sorted);
    LV_CHECK(sorted, "out of memory for the ranges of a checkpoint");
    memcpy(sorted, table->ranges, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_begin);
    int64_t end = 0, i = 0;
    for (; i < n && sorted[i].begin == end; i++) {
        end = sorted[i].end;
    }
    int rc = i == n && end == count ? LV_OK
                                    : lv_fail(LV_ERR_FORMAT,
                                              "the ranges of its files do not make up the %" PRId64
                                              " elements: from %" PRId64 " on",
                                              count, end);
    free(sorted);
    return rc;
}

static int read_own_values(const char *dir, const range_table *table, const lv_layout *layout,
                           const lv_rank_values *values)
{
    int rc = check_tiling(table, lv_params_flat_count(values->params));
    rc = rc < 0 ? lv_fail_within("%s", dir) : LV_OK;
    for (int i = 0; rc == LV_OK && i < table->n_files; i++) {
        char *name = lv_checkpoint_file_name(i);
        char *path = lv_path("%s/%s", dir, name);
        rc = lv_rank_file_read(path, ranges_of(table, i), table->n_ranges[i], layout, values);
        free(path);
        free(name);
    }
    return rc;
}

/* The contents of a manifest that fits the run. */
typedef struct {
    lv_train_state state;
    lv_layout layout;
    int n_files;
} manifest_contents;

static int read_manifest(const char *dir, const lv_run_identity *identity, lv_params *params,
                         manifest_contents *out)
{
    cJSON *manifest = NULL;
    int rc = lv_checkpoint_manifest(&manifest, dir);
    if (rc < 0) {
        return rc;
    }
    rc = lv_checkpoint_manifest_compare(manifest, identity, params);
    if (rc == LV_OK) rc = lv_checkpoint_manifest_state(&out->state, manifest);
    if (rc == LV_OK) rc = lv_checkpoint_manifest_files(&out->n_files, manifest);
    if (rc == LV_OK) rc = lv_checkpoint_manifest_layout(&out->layout, manifest, params);
    cJSON_Delete(manifest);
    return rc < 0 ? lv_fail_within("%s", dir) : LV_OK;
}

int lv_checkpoint_load(const lv_comm *comm, const char *dir, const lv_run_identity *identity,
                       lv_train_state *state, lv_params *params, const lv_moments *moments)
{
    const lv_rank_values values = lv_rank_values_of(params, moments);
    manifest_contents found = {0};
    range_table table = {0};
    int rc = lv_comm_agree(comm, read_manifest(dir, identity, params, &found));
    table.n_files = found.n_files;
    if (rc == LV_OK) rc = make_table(comm, dir, lv_params_flat_count(params), &table);
    if (rc == LV_OK) rc = lv_comm_agree(comm, read_own_values(dir, &table, &found.layout, &values));
    free(found.layout.params);
    free(table.n_ranges);
    free(table.ranges);
    if (rc == LV_OK) {
        lv_params_refresh(params);
        *state = found.state;
    }
    return rc;
}
