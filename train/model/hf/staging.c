/* SPDX-License-Identifier: Apache-2.0
 *
 * A model directory appears whole: it is written under another name and renamed. Into a directory
 * that is already there its files are moved one by one, digests.json last. The lock beside it
 * distinguishes the folder of a killed process from any other.
 */
#include "autograd/error.h"
#include "data/base/fail_point.h"
#include "data/base/file.h"
#include "data/base/lock.h"
#include "data/json/manifest.h"
#include "train/model/hf/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char lv_hf_digests_name[] = "digests.json";

/* Files of an earlier model that would be read together with, or instead of, the new ones. */
static const char *const stale_globs[] = {"model*.safetensors", "model.safetensors.index.json",
                                          "processor_config.json", "added_tokens.json"};

void lv_hf_files_free(lv_hf_files *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->names[i]);
    }
    free(list->names);
    *list = (lv_hf_files){0};
}

static int compare_file_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int lv_hf_files_list(lv_hf_files *list, const char *dir)
{
    DIR *stream = opendir(dir);
    if (!stream) {
        return lv_fail_errno(LV_ERR_IO, "%s: opening", dir);
    }
    for (struct dirent *entry; (entry = readdir(stream));) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        list->names = realloc(list->names, (list->n + 1) * sizeof *list->names);
        LV_CHECK(list->names, "out of memory for the names in %s", dir);
        list->names[list->n++] = lv_path("%s", entry->d_name);
    }
    closedir(stream);
    qsort(list->names, list->n, sizeof *list->names, compare_file_names);
    return LV_OK;
}

static int write_digests(const lv_hf_files *list, const char *dir)
{
    cJSON *root = cJSON_CreateObject();
    char *path = lv_path("%s/%s", dir, lv_hf_digests_name);
    int rc = root ? LV_OK : lv_fail(LV_ERR_MEMORY, "%s: out of memory", path);
    for (size_t i = 0; i < list->n && rc == LV_OK; i++) {
        rc = lv_manifest_add_file(root, dir, list->names[i]);
    }
    if (rc == LV_OK) rc = lv_manifest_write(path, root);
    cJSON_Delete(root);
    free(path);
    return rc;
}

static void staging_free(lv_hf_staging *staging)
{
    lv_lock_release_file(&staging->lock, staging->lock_path);
    free(staging->path);
    free(staging->lock_path);
}

static int lock(lv_hf_staging *staging, const char *dir)
{
    char *parent = lv_path_dir(staging->path);
    int rc = lv_dir_create(parent);
    free(parent);
    if (rc == LV_OK && lv_file_exists(staging->path) && !lv_file_exists(staging->lock_path)) {
        rc = lv_fail(LV_ERR_CONFIG,
                     "%s: %s would be written there first, but it is in use for something else: "
                     "move it away, or choose another name",
                     staging->path, dir);
    }
    return rc < 0 ? rc : lv_lock_take_file(&staging->lock, staging->lock_path, staging->path);
}

int lv_hf_staging_begin(lv_hf_staging *out, const char *dir)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/') {
        n--;
    }
    if (lv_file_exists(dir) && !lv_dir_exists(dir)) {
        return lv_fail(LV_ERR_IO, "%s: exists and is not a directory", dir);
    }
    lv_hf_staging staging = {.path = lv_path("%.*s.partial", (int)n, dir),
                             .lock_path = lv_path("%.*s.partial.lock", (int)n, dir),
                             .lock = -1};
    int rc = lock(&staging, dir);
    if (rc == LV_OK) rc = lv_dir_remove(staging.path); /* of a run that was cut off */
    if (rc == LV_OK) rc = lv_dir_create(staging.path);
    if (rc < 0) {
        staging_free(&staging);
    } else {
        *out = staging;
    }
    return rc;
}

static int move_file(const char *to_dir, const char *from_dir, const char *name)
{
    char *from = lv_path("%s/%s", from_dir, name);
    char *to = lv_path("%s/%s", to_dir, name);
    int rc = rename(from, to) == 0 ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: moving to %s", from, to);
    free(from);
    free(to);
    return rc;
}

static int remove_file(const char *dir, const char *name)
{
    char *path = lv_path("%s/%s", dir, name);
    int rc = unlink(path) == 0 || errno == ENOENT ? LV_OK
                                                  : lv_fail_errno(LV_ERR_IO, "%s: removing", path);
    free(path);
    return rc;
}

static int remove_stale(const char *dir)
{
    lv_hf_files old = {0};
    int rc = lv_hf_files_list(&old, dir);
    for (size_t i = 0; i < old.n && rc == LV_OK; i++) {
        for (size_t g = 0; g < sizeof stale_globs / sizeof *stale_globs && rc == LV_OK; g++) {
            if (fnmatch(stale_globs[g], old.names[i], 0) == 0) {
                rc = remove_file(dir, old.names[i]);
            }
        }
    }
    lv_hf_files_free(&old);
    return rc;
}

static int move_into(const char *dir, const char *staging, const lv_hf_files *list)
{
    int rc = remove_file(dir, lv_hf_digests_name);
    if (rc == LV_OK) rc = remove_stale(dir);
    for (size_t i = 0; i < list->n && rc == LV_OK; i++) {
        rc = move_file(dir, staging, list->names[i]);
    }
    if (rc == LV_OK) rc = move_file(dir, staging, lv_hf_digests_name);
    if (rc == LV_OK) rc = lv_file_sync(dir);
    return rc < 0 ? rc : lv_dir_remove(staging);
}

int lv_hf_staging_end(int rc, lv_hf_staging *staging, const char *dir)
{
    lv_hf_files list = {0};
    if (rc == LV_OK) rc = lv_hf_files_list(&list, staging->path);
    if (rc == LV_OK) rc = write_digests(&list, staging->path);
    if (rc == LV_OK) {
        rc = lv_fail_point("model.written");
    }
    if (rc == LV_OK) {
        rc = lv_dir_exists(dir) ? move_into(dir, staging->path, &list)
                                : lv_file_rename(staging->path, dir);
    }
    if (rc < 0) {
        char *reason = lv_path("%s", lv_error_message());
        lv_dir_remove(staging->path);
        lv_fail(rc, "%s", reason);
        free(reason);
    }
    lv_hf_files_free(&list);
    staging_free(staging);
    return rc;
}
