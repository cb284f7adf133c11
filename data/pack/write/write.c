/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_pack_write: options, identity of the pack, and its phases.
 */
#include "data/pack/write/job.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/base/lock.h"
#include "data/pack/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_options(const lv_pack_options *options)
{
    if (options->store_rgb &&
        (options->image_size < 1 || options->image_size > LV_PACK_MAX_IMAGE_SIZE)) {
        return lv_fail(LV_ERR_CONFIG, "image size %d: expected 1 to %d pixels", options->image_size,
                       LV_PACK_MAX_IMAGE_SIZE);
    }
    if (!options->store_rgb && options->image_size != 0) {
        return lv_fail(LV_ERR_CONFIG,
                       "image size %d: the original files are kept, at their own sizes",
                       options->image_size);
    }
    if (!(options->max_rejects >= 0.0 && options->max_rejects <= 1.0)) {
        return lv_fail(LV_ERR_CONFIG, "a fraction of %g rejects: expected 0 to 1",
                       options->max_rejects);
    }
    if (options->image_dir && !lv_dir_exists(options->image_dir)) {
        return lv_fail(LV_ERR_CONFIG, "%s: there is no such folder of images", options->image_dir);
    }
    return LV_OK;
}

static void identify(lv_pack_job *job)
{
    const lv_pack_options *o = job->options;
    lv_pack_identity *id = &job->identity;
    const char *fingerprint = lv_tokenizer_fingerprint(job->tokenizer);
    LV_CHECK(strlen(fingerprint) < LV_PACK_TEXT_BYTES, "the fingerprint is too long");
    snprintf(id->template_name, sizeof id->template_name, "%s", lv_template_name(job->template));
    snprintf(id->fingerprint, sizeof id->fingerprint, "%s", fingerprint);
    snprintf(id->store, sizeof id->store, "%s", o->store_rgb ? "rgb" : "original");
    snprintf(id->aspect, sizeof id->aspect, "%s",
             o->store_rgb ? lv_aspect_name(o->aspect) : "none");
    id->image_size = o->store_rgb ? o->image_size : 0;
    id->has_images = job->names.n > 0;
    id->shard_records = lv_pack_shard_records(lv_pack_source_n_records(job->source));
    id->shard_images = lv_pack_shard_images(job->names.n);
    id->source_bytes = lv_pack_source_n_bytes(job->source);
    id->source_crc32 = lv_pack_source_crc32(job->source);
}

/* Numbers the images of all records, also of some that will be rejected. */
static int collect_image_names(lv_pack_job *job)
{
    const char *const *names = NULL;
    size_t n = 0;
    int64_t n_records = lv_pack_source_n_records(job->source), index = 0;
    int more = 0;
    if (!job->options->image_dir) {
        return LV_OK;
    }
    lv_pack_begin_phase(job, "records searched for images", n_records, n_records);
    while ((more = lv_pack_source_next_images(job->source, &index, &n, &names)) > 0) {
        for (size_t i = 0; i < n; i++) {
            int rc = lv_pack_names_add(&job->names, names[i], index, i == 0);
            if (rc < 0) {
                return rc;
            }
        }
        lv_pack_tick(job, 0);
    }
    return more;
}

/* The first pass over the data has no progress of its own. */
static void announce(lv_pack_job *job)
{
    struct stat st;
    job->progress = (lv_pack_progress){.what = "reading the data"};
    if (job->team.progress && stat(job->options->data_path, &st) == 0) {
        job->progress.n_bytes = st.st_size;
        job->team.progress(job->team.context, &job->progress);
    }
}

static int prepare_job(lv_pack_job *job)
{
    const lv_pack_options *o = job->options;
    int rc = check_options(o);
    if (rc == LV_OK) rc = lv_template_open(&job->template, o->template_name);
    if (rc == LV_OK) rc = lv_tokenizer_open(&job->tokenizer, o->tokenizer_path);
    if (rc == LV_OK) rc = lv_template_check(job->template, job->tokenizer);
    if (rc == LV_OK && job->team.rank == 0) {
        lv_template_print_missing_pieces(job->template, job->tokenizer);
        lv_tokenizer_warn_ids(job->tokenizer);
    }
    announce(job);
    if (rc == LV_OK) rc = lv_pack_source_open(&job->source, o->data_path);
    if (rc == LV_OK && lv_pack_source_n_records(job->source) == 0) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: holds no samples", o->data_path);
    }
    if (rc == LV_OK) rc = collect_image_names(job);
    if (rc == LV_OK) {
        identify(job);
    }
    return rc < 0 || job->team.rank > 0 ? rc : lv_pack_prepare_folder(job);
}

/* On rank 0, for all: on a network file system a new file may appear to ranks at different
 * times. */
