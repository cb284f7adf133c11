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
#include <stdio.h>
#include <stdlib.h>

struct lv_saver {
    lv_saver_options options;
    int64_t last_step, n_failed;
    double longest_s;
    lv_outcome result; /* of the checkpoint that was begun last; the same on all ranks */
    bool said_waiting;

    /* the one under way */
    bool under_way;
    int64_t step;
    cJSON *manifest; /* rank 0's */
    char *beside;    /* the folder that it is written to */
    lv_rank_writer writer;
};

/* Size and CRC-32 of a rank's file, as doubles because they are summed over ranks. */
typedef struct {
    double n_bytes, crc;
} file_sum;

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
        fprintf(stderr, "llava: a checkpoint that was not finished stays: %s\n",
                lv_error_message());
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

/* ---- the end of one ---- */

/* Rank 0, when all files are on the disk: the manifest, and the name that says it is whole. */
static int publish(const lv_saver *saver, const file_sum *sums)
{
    char *path = lv_path("%s/manifest.json", saver->beside);
    char *dir = lv_checkpoint_path(saver->options.run_dir, saver->step);
    int rc = lv_fail_point("checkpoint.manifest.begin");
    for (int rank = 0; rc == LV_OK && rank < saver->options.comm->n_ranks; rank++) {
        char *name = lv_checkpoint_file_name(rank);
        rc = lv_manifest_add_entry(saver->manifest, name, (int64_t)sums[rank].n_bytes,
                                   (uint32_t)sums[rank].crc);
        free(name);
    }
    if (rc == LV_OK) rc = lv_manifest_write(path, saver->manifest);
    if (rc == LV_OK) rc = lv_fail_point("checkpoint.manifest.written");
    if (rc == LV_OK) rc = lv_checkpoint_install(saver->beside, dir);
    if (rc == LV_OK) rc = lv_fail_point("checkpoint.renamed");
    free(dir);
    free(path);
    return rc;
}

/* All ranks have written: how that went, then rank 0 makes it a checkpoint. */
static int complete(lv_saver *saver)
{
    const lv_comm *comm = saver->options.comm;
    file_sum *sums = calloc((size_t)comm->n_ranks, sizeof *sums);
    LV_CHECK(sums, "out of memory for a checkpoint's checksums");
    int rc = lv_comm_agree(comm, lv_outcome_told(&saver->writer.result));
    sums[comm->rank] =
        (file_sum){.n_bytes = (double)saver->writer.n_bytes, .crc = saver->writer.crc};
    if (rc == LV_OK) rc = lv_comm_sum_double(comm, &sums[0].n_bytes, 2 * comm->n_ranks);
    if (rc == LV_OK) rc = lv_comm_agree(comm, comm->rank == 0 ? publish(saver, sums) : LV_OK);
    free(sums);
    return rc;
}

static void note_success(lv_saver *saver, double took_s)
{
    lv_outcome_note(&saver->result, LV_OK);
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
        fprintf(stderr, "llava: an old checkpoint could not be removed: %s\n", lv_error_message());
    }
}

static void note_failure(lv_saver *saver, int rc)
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
    lv_outcome_note(&saver->result, lv_fail(rc, "%s", message));
    free(message);
    saver->n_failed++;
    if (saver->options.comm->rank == 0 && lv_dir_remove(saver->beside) < 0) {
        lv_progress_end();
        fprintf(stderr, "llava: what was written of a checkpoint stays: %s\n", lv_error_message());
    }
}

/* Frees what belongs to the one under way. */
static void forget(lv_saver *saver)
{
    lv_rank_writer_end(&saver->writer);
    free(saver->beside);
    cJSON_Delete(saver->manifest);
    saver->beside = NULL;
    saver->manifest = NULL;
    saver->under_way = false;
}

/* Ends the one under way, waiting for this rank's part; saver->result says how it went. */
static void conclude(lv_saver *saver)
{
    lv_rank_writer_end(&saver->writer);
    double begin_s = lv_clock_s(), took_s = saver->writer.took_s;
    int rc = complete(saver);
    if (rc == LV_OK) rc = lv_comm_max_double(saver->options.comm, &took_s, 1);
    if (rc == LV_OK) {
        note_success(saver, took_s + lv_clock_s() - begin_s);
    } else {
        note_failure(saver, rc);
    }
    forget(saver);
}

