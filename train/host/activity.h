/* SPDX-License-Identifier: Apache-2.0
 *
 * What the main thread of this process is doing, for those who look at it from outside: the
 * watchdog and the handler of fatal signals. Only the main thread says; anyone may ask, a signal
 * handler too. Saying costs a few stores.
 */
#ifndef LV_TRAIN_HOST_ACTIVITY_H
#define LV_TRAIN_HOST_ACTIVITY_H

#include <stdbool.h>
#include <stdint.h>

/* X(name, in words, what shows that it goes on)
 *   NOTHING   only that something else begins
 *   OPS       ops are computed (autograd/pulse.h)
 *   WORK      ops, or processor time of any thread: what has no parts to count */
#define LV_ACTIVITIES(X)                                                                           \
    X(LOADING, "loading the model and the packs", WORK)                                            \
    X(READING, "reading data", NOTHING)                                                            \
    X(COMPUTING, "computing", OPS)                                                                 \
    X(VALIDATING, "validating", WORK)                                                              \
    X(SAVING, "writing a checkpoint", WORK)                                                        \
    X(WRITING, "writing the output", WORK)

typedef enum {
#define LV_ACTIVITY_MEMBER(name, words, life) LV_ACTIVITY_##name,
    LV_ACTIVITIES(LV_ACTIVITY_MEMBER)
#undef LV_ACTIVITY_MEMBER
        LV_N_ACTIVITIES
} lv_activity;

typedef enum { LV_LIFE_NOTHING, LV_LIFE_OPS, LV_LIFE_WORK } lv_life;

/* lv_activity_begin: this is done from now on. */
void lv_activity_begin(lv_activity what);

/* lv_activity_step_set: in this step, counted from 1; 0: before the first. */
void lv_activity_step_set(int64_t step);

/* lv_activity_wait_begin, _end: in between, the main thread waits for other ranks; lv_comm_* say so
 * by themselves. They nest. */
void lv_activity_wait_begin(void);
void lv_activity_wait_end(void);

/* lv_activity_progress: a part of what is done is over, of a wait too. */
void lv_activity_progress(void);

typedef struct {
    int64_t step;
    lv_activity what;
    bool waiting;       /* for other ranks */
    uint64_t n_changes; /* calls of the functions above */
} lv_activity_state;
lv_activity_state lv_activity_now(void);

/* lv_activity_words: "reading data", or "waiting for other ranks"; static.
 * lv_activity_text: "step 512, reading data", without the step before the first; returns buf. */
enum { LV_ACTIVITY_TEXT = 80 };
const char *lv_activity_words(const lv_activity_state *state);
const char *lv_activity_text(char buf[LV_ACTIVITY_TEXT], const lv_activity_state *state);

/* lv_activity_life: what shows that it goes on; of a wait nothing does. */
lv_life lv_activity_life(const lv_activity_state *state);

#endif
