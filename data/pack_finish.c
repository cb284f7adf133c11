/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a pack: rejects.jsonl and manifest.json, from the shards that all ranks wrote.
 */
#include "data/pack_job.h"

#include "autograd/error.h"
#include "data/file.h"
#include "data/manifest.h"
#include "data/pack_manifest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    lv_pack_summary summary;
    cJSON *manifest;
    lv_pack_shard rejects; /* REJECT_BYTES of all shards, appended */
} ending;

int lv_pack_check_rejects(const lv_pack_summary *summary, const lv_pack_options *options)
{
    if (summary->n_records == 0) {
        return lv_fail(LV_ERR_FORMAT, "%s: holds no samples", options->data_path);
    }
    const char *verdict =
        summary->n_samples == 0                     ? "nothing is left to train on"
        : options->strict && summary->n_rejects > 0 ? "none may be in a strict run"
        : (double)summary->n_rejects > options->max_rejects * (double)summary->n_records
            ? "more than the allowed fraction"
            : NULL;
    return verdict ? lv_fail(LV_ERR_FORMAT,
                             "%s: %" PRId64 " of %" PRId64 " records were rejected, %s (%g); see "
                             "%s/" LV_PACK_REJECTS_NAME,
                             options->data_path, summary->n_rejects, summary->n_records, verdict,
                             options->max_rejects, options->out_dir)
                   : LV_OK;
}

/* Counts and rejects of one sample shard. */
static int add_sample_shard(ending *e, const char *path, int64_t k)
{
    lv_pack_shard shard = {.kind = &LV_PACK_SAMPLES};
    lv_pack_identity identity;
    hid_t file = H5I_INVALID_HID;
    int rc = lv_pack_shard_open(&file, &identity, path, &LV_PACK_SAMPLES, k);
    rc = rc < 0 ? rc : lv_pack_shard_load(&shard, file, path, LV_PACK_COUNTS);
    rc = rc < 0 ? rc : lv_pack_shard_load(&shard, file, path, LV_PACK_REJECT_BYTES);
    rc = rc < 0 ? rc : lv_pack_shard_load(&shard, file, path, LV_PACK_REJECT_OFFSET);
    if (rc == LV_OK) {
        const lv_pack_column *c = shard.columns;
        const lv_sample_counts *counts = c[LV_PACK_COUNTS].data;
        for (int64_t i = 0; i < c[LV_PACK_COUNTS].n; i++) {
            e->summary.n_tokens += counts[i].n_tokens;
            e->summary.n_supervised += counts[i].n_supervised;
        }
        e->summary.n_samples += c[LV_PACK_COUNTS].n;
        e->summary.n_rejects += c[LV_PACK_REJECT_OFFSET].n - 1;
        rc = lv_pack_append(&e->rejects, LV_PACK_REJECT_BYTES, c[LV_PACK_REJECT_BYTES].data,
                            c[LV_PACK_REJECT_BYTES].n);
        rc = rc < 0 ? rc
                    : lv_pack_manifest_add_shard(e->manifest, "sample_shards", c[LV_PACK_COUNTS].n);
    }
    lv_pack_shard_close(&file);
    lv_pack_shard_free(&shard);
    return rc;
}

static int add_sample_shards(ending *e, const lv_pack_job *job)
{
    int64_t n = lv_pack_n_shards(e->summary.n_records, LV_PACK_SHARD_RECORDS);
    int rc = LV_OK;
    for (int64_t k = 0; rc == LV_OK && k < n; k++) {
        char *name = lv_pack_shard_name(&LV_PACK_SAMPLES, k);
        char *path = lv_path("%s/%s", job->options->out_dir, name);
        rc = add_sample_shard(e, path, k);
        free(path);
        free(name);
    }
    return rc;
}

static int add_image_shards(ending *e, const lv_pack_job *job)
{
    int rc = LV_OK;
    for (int64_t first = 0; rc == LV_OK && first < job->names.n; first += LV_PACK_SHARD_IMAGES) {
        int64_t left = job->names.n - first;
        rc = lv_pack_manifest_add_shard(e->manifest, "image_shards",
                                        left < LV_PACK_SHARD_IMAGES ? left : LV_PACK_SHARD_IMAGES);
    }
    for (int64_t i = 0; i < job->names.n; i++) {
        e->summary.n_images += !job->names.items[i].reason;
    }
    return rc;
}

static int add_files(ending *e, const lv_pack_job *job)
{
    const lv_pack_kind *const kinds[] = {&LV_PACK_SAMPLES, &LV_PACK_IMAGES};
    const int64_t n_shards[] = {lv_pack_n_shards(e->summary.n_records, LV_PACK_SHARD_RECORDS),
                                lv_pack_n_shards(job->names.n, LV_PACK_SHARD_IMAGES)};
    int rc = LV_OK;
    for (size_t i = 0; i < 2; i++) {
        for (int64_t k = 0; rc == LV_OK && k < n_shards[i]; k++) {
            char *name = lv_pack_shard_name(kinds[i], k);
            rc = lv_manifest_add_file(e->manifest, job->options->out_dir, name);
            free(name);
        }
    }
    return rc < 0 ? rc
                  : lv_manifest_add_file(e->manifest, job->options->out_dir, LV_PACK_REJECTS_NAME);
}

int lv_pack_finish(const lv_pack_job *job)
{
    const char *dir = job->options->out_dir;
    ending e = {.rejects = {.kind = &LV_PACK_SAMPLES}};
    char *rejects_path = lv_path("%s/" LV_PACK_REJECTS_NAME, dir);
    char *manifest_path = lv_path("%s/" LV_PACK_MANIFEST_NAME, dir);
    e.summary.n_records = lv_pack_source_n_records(job->source);
    const char *slash = strrchr(job->options->data_path, '/');
    int rc = lv_pack_manifest_create(&e.manifest, &job->identity,
                                     slash ? slash + 1 : job->options->data_path);
    rc = rc < 0 ? rc : add_sample_shards(&e, job);
    rc = rc < 0 ? rc : add_image_shards(&e, job);
    if (rc == LV_OK) {
        const lv_pack_column *c = &e.rejects.columns[LV_PACK_REJECT_BYTES];
        rc = lv_file_write(rejects_path, c->n ? c->data : "", (size_t)c->n);
    }
    rc = rc < 0 ? rc : lv_pack_check_rejects(&e.summary, job->options);
    rc = rc < 0 ? rc : lv_pack_manifest_add_totals(e.manifest, &e.summary);
    rc = rc < 0 ? rc : add_files(&e, job);
    rc = rc < 0 ? rc : lv_manifest_write(manifest_path, e.manifest);
    cJSON_Delete(e.manifest);
    lv_pack_shard_free(&e.rejects);
    free(rejects_path);
    free(manifest_path);
    return rc;
}
