/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_pack_write: options, what the folder holds already, and the phases in which the ranks meet.
 */
#include "data/pack_job.h"

#include "autograd/error.h"
#include "data/file.h"
#include "data/manifest.h"
#include "data/pack_manifest.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_options(const lv_pack_options *options)
{
    if (options->store_rgb &&
        (options->image_size < 1 || options->image_size > LV_PACK_MAX_IMAGE_SIZE)) {
        return lv_fail(LV_ERR_CONFIG, "image size %d: expected 1 to %d pixels", options->image_size,
                       LV_PACK_MAX_IMAGE_SIZE);
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
             !o->store_rgb                   ? "none"
             : o->aspect == LV_ASPECT_SQUARE ? "square"
                                             : "pad");
    id->image_size = o->store_rgb ? o->image_size : 0;
    id->has_images = o->image_dir != NULL;
    id->source_bytes = lv_pack_source_n_bytes(job->source);
    id->source_crc32 = lv_pack_source_crc32(job->source);
}

/* Numbers the images of all records, also of some that will be rejected. */
static int collect_names(lv_pack_job *job)
{
    const char *const *names = NULL;
    size_t n = 0;
    int64_t index = 0;
    int more = 0;
    if (!job->options->image_dir) {
        return LV_OK;
    }
    while ((more = lv_pack_source_next_images(job->source, &index, &n, &names)) > 0) {
        for (size_t i = 0; i < n; i++) {
            int rc = lv_pack_names_add(&job->names, names[i], index);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return more;
}

static int refuse(const lv_pack_job *job)
{
    lv_fail_within("holds a pack made from other data or with other options; choose another --out, "
                   "or remove it");
    return lv_fail_within("%s", job->options->out_dir);
}

/* If the name is that of a shard, its kind and index. */
static bool is_shard_name(const char *name, const lv_pack_kind **kind, int64_t *index)
{
    static const lv_pack_kind *const kinds[] = {&LV_PACK_SAMPLES, &LV_PACK_IMAGES};
    const char *dash = strchr(name, '-');
    for (size_t i = 0; dash && i < 2; i++) {
        *index = strtoll(dash + 1, NULL, 10);
        char *own = lv_pack_shard_name(kinds[i], *index);
        bool same = *index >= 0 && strcmp(own, name) == 0;
        free(own);
        if (same) {
            *kind = kinds[i];
            return true;
        }
    }
    return false;
}

/* Shards of an unfinished pack must be of this one; what cannot be read will be written again. */
static int check_shards(const lv_pack_job *job)
{
    const char *out_dir = job->options->out_dir;
    DIR *dir = opendir(out_dir);
    int rc = dir ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: opening", out_dir);
    for (struct dirent *entry; rc == LV_OK && (entry = readdir(dir));) {
        const lv_pack_kind *kind = NULL;
        lv_pack_identity found;
        int64_t index = 0;
        hid_t file = H5I_INVALID_HID;
        if (!is_shard_name(entry->d_name, &kind, &index)) {
            continue;
        }
        char *path = lv_path("%s/%s", out_dir, entry->d_name);
        if (lv_pack_shard_open(&file, &found, path, kind, index) == LV_OK &&
            lv_pack_identity_compare(&found, &job->identity) < 0) {
            rc = refuse(job);
        }
        lv_pack_shard_close(&file);
        free(path);
    }
    if (dir) {
        closedir(dir);
    }
    return rc;
}

/* Makes the folder, or sees that what is in it is of this pack. */
static int check_folder(const lv_pack_job *job)
{
    const char *out_dir = job->options->out_dir;
    lv_pack_identity found;
    cJSON *manifest = NULL;
    int rc = lv_dir_create(out_dir);
    if (rc < 0) {
        return rc;
    }
    char *path = lv_path("%s/" LV_PACK_MANIFEST_NAME, out_dir);
    bool finished = lv_file_exists(path);
    if (finished) {
        rc = lv_manifest_read(&manifest, path);
        rc = rc < 0 ? rc : lv_pack_manifest_identity(&found, manifest);
        if (rc == LV_OK && lv_pack_identity_compare(&found, &job->identity) < 0) {
            rc = refuse(job);
        }
    } else {
        rc = check_shards(job);
    }
    cJSON_Delete(manifest);
    free(path);
    return rc;
}

int lv_pack_open_whole(hid_t *file, const lv_pack_job *job, const char *path,
                       const lv_pack_kind *kind, int64_t index)
{
    lv_pack_identity found;
    *file = H5I_INVALID_HID;
    if (!lv_file_exists(path) || lv_pack_shard_open(file, &found, path, kind, index) < 0) {
        return 0;
    }
    if (lv_pack_identity_compare(&found, &job->identity) < 0) {
        return refuse(job);
    }
    return lv_pack_shard_check(*file, path, kind) == LV_OK;
}

static int prepare(lv_pack_job *job)
{
    const lv_pack_options *o = job->options;
    int rc = check_options(o);
    rc = rc < 0 ? rc : lv_template_open(&job->template, o->template_name);
    rc = rc < 0 ? rc : lv_tokenizer_open(&job->tokenizer, o->tokenizer_path);
    if (rc == LV_OK && job->team.rank == 0) {
        lv_template_print_missing_pieces(job->template, job->tokenizer);
    }
    rc = rc < 0 ? rc : lv_pack_source_open(&job->source, o->data_path);
    if (rc == LV_OK && lv_pack_source_n_records(job->source) == 0) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: holds no samples", o->data_path);
    }
    if (rc == LV_OK) {
        identify(job);
        rc = collect_names(job);
    }
    return rc < 0 || job->team.rank > 0 ? rc : check_folder(job);
}

static int meet(const lv_pack_job *job, int rc)
{
    return job->team.meet ? job->team.meet(job->team.context, rc) : rc;
}

static int share(const lv_pack_job *job, void *data, int64_t n)
{
    return job->team.share ? job->team.share(job->team.context, data, n) : LV_OK;
}

/* As rank 0 sees it: on a network file system the ranks may see a new file at different times, and
 * they must not part ways here. */
static int is_finished(bool *finished, const lv_pack_job *job)
{
    char *path = lv_path("%s/" LV_PACK_MANIFEST_NAME, job->options->out_dir);
    *finished = job->team.rank == 0 && lv_file_exists(path);
    free(path);
    return share(job, finished, sizeof *finished);
}

static int write_phases(lv_pack_job *job)
{
    int rc = meet(job, lv_pack_write_images(job));
    rc = rc < 0 ? rc : meet(job, lv_pack_load_reasons(job));
    rc = rc < 0 ? rc : meet(job, lv_pack_write_samples(job));
    return rc < 0 ? rc : meet(job, job->team.rank == 0 ? lv_pack_finish(job) : LV_OK);
}

/* What a finished pack says of itself, and whether these options would have let it pass. */
static int summarise(lv_pack_summary *summary, const lv_pack_options *options)
{
    lv_pack *pack = NULL;
    int rc = lv_pack_open(&pack, options->out_dir);
    rc = rc < 0 ? rc : lv_pack_manifest_totals(summary, lv_pack_manifest(pack));
    lv_pack_close(&pack);
    return rc < 0 ? rc : lv_pack_check_rejects(summary, options);
}

int lv_pack_write(lv_pack_summary *summary, const lv_pack_options *options,
                  const lv_pack_team *team)
{
    lv_pack_summary found = {0};
    lv_pack_job job = {.options = options, .team = {.n_ranks = 1}};
    if (team) {
        job.team = *team;
    }
    LV_CHECK(job.team.rank >= 0 && job.team.rank < job.team.n_ranks, "rank %d of %d", job.team.rank,
             job.team.n_ranks);
    bool finished = false;
    int rc = meet(&job, prepare(&job));
    rc = rc < 0 ? rc : is_finished(&finished, &job);
    if (rc == LV_OK && !finished) {
        rc = write_phases(&job);
    }
    rc = rc < 0 ? rc : meet(&job, job.team.rank == 0 ? summarise(&found, options) : LV_OK);
    rc = rc < 0 ? rc : share(&job, &found, sizeof found);
    if (rc == LV_OK) {
        *summary = found;
    }
    lv_pack_names_free(&job.names);
    lv_pack_source_close(&job.source);
    lv_template_close(&job.template);
    lv_tokenizer_close(&job.tokenizer);
    return rc;
}