static int is_finished(bool *finished, const lv_pack_job *job)
{
    char *path = lv_path("%s/" LV_PACK_MANIFEST_NAME, job->options->out_dir);
    *finished = job->team.rank == 0 && lv_file_exists(path);
    free(path);
    return lv_pack_broadcast(job, finished, sizeof *finished);
}

/* Too many rejects in all: rank 0 lists them, and every rank fails. */
static int check_rejects(lv_pack_job *job)
{
    int64_t n_rejects = job->n_rejects;
    int rc = lv_pack_sum(job, &n_rejects, 1);
    if (rc < 0 || !lv_pack_too_many(job, n_rejects)) {
        return rc;
    }
    if (job->team.rank == 0) {
        lv_pack_summary s = {.n_records = lv_pack_source_n_records(job->source), .n_samples = 1};
        rc = lv_pack_list_first_rejects(job, &s.n_rejects);
        s.n_rejects = s.n_rejects > n_rejects ? s.n_rejects : n_rejects;
        if (rc == LV_OK) rc = lv_pack_check_rejects(&s, job->options, true);
    }
    return lv_pack_barrier(job, rc);
}

/* full_list: lv_pack_finish lists and counts the rejects of this phase, if no shard is missing. */
static int run_phase(lv_pack_job *job, lv_pack_phase phase, lv_pack_entry **entries,
                     int64_t *n_written, bool full_list)
{
    char *missing = NULL;
    int rc = lv_pack_run_phase(job, &phase, entries, n_written, &missing);
    if (rc == LV_OK && (missing || !full_list)) rc = check_rejects(job);
    if (rc == LV_OK && missing) {
        rc = lv_fail(LV_ERR_IO, "%s: was not written: does another process write here?", missing);
    }
    free(missing);
    return rc;
}

static int write_phases(lv_pack_job *job)
{
    int64_t n_samples = 0;
    int rc = run_phase(job, lv_pack_image_phase(job), &job->images, &job->n_images_written, false);
    if (rc == LV_OK) {
        rc = run_phase(job, lv_pack_sample_phase(job), &job->samples, &n_samples, true);
    }
    return rc < 0 ? rc : lv_pack_barrier(job, job->team.rank == 0 ? lv_pack_finish(job) : LV_OK);
}

/* A finished pack's own totals, and whether these options allow its rejects. */
static int summarise(lv_pack_summary *summary, const lv_pack_options *options, bool was_complete)
{
    lv_pack *pack = NULL;
    const cJSON *file;
    int rc = lv_pack_open(&pack, options->out_dir);
    if (rc == LV_OK) rc = lv_pack_manifest_totals(summary, lv_pack_manifest(pack));
    if (rc == LV_OK) {
        cJSON_ArrayForEach (file,
                            cJSON_GetObjectItemCaseSensitive(lv_pack_manifest(pack), "files")) {
            summary->n_bytes +=
                (int64_t)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(file, "bytes"));
        }
    }
    lv_pack_close(&pack);
    if (rc == LV_OK) rc = lv_pack_check_rejects(summary, options, false);
    return rc < 0 && was_complete
               ? lv_fail(rc, "%s; the pack was finished before: to pack again, remove it first",
                         lv_error_message())
               : rc;
}

static void clean_up(lv_pack_job *job)
{
    if (job->lock >= 0) { /* all ranks have left their work */
        char *stop = lv_path("%s/stop.tmp", job->options->out_dir);
        unlink(stop);
        free(stop);
        lv_lock_release(&job->lock, job->options->out_dir);
    }
    lv_pack_names_free(&job->names);
    free(job->notes.bytes);
    free(job->all_notes);
    free(job->images);
    free(job->samples);
    lv_pack_source_close(&job->source);
    lv_template_close(&job->template);
    lv_tokenizer_close(&job->tokenizer);
}

int lv_pack_write(lv_pack_summary *summary, const lv_pack_options *options,
                  const lv_pack_team *team)
{
    lv_pack_summary found = {0};
    lv_pack_job job = {.options = options, .team = {.n_ranks = 1}, .lock = -1};
    if (team) {
        job.team = *team;
    }
    LV_CHECK(job.team.rank >= 0 && job.team.rank < job.team.n_ranks, "rank %d of %d", job.team.rank,
             job.team.n_ranks);
    bool finished = false;
    int rc = lv_pack_barrier(&job, prepare_job(&job));
    if (rc == LV_OK) rc = is_finished(&finished, &job);
    if (rc == LV_OK && !finished) {
        rc = write_phases(&job);
    }
    if (rc == LV_OK) {
        rc = lv_pack_barrier(&job,
                             job.team.rank == 0 ? summarise(&found, options, finished) : LV_OK);
    }
    if (rc == LV_OK) rc = lv_pack_broadcast(&job, &found, sizeof found);
    if (rc == LV_OK) {
        *summary = found;
        summary->n_images_written = job.n_images_written;
        summary->was_complete = finished;
    }
    clean_up(&job);
    return rc;
}
