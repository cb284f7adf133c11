/* SPDX-License-Identifier: Apache-2.0
 *
 * A sign of life that a rank leaves where the others can see it: one small file a rank, in a folder
 * that all hosts share, written again and again. It holds no time that another host's clock would
 * have to agree with: who wants to know whether a rank lives or moves on reads it twice.
 */
#ifndef LV_TRAIN_WATCH_HEARTBEAT_H
#define LV_TRAIN_WATCH_HEARTBEAT_H

#include "train/host/activity.h"

#include <stdbool.h>
#include <stdint.h>

enum { LV_HEARTBEAT_TEXT = 64 };

typedef struct {
    int64_t n_beats;               /* times that it was written; 0: nothing of it can be read */
    int64_t n_moves;               /* times that the rank was seen to go on */
    lv_activity_state activity;    /* without n_changes */
    char host[LV_HEARTBEAT_TEXT];  /* cut, as the next */
    char since[LV_HEARTBEAT_TEXT]; /* when it last went on, by its own clock: for people */
} lv_heartbeat;

/* lv_heartbeat_path: of a rank in the folder dir; free() it. */
char *lv_heartbeat_path(const char *dir, int rank);

/* lv_heartbeat_write: replace what is at path. fails LV_ERR_IO */
int lv_heartbeat_write(const char *path, const lv_heartbeat *beat);

/* lv_heartbeat_read: {0} if there is none, or none that is whole. */
lv_heartbeat lv_heartbeat_read(const char *path);

typedef enum {
    LV_RANK_MOVES,  /* it goes on */
    LV_RANK_WAITS,  /* for others, all the time */
    LV_RANK_STANDS, /* it lives, waits for nobody, and does not go on */
    LV_RANK_SILENT, /* it does not even say that */
} lv_rank_state;

/* lv_heartbeat_judge: what two readings say, with more than one writing in between. */
lv_rank_state lv_heartbeat_judge(const lv_heartbeat *before, const lv_heartbeat *now);

/* lv_stall_text: who keeps the others waiting: a line a rank, the first dozen, as
 * "llava:   rank 3 on node07: ...".
 * in     before, now [n_ranks]: two readings of all
 * out    text, cut at n_text bytes; *stalled: false if those who are behind go on, of whom then
 *        none is named whose work is known to take long: loading, saving
 * returns the number of ranks in the text; 0 with *stalled: all wait for each other */
int lv_stall_text(char *text, int n_text, bool *stalled, const lv_heartbeat *before,
                  const lv_heartbeat *now, int n_ranks);

#endif
