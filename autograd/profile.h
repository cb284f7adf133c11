/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_profile: how long one thread was in each of several parts of its work. It is in one part at a
 * time: what a part enters is not counted as its own, so that the parts add up to the whole.
 */
#ifndef LV_AUTOGRAD_PROFILE_H
#define LV_AUTOGRAD_PROFILE_H

#include "autograd/tape.h"

typedef struct {
    int64_t n_calls;
    double seconds;
    double flop;  /* of matrix products, also of those that are computed a second time */
    double bytes; /* of the tensors that are read or written, each once */
} lv_profile_part;

enum { LV_FORWARD, LV_BACKWARD, LV_N_PASSES };

#define LV_OP(name) LV_OP_INDEX_##name,
enum {
#include "autograd/ops.def"
    LV_N_OPS
};
#undef LV_OP

/* Start it with {0}. */
typedef struct lv_profile {
    lv_profile_part ops[LV_N_OPS][LV_N_PASSES]; /* in the order of ops.def */
    lv_profile_part owner;                      /* the hooks of the tape's lv_tape_owner */
    lv_profile_part *now;                       /* NULL: in none */
    double since_s;
} lv_profile;

const char *lv_profile_op_name(int i);

/* lv_profile_enter: the time from now on is the part's.
 * in     profile NULL: nothing is done
 * returns the part before, for lv_profile_leave */
lv_profile_part *lv_profile_enter(lv_profile *profile, lv_profile_part *part);
void lv_profile_leave(lv_profile *profile, lv_profile_part *before);

/* lv_profile_op: the part of an op of ops.def. */
lv_profile_part *lv_profile_op(lv_profile *profile, const lv_op *op, int pass);

/* lv_profile_forward_bytes, lv_profile_backward_bytes: add what an op's pass reads and writes; of
 * the backward pass before it begins. An op that gathers rows reads as much as it writes. */
void lv_profile_forward_bytes(lv_profile *profile, const lv_op *op, const lv_tensor *out, int n_in,
                              lv_tensor *const *in);
void lv_profile_backward_bytes(lv_profile *profile, const lv_node *node);

#endif
