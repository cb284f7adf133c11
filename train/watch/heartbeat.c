/* SPDX-License-Identifier: Apache-2.0 */
#include "train/watch/heartbeat.h"

#include "autograd/error.h"
#include "data/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES = 512, MAX_LINES = 12 };

char *lv_heartbeat_path(const char *dir, int rank)
{
    return lv_path("%s/rank-%05d", dir, rank);
}

/* A line a field, and a last one as proof that none is missing; filled up to one size, so that a
 * shorter text leaves nothing of a longer one. */
int lv_heartbeat_write(const char *path, const lv_heartbeat *beat)
{
    char text[FILE_BYTES];
    memset(text, '\n', sizeof text);
    int n = snprintf(text, sizeof text, "%" PRId64 " %" PRId64 " %" PRId64 " %d %d %d\n%s\n%s\nend",
                     beat->n_beats, beat->n_advances, beat->activity.step, (int)beat->activity.what,
                     beat->activity.waiting, beat->ends_job, beat->host, beat->since);
    text[n] = '\n';
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        return lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    }
    bool written = pwrite(fd, text, sizeof text, 0) == (ssize_t)sizeof text;
    /* Closed each time: on a network file system that makes it visible to other hosts. */
    return close(fd) == 0 && written ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: writing", path);
}

lv_heartbeat lv_heartbeat_read(const char *path)
{
    lv_heartbeat beat = {0};
    char text[FILE_BYTES + 1] = "", end[4] = "";
    int what = 0, waiting = 0, ends_job = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return beat;
    }
    ssize_t n = pread(fd, text, FILE_BYTES, 0);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    int n_fields =
        sscanf(text, "%18" SCNd64 " %18" SCNd64 " %18" SCNd64 " %1d %1d %1d %63[^\n] %63[^\n] %3s",
               &beat.n_beats, &beat.n_advances, &beat.activity.step, &what, &waiting, &ends_job,
               beat.host, beat.since, end);
    if (n_fields != 9 || strcmp(end, "end") != 0 || what < 0 || what >= LV_N_ACTIVITIES) {
        return (lv_heartbeat){0};
    }
    beat.activity.what = (lv_activity)what;
    beat.activity.waiting = waiting != 0;
    beat.ends_job = ends_job != 0;
    return beat;
}

/* A file of that name is a heartbeat, of this version or another; or cut off: empty or of zeros. */
static bool is_heartbeat(const char *path, const char *name)
{
    char text[FILE_BYTES + 2] = "";
    int rank, end = 0;
    struct stat st;
    if (sscanf(name, "rank-%9d%n", &rank, &end) != 1 || name[end] != '\0' || lstat(path, &st) < 0 ||
        !S_ISREG(st.st_mode) || st.st_size > FILE_BYTES) {
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd >= 0 ? pread(fd, text, FILE_BYTES, 0) : -1;
    if (fd >= 0) {
        close(fd);
    }
    return n >= 0 && (*text == '\0' || (strspn(text, "-0123456789 ") == strcspn(text, "\n") &&
                                        strstr(text, "\nend\n") != NULL));
}

int lv_heartbeat_check_dir(const char *dir)
{
    DIR *stream = opendir(dir);
    if (!stream) {
        return errno == ENOENT ? LV_OK : lv_fail_errno(LV_ERR_CONFIG, "%s: opening", dir);
    }
    int rc = LV_OK;
    for (struct dirent *entry; rc == LV_OK && (entry = readdir(stream));) {
        const char *name = entry->d_name;
        char *path = lv_path("%s/%s", dir, name);
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !is_heartbeat(path, name)) {
            rc = lv_fail(LV_ERR_CONFIG,
                         "%s: the run would remove it with the heartbeats in its folder, but it is "
                         "none: choose another run.dir, or move it away",
                         path);
        }
        free(path);
    }
    closedir(stream);
    return rc;
}

lv_rank_state lv_heartbeat_compare(const lv_heartbeat *before, const lv_heartbeat *now)
{
    return now->n_beats == before->n_beats         ? LV_RANK_SILENT
           : now->n_advances != before->n_advances ? LV_RANK_ADVANCES
           : now->activity.waiting                 ? LV_RANK_WAITS
                                                   : LV_RANK_STALLS;
}

static int rank_line(char *text, size_t n, int rank, lv_rank_state state, const lv_heartbeat *h)
{
    char activity[LV_ACTIVITY_TEXT];
    lv_activity_text(activity, &h->activity);
    if (h->n_beats == 0) {
        return snprintf(text, n, "llava:   rank %d: no sign of life\n", rank);
    }
    if (state == LV_RANK_SILENT) {
        return snprintf(text, n,
                        "llava:   rank %d on %s: no sign of life any more: stopped, killed, or its "
                        "host or network is down; last seen: %s (since %s)\n",
                        rank, h->host, activity, h->since);
    }
    return snprintf(text, n, "llava:   rank %d on %s: %s, %s %s\n", rank, h->host, activity,
                    state == LV_RANK_STALLS ? "without progress since" : "slowly, last progress at",
                    h->since);
}

/* Progress in an activity that may take long. */
static bool is_at_work(lv_rank_state state, const lv_heartbeat *h)
{
    return state == LV_RANK_ADVANCES && lv_activity_progress_kind(&h->activity) == LV_PROGRESS_CPU;
}

int lv_stall_text(char *text, int n_text, bool *stalled, const lv_heartbeat *before,
                  const lv_heartbeat *now, int n_ranks)
{
    int n_named = 0, n_advancing = 0, used = 0;
    *text = '\0';
    *stalled = false;
    for (int rank = 0; rank < n_ranks; rank++) {
        lv_rank_state state = lv_heartbeat_compare(&before[rank], &now[rank]);
        n_advancing += state == LV_RANK_ADVANCES;
        *stalled = *stalled || state == LV_RANK_STALLS || state == LV_RANK_SILENT;
    }
    *stalled = *stalled || n_advancing == 0;
    for (int rank = 0; rank < n_ranks; rank++) {
        lv_rank_state state = lv_heartbeat_compare(&before[rank], &now[rank]);
        if (state == LV_RANK_WAITS || (!*stalled && is_at_work(state, &now[rank]))) {
            continue;
        }
        if (n_named++ < MAX_LINES && used < n_text) {
            used += rank_line(text + used, (size_t)(n_text - used), rank, state, &now[rank]);
        }
    }
    if (n_named > MAX_LINES && used < n_text) {
        snprintf(text + used, (size_t)(n_text - used), "llava:   and %d more\n",
                 n_named - MAX_LINES);
    }
    return n_named;
}
