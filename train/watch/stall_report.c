/* SPDX-License-Identifier: Apache-2.0 */
#include "train/watch/stall_report.h"

#include "autograd/error.h"
#include "data/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double BEGIN = 1.0 / 2, AGAIN = 1.0 / 2; /* parts of the limit */
enum { REPORT_BYTES = 6000 };

static void read_heartbeats(const lv_stall_report *r, lv_heartbeat *beats)
{
    for (int rank = 0; rank < r->n_ranks; rank++) {
        char *path = lv_heartbeat_path(r->dir, rank);
        beats[rank] = lv_heartbeat_read(path);
        free(path);
    }
}

static void begin_report(lv_stall_report *r, const lv_stall_detector *seen)
{
    r->n_advances = seen->n_advances;
    r->read_s = seen->stalled_s;
    r->before = calloc((size_t)r->n_ranks, sizeof *r->before);
    r->now = calloc((size_t)r->n_ranks, sizeof *r->now);
    LV_CHECK(r->before && r->now, "out of memory for the heartbeats of %d ranks", r->n_ranks);
    read_heartbeats(r, r->before);
}

void lv_stall_report_end(lv_stall_report *r)
{
    char waited[32];
    if (r->told) {
        lv_tell("waits no more, after %s", lv_duration_words(waited, r->read_s));
    }
    free(r->before);
    free(r->now);
    *r = (lv_stall_report){
        .dir = r->dir, .rank = r->rank, .n_ranks = r->n_ranks, .limit_s = r->limit_s};
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

/* Names, the first time, who keeps the others waiting. returns whether they stall */
static bool tell_once(lv_stall_report *r, const lv_stall_detector *seen)
{
    char text[REPORT_BYTES], waited[32], hosts[512], step[48] = "";
    bool stalled;
    int n_named = lv_stall_text(text, sizeof text, &stalled, r->before, r->now, r->n_ranks);
    if (r->told || (!stalled && n_named == 0)) {
        return stalled;
    }
    if (n_named == 0) {
        list_hosts(hosts, sizeof hosts, r->now, r->n_ranks);
        snprintf(text, sizeof text,
                 "llava:   nobody: all %d ranks wait for each other: the network between their "
                 "hosts, or MPI, stands still (%s)\n",
                 r->n_ranks, hosts);
    }
    if (seen->last.activity.step > 0) {
        snprintf(step, sizeof step, " in step %" PRId64, seen->last.activity.step);
    }
    lv_tell("has waited %s for other ranks%s; behind is\n%s",
            lv_duration_words(waited, seen->stalled_s), step, text);
    r->told = true;
    return stalled;
}

bool lv_stall_report_update(lv_stall_report *r, const lv_stall_detector *seen)
{
    if (r->before && r->n_advances != seen->n_advances) {
        lv_stall_report_end(r);
    }
    const bool may_report = r->rank == 0 || r->rank == r->n_ranks - 1;
    if (!may_report || !seen->last.activity.waiting || seen->stalled_s < BEGIN * r->limit_s) {
        return false;
    }
    if (!r->before) {
        begin_report(r, seen);
        return false;
    }
    if (seen->stalled_s < r->limit_s || seen->stalled_s - r->read_s < AGAIN * r->limit_s) {
        return false;
    }
    read_heartbeats(r, r->now);
    const bool reports =
        r->rank == 0 || lv_heartbeat_compare(&r->before[0], &r->now[0]) != LV_RANK_WAITS;
    const bool stalled = reports && tell_once(r, seen);
    lv_heartbeat *spare = r->before;
    r->before = r->now;
    r->now = spare;
    r->read_s = seen->stalled_s;
    return stalled;
}
