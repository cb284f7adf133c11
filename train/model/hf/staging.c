/* SPDX-License-Identifier: Apache-2.0
 *
 * A model directory appears whole: it is written under another name and renamed. One that is already
 * there is replaced only if its digests say that nothing else is in it. The lock beside it
 * distinguishes the folder of a killed process from any other.
 */
#include "autograd/error.h"
#include "data/base/fail_point.h"
#include "data/base/file.h"
#include "data/base/lock.h"
#include "data/json/json.h"
#include "data/json/manifest.h"
#include "train/model/hf/internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char lv_hf_digests_name[] = "digests.json";

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

/* ---- what is already there ---- */

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* The first name in dir that root, which may be NULL, does not list, hidden ones too. out NULL: all
 * are listed; free() it. */
static int find_unlisted(char **out, const cJSON *root, const char *dir)
{
    DIR *stream = opendir(dir);
    *out = NULL;
    if (!stream) {
        return lv_fail_errno(LV_ERR_IO, "%s: opening", dir);
    }
    const cJSON *files = root ? lv_json_find(root, "files") : NULL;
    for (struct dirent *entry; !*out && (entry = readdir(stream));) {
        const char *name = entry->d_name;
        bool listed = is_dot(name) || (root && strcmp(name, lv_hf_digests_name) == 0) ||
                      (files && lv_json_find(files, name));
        *out = listed ? NULL : lv_path("%s", name);
    }
    closedir(stream);
    return LV_OK;
}

int lv_hf_check_empty(const char *dir)
{
    char *found = NULL;
    struct stat st;
    if (lstat(dir, &st) != 0) { /* also a link to nowhere is there */
        return errno == ENOENT ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: looking at it", dir);
    }
    if (!lv_dir_exists(dir)) {
        return lv_fail(LV_ERR_CONFIG, "%s: exists and is not a directory", dir);
    }
    int rc = find_unlisted(&found, NULL, dir);
    if (rc == LV_OK && found) {
        rc = lv_fail(LV_ERR_CONFIG,
                     "%s is already there, with %s in it: choose a name that is not, or remove it",
                     dir, found);
    }
    free(found);
    return rc;
}

int lv_hf_check_replaceable(const char *dir)
{
    cJSON *root = NULL;
    char *digests = lv_path("%s/%s", dir, lv_hf_digests_name), *found = NULL;
    int rc = lv_hf_check_empty(dir);
    if (rc == LV_ERR_CONFIG && lv_dir_exists(dir)) {
        rc = lv_manifest_read(&root, digests);
        if (rc == LV_OK) rc = lv_manifest_check_files(root, dir, NULL);
        if (rc == LV_OK) rc = find_unlisted(&found, root, dir);
        if (rc == LV_OK && found) {
            rc = lv_fail(LV_ERR_CONFIG, "%s/%s: not listed in %s", dir, found, lv_hf_digests_name);
        }
        if (rc < 0) {
            rc = lv_fail(LV_ERR_CONFIG,
                         "%s would be replaced, but it is not, or not only, what llava wrote: "
                         "choose another folder, or move it away (%s)",
                         dir, lv_error_message());
        }
    }
    cJSON_Delete(root);
    free(found);
    free(digests);
    return rc;
}

/* ---- staging ---- */

static void staging_free(lv_hf_staging *staging)
{
    lv_lock_release_file(&staging->lock, staging->lock_path);
    free(staging->dir);
    free(staging->path);
    free(staging->old);
    free(staging->lock_path);
}

/* Without the lock a folder of our name is not ours to remove. */
static int check_name(const lv_hf_staging *staging, const char *name)
{
    return lv_file_exists(name) && !lv_file_exists(staging->lock_path)
               ? lv_fail(LV_ERR_CONFIG,
                         "%s: %s would be written there first, but it is in use for something "
                         "else: move it away, or choose another name",
                         name, staging->dir)
               : LV_OK;
}

static int lock(lv_hf_staging *staging)
{
    char *parent = lv_path_dir(staging->path);
    int rc = lv_dir_create(parent);
    free(parent);
    if (rc == LV_OK) rc = check_name(staging, staging->path);
    if (rc == LV_OK) rc = check_name(staging, staging->old);
    return rc < 0 ? rc : lv_lock_take_file(&staging->lock, staging->lock_path, staging->path);
}

int lv_hf_staging_begin(lv_hf_staging *out, const char *dir)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/') {
        n--;
    }
    int rc = lv_hf_check_replaceable(dir);
    if (rc < 0) {
        return rc;
    }
    char *real = realpath(dir, NULL); /* a link to a folder stays one */
    lv_hf_staging staging = {.dir = real ? real : lv_path("%.*s", (int)n, dir), .lock = -1};
    staging.path = lv_path("%s.partial", staging.dir);
    staging.old = lv_path("%s.partial.old", staging.dir);
    staging.lock_path = lv_path("%s.partial.lock", staging.dir);
    rc = lock(&staging);
    if (rc == LV_OK) rc = lv_dir_remove(staging.path); /* of a run that was cut off */
    if (rc == LV_OK) rc = lv_dir_create(staging.path);
    if (rc < 0) {
        staging_free(&staging);
    } else {
        *out = staging;
    }
    return rc;
}

/* An old model goes as a whole: none of its files is ever read together with the new ones. */
static int replace(const lv_hf_staging *staging)
{
    int rc = lv_hf_check_replaceable(staging->dir); /* it may be another by now */
    if (rc == LV_OK) rc = lv_dir_remove(staging->old);
    if (rc == LV_OK && rmdir(staging->dir) < 0 && errno != ENOENT) {
        rc = lv_file_rename(staging->dir, staging->old);
    }
    if (rc == LV_OK && (rc = lv_fail_point("model.moved")) < 0) {
        lv_fail_within("%s", staging->dir);
    }
    if (rc == LV_OK) rc = lv_file_rename(staging->path, staging->dir);
    return rc < 0 ? rc : lv_dir_remove(staging->old);
}

int lv_hf_staging_end(int rc, lv_hf_staging *staging)
{
    lv_hf_files list = {0};
    if (rc == LV_OK) rc = lv_hf_files_list(&list, staging->path);
    if (rc == LV_OK) rc = write_digests(&list, staging->path);
    if (rc == LV_OK) {
        rc = lv_fail_point("model.written");
    }
    if (rc == LV_OK) rc = replace(staging);
    if (rc < 0) {
        char *reason = lv_path("%s", lv_error_message());
        if (lv_file_exists(staging->old) && !lv_file_exists(staging->dir)) {
            (void)rename(staging->old, staging->dir);
        }
        lv_dir_remove(staging->path);
        lv_fail(rc, "%s", reason);
        free(reason);
    }
    lv_hf_files_free(&list);
    staging_free(staging);
    return rc;
}
