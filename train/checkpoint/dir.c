/* SPDX-License-Identifier: Apache-2.0 */
#include "train/checkpoint/dir.h"

#include "autograd/error.h"
#include "data/base/fail_point.h"
#include "data/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *lv_checkpoint_path(const char *run_dir, int64_t step)
{
    return lv_path("%s/checkpoints/step-%06" PRId64, run_dir, step);
}

/* returns the rest of a checkpoint's name after its step, NULL for another name */
static const char *parse_name(const char *name, int64_t *step)
{
    int end = 0;
    return sscanf(name, "step-%18" SCNd64 "%n", step, &end) == 1 && *step >= 0 ? name + end : NULL;
}

static void insert_descending(int64_t *steps, size_t n, int64_t step)
{
    for (; n > 0 && steps[n - 1] < step; n--) {
        steps[n] = steps[n - 1];
    }
    steps[n] = step;
}

/* out    *dir: NULL if the folder is not there yet
 * fails  LV_ERR_IO, also for a dangling link, which may lead to checkpoints */
static int open_checkpoints(DIR **dir, const char *folder)
{
    *dir = opendir(folder);
    if (*dir) {
        return LV_OK;
    }
    if (errno != ENOENT) {
        return lv_fail_errno(LV_ERR_IO, "%s: opening", folder);
    }
    return lv_link_is_dangling(folder)
               ? lv_fail(LV_ERR_IO,
                         "%s: a link to what is not there: mount what it leads to, or remove the "
                         "link to begin at the first step",
                         folder)
               : LV_OK;
}

int lv_checkpoint_list(int64_t **steps, size_t *n, const char *run_dir)
{
    char *folder = lv_path("%s/checkpoints", run_dir);
    DIR *dir = NULL;
    int rc = open_checkpoints(&dir, folder);
    *steps = NULL;
    *n = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        int64_t step = 0;
        const char *rest = parse_name(entry->d_name, &step);
        if (rest && *rest == '\0') {
            *steps = realloc(*steps, (*n + 1) * sizeof **steps);
            LV_CHECK(*steps, "out of memory listing %s", folder);
            insert_descending(*steps, (*n)++, step);
        }
    }
    if (dir) {
        closedir(dir);
    }
    free(folder);
    return rc;
}

static bool is_file_of_checkpoint(const char *name)
{
    static const char manifest[] = "manifest.json";
    int rank, end = 0;
    return strcmp(name, manifest) == 0 || strncmp(name, "manifest.json.tmp-", 18) == 0 ||
           (sscanf(name, "rank-%9d.h5%n", &rank, &end) == 1 && end > 0 && name[end] == '\0');
}

static int check_own_folder(const char *path)
{
    DIR *dir = opendir(path);
    int rc = LV_OK;
    if (!dir) {
        return errno == ENOTDIR
                   ? lv_fail(LV_ERR_CONFIG,
                             "%s: has the name of a checkpoint, but is no folder: move it away",
                             path)
                   : lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    }
    for (struct dirent *entry; rc == LV_OK && (entry = readdir(dir));) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !is_file_of_checkpoint(name)) {
            rc = lv_fail(LV_ERR_CONFIG,
                         "%s/%s is not of a checkpoint, and the run would remove it with its "
                         "folder as an old one: move it away, or choose another run.dir",
                         path, name);
        }
    }
    closedir(dir);
    return rc;
}

/* Calls visit with each folder of checkpoints/ whose name is a checkpoint's with one of the suffixes,
 * until one fails. */
static int visit_folders(const char *run_dir, const char *const *suffixes, size_t n_suffixes,
                         int (*visit)(const char *path))
{
    char *folder = lv_path("%s/checkpoints", run_dir);
    DIR *dir = NULL;
    int rc = open_checkpoints(&dir, folder);
    for (struct dirent *entry; dir && rc == LV_OK && (entry = readdir(dir));) {
        int64_t step;
        const char *rest = parse_name(entry->d_name, &step);
        for (size_t i = 0; rest && i < n_suffixes; i++) {
            if (strcmp(rest, suffixes[i]) == 0) {
                char *path = lv_path("%s/%s", folder, entry->d_name);
                rc = visit(path);
                free(path);
                break;
            }
        }
    }
    if (dir) {
        closedir(dir);
    }
    free(folder);
    return rc;
}

int lv_checkpoint_check_own(const char *run_dir)
{
    static const char *const all[] = {"", ".tmp", ".removed", ".aside"};
    return visit_folders(run_dir, all, sizeof all / sizeof *all, check_own_folder);
}

int lv_checkpoint_clean(const char *run_dir)
{
    static const char *const unfinished[] = {".tmp", ".removed"};
    return visit_folders(run_dir, unfinished, sizeof unfinished / sizeof *unfinished,
                         lv_dir_remove);
}

/* Appends suffix to the name of dir, if it exists; an older directory of that name is removed. */
static int add_suffix(const char *dir, const char *suffix)
{
    char *other = lv_path("%s%s", dir, suffix);
    int rc = lv_dir_remove(other);
    if (rc == LV_OK && lv_dir_exists(dir)) {
        rc = lv_file_rename(dir, other);
    }
    free(other);
    return rc;
}

/* Renamed first, so that a half removed one never looks whole. */
static int remove_checkpoint(const char *dir)
{
    char *removed = lv_path("%s.removed", dir);
    int rc = add_suffix(dir, ".removed");
    if (rc == LV_OK) rc = lv_fail_point("checkpoint.prune.renamed");
    if (rc == LV_OK) rc = lv_dir_remove(removed);
    free(removed);
    return rc;
}

int lv_checkpoint_install(const char *tmp_dir, const char *dir)
{
    char *removed = lv_path("%s.removed", dir);
    int rc = add_suffix(dir, ".removed");
    if (rc == LV_OK) rc = lv_file_rename(tmp_dir, dir);
    if (rc == LV_OK) rc = lv_dir_remove(removed);
    free(removed);
    return rc;
}

static int set_aside(const char *dir)
{
    int rc = add_suffix(dir, ".aside");
    if (rc == LV_OK) {
        lv_warn("%s is of a later step: kept as %s.aside", dir, dir);
    }
    return rc;
}

int lv_checkpoint_prune(const char *run_dir, int64_t keep, int64_t step)
{
    int64_t *steps = NULL;
    size_t n = 0;
    int rc = lv_checkpoint_list(&steps, &n, run_dir);
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        char *dir = lv_checkpoint_path(run_dir, steps[i]);
        if (steps[i] > step) {
            rc = set_aside(dir);
        } else if (keep-- <= 0) {
            rc = remove_checkpoint(dir);
        }
        free(dir);
    }
    free(steps);
    return rc;
}
