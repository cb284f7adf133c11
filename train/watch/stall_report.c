/* SPDX-License-Identifier: Apache-2.0 */
#include "train/watch/stall_report.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "data/base/file.h"
#include "train/host/tell.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double BEGIN = 1.0 / 2, AGAIN = 1.0 / 2; /* parts of the limit */
static const char STALLED[] = "stalled\n";            /* the verdict, left in the file */
enum { REPORT_BYTES = 6000 };

static void read_all(const lv_inquiry *q, lv_heartbeat *beats)
{
    for (int rank = 0; rank < q->n_ranks; rank++) {
        char *path = lv_heartbeat_path(q->dir, rank);
        beats[rank] = lv_heartbeat_read(path);
        free(path);
    }
}

static void begin(lv_inquiry *q, const lv_stillness *seen)
{
    q->open = true;
    q->n_moves = seen->n_moves;
    q->before_s = seen->still_s;
    q->path = lv_path("%s/stall-%06" PRId64, q->dir, seen->last.activity.step);
    int fd = q->rank > 0 ? open(q->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    q->leads = fd >= 0 || q->rank == 0;
    if (fd >= 0) {
        close(fd);
    }
    if (q->leads) {
        q->before = calloc((size_t)q->n_ranks, sizeof *q->before);
        q->now = calloc((size_t)q->n_ranks, sizeof *q->now);
        LV_CHECK(q->before && q->now, "out of memory for the heartbeats of %d ranks", q->n_ranks);
        read_all(q, q->before);
    }
}

void lv_inquiry_close(lv_inquiry *q)
{
    char waited[32];
    if (q->told) {
        lv_tell("waits no more, after %s", lv_duration_words(waited, q->before_s));
    }
    if (q->leads) {
        unlink(q->path);
    }
    free(q->path);
    free(q->before);
    free(q->now);
    *q = (lv_inquiry){.dir = q->dir, .rank = q->rank, .n_ranks = q->n_ranks, .limit_s = q->limit_s};
}

static void leave_verdict(const lv_inquiry *q)
{
    int fd = open(q->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 || pwrite(fd, STALLED, sizeof STALLED, 0) < 0) {
        lv_tell("%s: writing: %s", q->path, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}

static bool verdict_is_there(const lv_inquiry *q)
{
    char text[sizeof STALLED];
    int fd = open(q->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool there = pread(fd, text, sizeof text, 0) == (ssize_t)sizeof text &&
                 memcmp(text, STALLED, sizeof text) == 0;
    close(fd);
    return there;
}

/* "node01, node02 and 6 more" */
static void list_hosts(char *text, size_t n, const lv_heartbeat *beats, int n_ranks)
{
    enum { MOST = 8 };
    size_t used = 0;
    int n_hosts = 0;
    *text = '\0';
    for (int rank = 0; rank < n_ranks; rank++) {
        bool is_new = true;
        for (int before = 0; is_new && before < rank; before++) {
            is_new = strcmp(beats[before].host, beats[rank].host) != 0;
        }
        if (is_new && n_hosts++ < MOST && used < n) {
            used += (size_t)snprintf(text + used, n - used, "%s%s", n_hosts > 1 ? ", " : "",
                                     beats[rank].host);
        }
    }
    if (n_hosts > MOST && used < n) {
        snprintf(text + used, n - used, " and %d more", n_hosts - MOST);
    }
}

/* Tells, the first time, who is behind. returns whether they stall */
static bool report(lv_inquiry *q, const lv_stillness *seen)
{
    char text[REPORT_BYTES], waited[32], hosts[512], step[48] = "";
    bool stalled;
    int n_named = lv_stall_text(text, sizeof text, &stalled, q->before, q->now, q->n_ranks);
    if (q->told || (!stalled && n_named == 0)) {
        return stalled;
    }
    if (n_named == 0) {
        list_hosts(hosts, sizeof hosts, q->now, q->n_ranks);
        snprintf(text, sizeof text,
                 "llava:   nobody: all %d ranks wait for each other: the network between their "
                 "hosts, or "
                 "MPI, stands still (%s)\n",
                 q->n_ranks, hosts);
    }
    if (seen->last.activity.step > 0) {
        snprintf(step, sizeof step, " in step %" PRId64, seen->last.activity.step);
    }
    lv_tell("has waited %s for other ranks%s; behind is\n%s",
            lv_duration_words(waited, seen->still_s), step, text);
    q->told = true;
    return stalled;
}

/* Reads all again, and reports. returns whether there is a stall */
static bool judge(lv_inquiry *q, const lv_stillness *seen)
{
    read_all(q, q->now);
    bool is_mine = q->rank == 0 || lv_heartbeat_judge(&q->before[0], &q->now[0]) != LV_RANK_WAITS;
    bool stalled = is_mine ? report(q, seen) : verdict_is_there(q);
    lv_heartbeat *spare = q->before;
    q->before = q->now;
    q->now = spare;
    q->before_s = seen->still_s;
    if (is_mine && stalled) {
        leave_verdict(q);
    }
    return stalled;
}

bool lv_inquiry_continue(lv_inquiry *q, const lv_stillness *seen)
{
    if (q->open && q->n_moves != seen->n_moves) {
        lv_inquiry_close(q);
    }
    if (!seen->last.activity.waiting || seen->still_s < BEGIN * q->limit_s) {
        return false;
    }
    if (!q->open) {
        begin(q, seen);
        return false;
    }
    if (seen->still_s < q->limit_s) {
        return false;
    }
    return q->leads && seen->still_s - q->before_s >= AGAIN * q->limit_s ? judge(q, seen)
                                                                         : verdict_is_there(q);
}
