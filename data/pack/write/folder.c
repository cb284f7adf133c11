/* SPDX-License-Identifier: Apache-2.0
 *
 * The folder of a pack: its lock, what an earlier run left there, the tokenizer's files.
 */
#include "data/pack/write/job.h"

#include "autograd/error.h"
#include "data/base/fail_point.h"
#include "data/base/file.h"
#include "data/base/lock.h"
#include "data/json/manifest.h"
#include "data/pack/manifest.h"
#include "data/pack/shard.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int refuse_folder(const lv_pack_job *job)
{
    lv_fail_within("holds a pack made from other data or with other options; choose another --out, "
                   "or remove it");
    return lv_fail_within("%s", job->options->out_dir);
}

/* ---- shards ---- */

int lv_pack_open_whole(hid_t *file, lv_pack_entry *entry, const lv_pack_job *job, const char *path,
                       const lv_pack_kind *kind, int64_t index)
{
    lv_pack_identity found;
    *file = H5I_INVALID_HID;
    if (!lv_file_exists(path) || lv_pack_shard_open(file, &found, path, kind, index) < 0) {
        return 0;
    }
    if (lv_pack_identity_compare(&found, &job->identity) < 0) {
        return refuse_folder(job);
    }
    return lv_pack_seal_check(path, &entry->n_bytes, &entry->crc32) == LV_OK;
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

/* A shard of an unfinished pack must be of this one; one that cannot be read will be written again.
 * returns 1 if it is, 0 if it cannot be read */
static int check_found_shard(const lv_pack_job *job, const char *path, const lv_pack_kind *kind,
                             int64_t index)
{
    lv_pack_identity found;
    hid_t file = H5I_INVALID_HID;
    int rc = lv_pack_shard_open(&file, &found, path, kind, index);
    if (rc == LV_OK) {
        rc = lv_pack_identity_compare(&found, &job->identity) < 0 ? refuse_folder(job) : 1;
    } else if (rc != LV_ERR_UNSUPPORTED) {
        rc = 0;
    }
    lv_pack_shard_close(&file);
    return rc;
}

/* Whether a killed run left it: a temporary file of the pack. */
static bool is_leftover(const char *name)
{
    static const char *const ours[] = {"samples-", "images-", LV_PACK_REJECTS_NAME ".",
                                       LV_PACK_MANIFEST_NAME ".", "stop."};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (strncmp(name, ours[i], strlen(ours[i])) == 0) {
            return strstr(name, ".tmp") != NULL;
        }
    }
    return false;
}

/* One whole shard of each kind is compared before anything is written; all ranks check the
 * others. */
static int check_found_shards(const lv_pack_job *job)
{
    const char *out_dir = job->options->out_dir;
    const lv_pack_kind *seen = NULL, *kind = NULL;
    int n_seen = 0;
    DIR *dir = opendir(out_dir);
    int rc = dir ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: opening", out_dir);
    for (struct dirent *entry; rc >= 0 && n_seen < 2 && (entry = readdir(dir));) {
        int64_t index = 0;
        if (is_shard_name(entry->d_name, &kind, &index) && kind != seen) {
            char *path = lv_path("%s/%s", out_dir, entry->d_name);
            rc = check_found_shard(job, path, kind, index);
            if (rc == 1) {
                seen = kind;
                n_seen++;
            }
            free(path);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return rc < 0 ? rc : LV_OK;
}

static int remove_leftovers(const char *out_dir)
{
    DIR *dir = opendir(out_dir);
    int rc = dir ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: opening", out_dir);
    for (struct dirent *entry; rc == LV_OK && (entry = readdir(dir));) {
        char *path = lv_path("%s/%s", out_dir, entry->d_name);
        if (is_leftover(entry->d_name) && unlink(path) < 0) {
            rc = lv_fail_errno(LV_ERR_IO, "%s: removing what an earlier run left", path);
        }
        free(path);
    }
    if (dir) {
        closedir(dir);
    }
    return rc;
}

/* ---- the tokenizer's files ---- */

/* The copy must be the tokenizer that this pack is made with. */
static int check_copy(const lv_pack_job *job, const char *dir)
{
    lv_tokenizer *copy = NULL;
    int rc = lv_tokenizer_open(&copy, dir);
    if (rc == LV_OK && strcmp(lv_tokenizer_fingerprint(copy), job->identity.fingerprint) != 0) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: %s, but the tokenizer that was read is %s", dir,
                     lv_tokenizer_fingerprint(copy), job->identity.fingerprint);
    }
    lv_tokenizer_close(&copy);
    return rc;
}

