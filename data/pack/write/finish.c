/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a pack: rejects.jsonl and manifest.json, from the entries of all shards.
 */
#include "data/pack/write/job.h"

#include "autograd/error.h"
#include "data/base/fail_point.h"
#include "data/base/file.h"
#include "data/json/manifest.h"
#include "data/pack/manifest.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static int64_t n_sample_shards(const lv_pack_job *job)
{
    return lv_pack_n_shards(lv_pack_source_n_records(job->source), job->identity.shard_records);
}

static int64_t n_image_shards(const lv_pack_job *job)
{
    return lv_pack_n_shards(job->names.n, job->identity.shard_images);
}

static lv_pack_summary sum_up(const lv_pack_job *job)
{
    lv_pack_summary s = {.n_records = lv_pack_source_n_records(job->source),
                         .n_images = job->names.n};
    for (int64_t k = 0; k < n_sample_shards(job); k++) {
        s.n_samples += job->samples[k].n_samples;
        s.n_rejects += job->samples[k].n_bad;
        s.n_tokens += job->samples[k].n_tokens;
        s.n_supervised += job->samples[k].n_supervised;
    }
    for (int64_t k = 0; k < n_image_shards(job); k++) {
        s.n_images -= job->images[k].n_bad;
    }
    return s;
}

static int add_shards(cJSON *manifest, const lv_pack_job *job)
{
    int rc = LV_OK;
    for (int64_t k = 0; rc == LV_OK && k < n_sample_shards(job); k++) {
        rc = lv_pack_manifest_add_shard(manifest, "sample_shards", job->samples[k].n_samples);
    }
    for (int64_t k = 0; rc == LV_OK && k < n_image_shards(job); k++) {
        int64_t left = job->names.n - k * job->identity.shard_images;
        rc = lv_pack_manifest_add_shard(
            manifest, "image_shards",
            left < job->identity.shard_images ? left : job->identity.shard_images);
    }
    return rc;
}

static int add_shard_files(cJSON *manifest, const lv_pack_kind *kind, const lv_pack_entry *entries,
                           int64_t n)
{
    int rc = LV_OK;
    for (int64_t k = 0; rc == LV_OK && k < n; k++) {
        char *name = lv_pack_shard_name(kind, k);
        rc = lv_manifest_add_entry(manifest, name, entries[k].n_bytes, (uint32_t)entries[k].crc32);
        free(name);
    }
    return rc;
}

/* The files of tokenizer/, in the order of their names. */
static int add_tokenizer_files(cJSON *manifest, const char *dir)
{
    char *folder = lv_path("%s/" LV_PACK_TOKENIZER_NAME, dir);
    struct dirent **files = NULL;
    int n = scandir(folder, &files, NULL, alphasort);
    int rc = n < 0 ? lv_fail_errno(LV_ERR_IO, "%s: opening", folder) : LV_OK;
    for (int i = 0; i < n; i++) {
        if (rc == LV_OK && files[i]->d_name[0] != '.') {
            char *name = lv_path(LV_PACK_TOKENIZER_NAME "/%s", files[i]->d_name);
            rc = lv_manifest_add_file(manifest, dir, name);
            free(name);
        }
        free(files[i]);
    }
    free(files);
    free(folder);
    return rc;
}

static int add_files(cJSON *manifest, const lv_pack_job *job)
{
    const char *dir = job->options->out_dir;
    int rc = add_shard_files(manifest, &LV_PACK_SAMPLES, job->samples, n_sample_shards(job));
    if (rc == LV_OK) {
        rc = add_shard_files(manifest, &LV_PACK_IMAGES, job->images, n_image_shards(job));
    }
    if (rc == LV_OK) rc = lv_manifest_add_file(manifest, dir, LV_PACK_REJECTS_NAME);
    return rc < 0 ? rc : add_tokenizer_files(manifest, dir);
}

static int write_manifest(const lv_pack_job *job, const lv_pack_summary *summary)
{
    cJSON *manifest = NULL;
    char *path = lv_path("%s/" LV_PACK_MANIFEST_NAME, job->options->out_dir);
    const char *slash = strrchr(job->options->data_path, '/');
    int rc = lv_pack_manifest_create(&manifest, &job->identity,
                                     slash ? slash + 1 : job->options->data_path);
    if (rc == LV_OK) rc = add_shards(manifest, job);
    if (rc == LV_OK) rc = lv_pack_manifest_add_totals(manifest, summary);
    if (rc == LV_OK) rc = add_files(manifest, job);
    if (rc == LV_OK && (rc = lv_fail_point("pack.manifest.begin")) < 0) {
        lv_fail_within("%s", path);
    }
    if (rc == LV_OK) rc = lv_manifest_write(path, manifest);
    if (rc == LV_OK && (rc = lv_fail_point("pack.manifest.written")) < 0) {
        lv_fail_within("%s", path);
    }
    cJSON_Delete(manifest);
    free(path);
    return rc;
}

int lv_pack_finish(const lv_pack_job *job)
{
    lv_pack_summary summary = sum_up(job);
    int rc = lv_pack_write_rejects(job);
    if (rc == LV_OK) rc = lv_pack_check_rejects(&summary, job->options, false);
    return rc < 0 ? rc : write_manifest(job, &summary);
}
