/* SPDX-License-Identifier: Apache-2.0 */
#include "train/checkpoint/save.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "data/base/fail_point.h"
#include "data/base/file.h"
#include "data/json/manifest.h"
#include "train/checkpoint/dir.h"
#include "train/checkpoint/manifest.h"
#include "train/checkpoint/writer.h"
#include "train/host/progress.h"

#include <inttypes.h>
#include <stdlib.h>

struct lv_saver {
    lv_saver_options options;
    int64_t last_step, n_failed;
    double longest_s;
    lv_failure result; /* of the last checkpoint; the same on all ranks */
    bool said_waiting;

    /* the checkpoint in progress */
    bool in_progress;
    int64_t step;
    cJSON *manifest; /* rank 0's */
    char *tmp_dir;   /* the folder that it is written to */
    lv_rank_writer writer;
};

/* Of a rank's file. */
typedef struct {
    int64_t n_bytes, crc;
} file_digest;

int lv_saver_create(lv_saver **out, const lv_saver_options *options)
{
    LV_CHECK(options->keep >= 1, "%" PRId64 " checkpoints to keep", options->keep);
    lv_saver *saver = calloc(1, sizeof *saver);
    if (!saver) {
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    saver->options = *options;
    saver->last_step = options->last;
    if (options->comm->rank == 0 && lv_checkpoint_clean(options->run_dir) < 0) {
        lv_warn("a checkpoint that was not finished stays: %s", lv_error_message());
    }
    *out = saver;
    return LV_OK;
}

int64_t lv_saver_last_step(const lv_saver *saver)
{
    return saver->last_step;
}

double lv_saver_longest_s(const lv_saver *saver)
{
    return saver->longest_s;
}

/* ---- the end of a save ---- */

/* On rank 0, when all files are on the disk: writes the manifest and renames the folder. */
static int publish(const lv_saver *saver, const file_digest *digests)
{
    char *path = lv_path("%s/manifest.json", saver->tmp_dir);
    char *dir = lv_checkpoint_path(saver->options.run_dir, saver->step);
    int rc = lv_fail_point("checkpoint.manifest.begin");
    for (int rank = 0; rc == LV_OK && rank < saver->options.comm->n_ranks; rank++) {
        char *name = lv_checkpoint_file_name(rank);
        rc = lv_manifest_add_entry(saver->manifest, name, digests[rank].n_bytes,
                                   (uint32_t)digests[rank].crc);
        free(name);
    }
    if (rc == LV_OK) rc = lv_manifest_write(path, saver->manifest);
    if (rc == LV_OK) rc = lv_fail_point("checkpoint.manifest.written");
    if (rc == LV_OK) rc = lv_checkpoint_install(saver->tmp_dir, dir);
    if (rc == LV_OK) rc = lv_fail_point("checkpoint.renamed");
    free(dir);
    free(path);
    return rc;
}

/* All ranks have written: if none failed, rank 0 publishes the checkpoint. */
static int complete(lv_saver *saver)
{
    const lv_comm *comm = saver->options.comm;
    const file_digest own = {.n_bytes = saver->writer.n_bytes, .crc = saver->writer.crc};
    file_digest *digests = calloc((size_t)comm->n_ranks, sizeof *digests);
    LV_CHECK(digests, "out of memory for a checkpoint's checksums");
    int rc = lv_comm_agree(comm, lv_failure_raise(&saver->writer.result));
    if (rc == LV_OK) rc = lv_comm_gather(comm, digests, &own, sizeof own);
    if (rc == LV_OK) rc = lv_comm_agree(comm, comm->rank == 0 ? publish(saver, digests) : LV_OK);
    free(digests);
    return rc;
}

static void record_success(lv_saver *saver, double took_s)
{
    lv_failure_take(&saver->result, LV_OK);
    saver->last_step = saver->step;
    saver->longest_s = took_s > saver->longest_s ? took_s : saver->longest_s;
    if (saver->options.comm->rank != 0) {
        return;
    }
    int rc = lv_fail_point("checkpoint.prune.begin");
    if (rc == LV_OK) {
        rc = lv_checkpoint_prune(saver->options.run_dir, saver->options.keep, saver->step);
    }
    if (rc < 0) {
        lv_progress_end();
        lv_warn("an old checkpoint could not be removed: %s", lv_error_message());
    }
}

static void record_failure(lv_saver *saver, int rc)
{
    char *message =
        saver->last_step < 0
            ? lv_path("the checkpoint of step %" PRId64 " was not written: %s; there is none to go "
                      "back to",
                      saver->step, lv_error_message())
            : lv_path("the checkpoint of step %" PRId64
                      " was not written: %s; the last good one is "
                      "that of step %" PRId64,
                      saver->step, lv_error_message(), saver->last_step);
    lv_failure_take(&saver->result, lv_fail(rc, "%s", message));
    free(message);
    saver->n_failed++;
    if (saver->options.comm->rank == 0 && lv_dir_remove(saver->tmp_dir) < 0) {
        lv_progress_end();
        lv_warn("what was written of a checkpoint stays: %s", lv_error_message());
    }
}

/* Frees the checkpoint in progress. */
static void release_save(lv_saver *saver)
{
    lv_rank_writer_end(&saver->writer);
    free(saver->tmp_dir);
    cJSON_Delete(saver->manifest);
    saver->tmp_dir = NULL;
    saver->manifest = NULL;
    saver->in_progress = false;
}

/* Ends the checkpoint in progress, waiting for this rank's file; sets saver->result. */
static void finish_save(lv_saver *saver)
{
    lv_rank_writer_end(&saver->writer);
    double begin_s = lv_clock_s(), took_s = saver->writer.took_s;
    int rc = complete(saver);
    if (rc == LV_OK) rc = lv_comm_max_double(saver->options.comm, &took_s, 1);
    if (rc == LV_OK) {
        record_success(saver, took_s + lv_clock_s() - begin_s);
    } else {
        record_failure(saver, rc);
    }
    release_save(saver);
}

/* The result, or LV_OK and a warning if the run continues on error. */
static int report_result(const lv_saver *saver)
{
    const lv_failure *result = &saver->result;
    if (result->code == LV_OK || result->code == LV_ERR_COMM || !saver->options.continue_on_error) {
        return lv_failure_raise(result);
    }
    if (saver->options.comm->rank == 0) {
        lv_progress_end();
        lv_warn("WARNING: %s. The run continues (checkpoint.on_error: continue)", result->message);
    }
    return LV_OK;
}

/* ---- the beginning of a save ---- */

/* On rank 0. */
static int prepare_tmp_dir(const lv_saver *saver)
{
    char *folder = lv_path_dir(saver->tmp_dir);
    int rc = lv_dir_create(folder);
    if (rc == LV_OK) rc = lv_dir_remove(saver->tmp_dir);
    if (rc == LV_OK) rc = lv_dir_create(saver->tmp_dir);
    if (rc == LV_OK) rc = lv_fail_point("checkpoint.begin");
    free(folder);
    return rc;
}

/* Starts, or without memory for a copy completes, the rank's file. Collective. */
static int start_file(lv_saver *saver, const lv_rank_values *values)
{
    const lv_comm *comm = saver->options.comm;
    bool copied = true;
    char *name = lv_checkpoint_file_name(comm->rank);
    char *path = lv_path("%s/%s", saver->tmp_dir, name);
    int rc = lv_rank_writer_start(&saver->writer, comm, path, values, &copied);
    if (!copied && comm->rank == 0 && !saver->said_waiting) {
        lv_progress_end();
        lv_warn("the steps wait while a checkpoint is written: there is no memory "
                "for a copy (%d bytes a trained element, shared out among the ranks)",
                (int)lv_rank_values_element_bytes(values));
        saver->said_waiting = true;
    }
    free(path);
    free(name);
    return rc;
}

int lv_saver_begin(lv_saver *saver, const lv_train_state *state, const lv_run_identity *identity,
                   lv_params *params, const lv_moments *moments)
{
    const lv_comm *comm = saver->options.comm;
    const lv_rank_values values = lv_rank_values_of(params, moments);
    int rc = LV_OK;
    if (saver->in_progress) {
        finish_save(saver);
        rc = report_result(saver);
    }
    if (rc < 0) {
        return rc;
    }
    char *dir = lv_checkpoint_path(saver->options.run_dir, state->step);
    saver->in_progress = true;
    saver->step = state->step;
    saver->tmp_dir = lv_path("%s.tmp", dir);
    free(dir);
    if (comm->rank == 0) {
        saver->manifest = lv_checkpoint_manifest_make(comm->n_ranks, state, identity, params);
    }
    rc = lv_comm_agree(comm, comm->rank == 0 ? prepare_tmp_dir(saver) : LV_OK);
    if (rc < 0 && rc != LV_ERR_COMM) {
        lv_rank_writer_fail(&saver->writer, rc); /* on all ranks: returned by poll or finish */
        return LV_OK;
    }
    return rc < 0 ? rc : start_file(saver, &values);
}

int lv_saver_poll(lv_saver *saver)
{
    double writing = !lv_rank_writer_is_done(&saver->writer);
    if (!saver->in_progress) {
        return LV_OK;
    }
    int rc = lv_comm_max_double(saver->options.comm, &writing, 1);
    if (rc < 0 || writing > 0) {
        return rc;
    }
    finish_save(saver);
    return report_result(saver);
}

int lv_saver_finish(lv_saver *saver)
{
    if (saver->in_progress) {
        finish_save(saver);
    }
    return lv_failure_raise(&saver->result);
}

void lv_saver_destroy(lv_saver **saver)
{
    if (!*saver) {
        return;
    }
    release_save(*saver);
    if ((*saver)->n_failed > 0 && (*saver)->options.continue_on_error &&
        (*saver)->options.comm->rank == 0) {
        lv_progress_end();
        lv_warn("WARNING: %" PRId64 " checkpoint%s of this run could not be written",
                (*saver)->n_failed, (*saver)->n_failed == 1 ? "" : "s");
    }
    free(*saver);
    *saver = NULL;
}