static bool is_tokenizer_file(const char *name)
{
    static const char *const names[] = {
        "tokenizer.json",         "tokenizer.model",         "tokenizer_config.json", "config.json",
        "generation_config.json", "special_tokens_map.json", "added_tokens.json"};
    size_t i = 0;
    while (i < sizeof names / sizeof *names && strcmp(name, names[i]) != 0) {
        i++;
    }
    return i < sizeof names / sizeof *names;
}

/* A folder of that name with files that no pack has there is not replaced. */
static int check_replaceable(const lv_pack_job *job, const char *path)
{
    DIR *dir = opendir(path);
    int rc = dir ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    for (struct dirent *entry; rc == LV_OK && (entry = readdir(dir));) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !is_tokenizer_file(name)) {
            rc = lv_fail(LV_ERR_CONFIG, "%s/%s is not of a pack", path, name);
        }
    }
    if (dir) {
        closedir(dir);
    }
    if (rc == LV_OK) rc = check_copy(job, path);
    if (rc == LV_OK) {
        return LV_OK;
    }
    return lv_fail(LV_ERR_CONFIG,
                   "%s: holds a folder \"" LV_PACK_TOKENIZER_NAME
                   "\" that is not this pack's and would be replaced: choose another --out, or "
                   "remove it (%s)",
                   job->options->out_dir, lv_error_message());
}

/* Under a temporary name first: --tokenizer may be that very folder. */
static int copy_tokenizer(const lv_pack_job *job)
{
    char *dir = lv_path("%s/" LV_PACK_TOKENIZER_NAME, job->options->out_dir);
    char *beside = lv_path("%s.tmp", dir);
    int rc = lv_dir_remove(beside);
    if (rc == LV_OK) rc = lv_tokenizer_copy_files(job->tokenizer, beside);
    if (rc == LV_OK) rc = check_copy(job, beside);
    if (rc == LV_OK) rc = lv_file_sync(beside);
    if (rc == LV_OK && (rc = lv_fail_point("pack.tokenizer.copied")) < 0) {
        lv_fail_within("%s", beside);
    }
    if (rc == LV_OK && lv_file_exists(dir)) {
        rc = check_replaceable(job, dir);
    }
    if (rc == LV_OK) rc = lv_dir_remove(dir);
    if (rc == LV_OK) rc = lv_file_rename(beside, dir);
    if (rc == LV_OK && (rc = lv_fail_point("pack.tokenizer.renamed")) < 0) {
        lv_fail_within("%s", dir);
    }
    if (rc < 0) {
        lv_dir_remove(beside);
    }
    free(beside);
    free(dir);
    return rc;
}

/* ---- the folder ---- */

static int check_manifest(const lv_pack_job *job, const char *path)
{
    lv_pack_identity found;
    cJSON *manifest = NULL;
    int rc = lv_manifest_read(&manifest, path);
    if (rc == LV_OK && (rc = lv_pack_manifest_identity(&found, manifest)) < 0) {
        lv_fail_within("%s", job->options->out_dir);
    }
    if (rc == LV_OK && lv_pack_identity_compare(&found, &job->identity) < 0) {
        rc = refuse_folder(job);
    }
    cJSON_Delete(manifest);
    return rc;
}

/* A finished pack is only read, and may be on a read-only file system; but the lock file of a
 * process that was killed at its very end is taken and removed, if possible. */
static int take_lock(lv_pack_job *job, bool finished)
{
    char *lock = lv_path("%s/" LV_LOCK_NAME, job->options->out_dir);
    int rc = LV_OK;
    if (!finished) {
        rc = lv_lock_take(&job->lock, job->options->out_dir);
    } else if (lv_file_exists(lock)) {
        (void)lv_lock_take(&job->lock, job->options->out_dir);
    }
    free(lock);
    return rc;
}

int lv_pack_prepare_folder(lv_pack_job *job)
{
    const char *out_dir = job->options->out_dir;
    char *manifest = lv_path("%s/" LV_PACK_MANIFEST_NAME, out_dir);
    int rc = lv_dir_create(out_dir);
    if (rc == LV_OK) rc = take_lock(job, lv_file_exists(manifest));
    if (rc == LV_OK && lv_file_exists(manifest)) {
        rc = check_manifest(job, manifest);
        goto done;
    }
    if (rc == LV_OK) rc = check_found_shards(job);
    if (rc == LV_OK) rc = remove_leftovers(out_dir);
    if (rc == LV_OK && (rc = lv_fail_point("pack.begin")) < 0) {
        lv_fail_within("%s", out_dir);
    }
    if (rc == LV_OK) rc = copy_tokenizer(job);
done:
    free(manifest);
    return rc;
}
