/* SPDX-License-Identifier: Apache-2.0
 *
 * The inquiry of ranks that wait for others too long: rank 0, whose words are the likeliest to
 * reach the user, reads the heartbeats of all, and tells who is behind. It has a deputy, who is the
 * first to create a file in the folder of heartbeats, and tells if rank 0 does not wait itself.
 */
#ifndef LV_TRAIN_WATCH_STALL_REPORT_H
#define LV_TRAIN_WATCH_STALL_REPORT_H

#include "train/watch/heartbeat.h"
#include "train/watch/stall.h"

/* Start it with what is above the line, the rest zero; end it with lv_inquiry_close. */
typedef struct {
    const char *dir; /* of heartbeats; outlives it */
    int rank, n_ranks;
    double limit_s; /* of a wait; heartbeats come at a quarter of that */
    /* ---- */
    bool open;
    bool leads; /* rank 0 and its deputy */
    bool told;
    int64_t n_moves;            /* of this rank when it was opened: closed when that goes on */
    double before_s;            /* still_s at the reading before */
    char *path;                 /* of the file: "stall-<step>" */
    lv_heartbeat *before, *now; /* [n_ranks], if it leads */
} lv_inquiry;

/* lv_inquiry_continue: to be called with each heartbeat. It begins when half of the limit is over,
 * and tells when all of it is; ranks that go on with what takes long are left in peace.
 * in     seen: of this rank
 * returns whether there is a stall, which has been told, by this rank if q->told */
bool lv_inquiry_continue(lv_inquiry *q, const lv_stillness *seen);
void lv_inquiry_close(lv_inquiry *q);

#endif
