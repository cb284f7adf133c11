/* SPDX-License-Identifier: Apache-2.0
 *
 * A rank's heartbeat: one small file a rank, in a folder that all hosts share, rewritten at
 * intervals. It holds no time that depends on agreeing clocks: two readings of it tell whether the
 * rank is alive and makes progress.
 */
#ifndef LV_TRAIN_WATCH_HEARTBEAT_H
#define LV_TRAIN_WATCH_HEARTBEAT_H

#include "train/host/activity.h"

#include <stdbool.h>
#include <stdint.h>

enum { LV_HEARTBEAT_TEXT = 64 };

typedef struct {
    int64_t n_beats;               /* times that it was written; 0: it cannot be read */
    bool ends_job;                 /* it has reported a stall, and exits */
    int64_t n_advances;            /* times that the rank was seen to make progress */
    lv_activity_state activity;    /* without n_changes */
    char host[LV_HEARTBEAT_TEXT];  /* cut, as the next */
    char since[LV_HEARTBEAT_TEXT]; /* the last progress, by the rank's own clock: for people */
} lv_heartbeat;

/* lv_heartbeat_path: of a rank in the folder dir; free() it. */
char *lv_heartbeat_path(const char *dir, int rank);

/* lv_heartbeat_write: replace the file at path. fails LV_ERR_IO */
int lv_heartbeat_write(const char *path, const lv_heartbeat *beat);

/* lv_heartbeat_read: {0} if there is none, or none that is whole. */
lv_heartbeat lv_heartbeat_read(const char *path);

/* lv_heartbeat_check_dir: dir is not there, or a folder of nothing but heartbeats.
 * fails  LV_ERR_CONFIG naming what else is there */
int lv_heartbeat_check_dir(const char *dir);

typedef enum {
    LV_RANK_ADVANCES, /* it makes progress */
    LV_RANK_WAITS,    /* for other ranks, all the time */
    LV_RANK_STALLS,   /* it beats, waits for nobody, and makes no progress */
    LV_RANK_SILENT,   /* it does not beat */
} lv_rank_state;

/* lv_heartbeat_compare: a rank's state from two readings, with several writes between them. */
lv_rank_state lv_heartbeat_compare(const lv_heartbeat *before, const lv_heartbeat *now);

/* lv_stall_text: the ranks that keep the others waiting: a line a rank, the first dozen, as
 * "llava:   rank 3 on node07: ...".
 * in     before, now [n_ranks]: two readings of all
 * out    text, cut at n_text bytes; *stalled: false if those ranks make progress; then those whose
 *        activity may take long (loading, saving) are not named
 * returns the number of ranks named; 0 with *stalled: all wait for each other */
int lv_stall_text(char *text, int n_text, bool *stalled, const lv_heartbeat *before,
                  const lv_heartbeat *now, int n_ranks);

#endif