/* What follows from the result. */
static int settle(const lv_saver *saver)
{
    const lv_outcome *result = &saver->result;
    if (result->rc == LV_OK || result->rc == LV_ERR_COMM || !saver->options.goes_on) {
        return lv_outcome_told(result);
    }
    if (saver->options.comm->rank == 0) {
        lv_progress_end();
        fprintf(stderr, "llava: WARNING: %s. The run goes on (checkpoint.on_error: continue)\n",
                result->message);
    }
    return LV_OK;
}

/* ---- the beginning of one ---- */

/* Rank 0. */
static int prepare(const lv_saver *saver)
{
    char *folder = lv_path_dir(saver->beside);
    int rc = lv_dir_create(folder);
    if (rc == LV_OK) rc = lv_dir_remove(saver->beside);
    if (rc == LV_OK) rc = lv_dir_create(saver->beside);
    if (rc == LV_OK) rc = lv_fail_point("checkpoint.begin");
    free(folder);
    return rc;
}

/* Collective: every rank's part is written, or on its way. */
static int write_parts(lv_saver *saver, const lv_rank_values *values)
{
    const lv_comm *comm = saver->options.comm;
    bool copied = true;
    char *name = lv_checkpoint_file_name(comm->rank);
    char *path = lv_path("%s/%s", saver->beside, name);
    int rc = lv_rank_writer_start(&saver->writer, comm, path, values, &copied);
    if (!copied && comm->rank == 0 && !saver->said_waiting) {
        lv_progress_end();
        fprintf(stderr, "llava: the steps wait while a checkpoint is written: there is no memory "
                        "for a copy (12 bytes a trained element, shared out among the ranks)\n");
        saver->said_waiting = true;
    }
    free(path);
    free(name);
    return rc;
}

int lv_saver_begin(lv_saver *saver, const lv_train_state *state, const lv_run_identity *identity,
                   lv_params *params, lv_real *exp_avg, lv_real *exp_avg_sq)
{
    const lv_comm *comm = saver->options.comm;
    const lv_rank_values values = {
        .params = params,
        .buffers = {[LV_RANK_EXP_AVG] = exp_avg, [LV_RANK_EXP_AVG_SQ] = exp_avg_sq}};
    int rc = LV_OK;
    if (saver->under_way) {
        conclude(saver);
        rc = settle(saver);
    }
    if (rc < 0) {
        return rc;
    }
    char *dir = lv_checkpoint_path(saver->options.run_dir, state->step);
    saver->under_way = true;
    saver->step = state->step;
    saver->beside = lv_path("%s.tmp", dir);
    free(dir);
    if (comm->rank == 0) {
        saver->manifest = lv_checkpoint_manifest_make(comm->n_ranks, state, identity, params);
    }
    rc = lv_comm_agree(comm, comm->rank == 0 ? prepare(saver) : LV_OK);
    if (rc < 0 && rc != LV_ERR_COMM) {
        lv_rank_writer_fail(&saver->writer, rc); /* on all ranks: poll or finish say so */
        return LV_OK;
    }
    return rc < 0 ? rc : write_parts(saver, &values);
}

int lv_saver_poll(lv_saver *saver)
{
    double writing = !lv_rank_writer_is_done(&saver->writer);
    if (!saver->under_way) {
        return LV_OK;
    }
    int rc = lv_comm_max_double(saver->options.comm, &writing, 1);
    if (rc < 0 || writing > 0) {
        return rc;
    }
    conclude(saver);
    return settle(saver);
}

int lv_saver_finish(lv_saver *saver)
{
    if (saver->under_way) {
        conclude(saver);
    }
    return lv_outcome_told(&saver->result);
}

void lv_saver_destroy(lv_saver **saver)
{
    if (!*saver) {
        return;
    }
    forget(*saver);
    if ((*saver)->n_failed > 0 && (*saver)->options.goes_on && (*saver)->options.comm->rank == 0) {
        lv_progress_end();
        fprintf(stderr,
                "llava: WARNING: %" PRId64 " checkpoint%s of this run could not be written\n",
                (*saver)->n_failed, (*saver)->n_failed == 1 ? "" : "s");
    }
    free(*saver);
    *saver = NULL;
}
