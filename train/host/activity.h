/* SPDX-License-Identifier: Apache-2.0
 *
 * What the main thread of this process is doing, for the watchdog and the handler of fatal signals.
 * Set by the main thread only, for a few stores; read from any thread or signal handler.
 */
#ifndef LV_TRAIN_HOST_ACTIVITY_H
#define LV_TRAIN_HOST_ACTIVITY_H

#include <stdbool.h>
#include <stdint.h>

/* X(name, text, kind): kind is what counts as progress
 *   CHANGE  the next call of a function below
 *   OPS     also ops that are computed (lv_tape_progress)
 *   CPU     also processor time of any thread: for work that is not counted in parts */
#define LV_ACTIVITIES(X)                                                                           \
    X(LOADING, "loading the model and the packs", CPU)                                             \
    X(READING, "reading data", CHANGE)                                                             \
    X(COMPUTING, "computing", OPS)                                                                 \
    X(VALIDATING, "validating", CPU)                                                               \
    X(SAVING, "writing a checkpoint", CPU)                                                         \
    X(WRITING, "writing the output", CPU)

typedef enum {
#define LV_ACTIVITY_MEMBER(name, text, kind) LV_ACTIVITY_##name,
    LV_ACTIVITIES(LV_ACTIVITY_MEMBER)
#undef LV_ACTIVITY_MEMBER
        LV_N_ACTIVITIES
} lv_activity;

typedef enum { LV_PROGRESS_CHANGE, LV_PROGRESS_OPS, LV_PROGRESS_CPU } lv_progress_kind;

/* lv_activity_begin: the activity from here on. */
void lv_activity_begin(lv_activity what);

/* lv_activity_step_set: the step, counted from 1; 0: before the first. */
void lv_activity_step_set(int64_t step);

/* lv_activity_wait_begin, _end: between them the main thread waits for other ranks; lv_comm_* call
 * them. They nest. */
void lv_activity_wait_begin(void);
void lv_activity_wait_end(void);

/* lv_activity_progress: a part of the activity, or of a wait, is done. */
void lv_activity_progress(void);

typedef struct {
    int64_t step;
    lv_activity what;
    bool waiting;       /* for other ranks */
    uint64_t n_changes; /* calls of the functions above */
} lv_activity_state;
lv_activity_state lv_activity_now(void);

/* lv_activity_name: "reading data", or "waiting for other ranks"; static.
 * lv_activity_text: "step 512, reading data", without the step before the first; returns buf. */
enum { LV_ACTIVITY_TEXT = 80 };
const char *lv_activity_name(const lv_activity_state *state);
const char *lv_activity_text(char buf[LV_ACTIVITY_TEXT], const lv_activity_state *state);

/* lv_activity_progress_kind: what counts as progress; of a wait, LV_PROGRESS_CHANGE. */
lv_progress_kind lv_activity_progress_kind(const lv_activity_state *state);

#endif
