/* SPDX-License-Identifier: Apache-2.0
 *
 * What ops need of the tape and models do not.
 */
#ifndef LV_AUTOGRAD_TAPE_INTERNAL_H
#define LV_AUTOGRAD_TAPE_INTERNAL_H

#include "autograd/profile.h"
#include "autograd/tape.h"

/* LV_OP_FORWARD: begins the forward function of every op: until it returns, the time is the op's in
 * the tape's profile. */
#define LV_OP_FORWARD(tape, name)                                                                  \
    __attribute__((cleanup(lv_tape_forward_end))) const lv_tape_forward forward_span =             \
        lv_tape_forward_begin(tape, &lv_op_##name)
typedef struct {
    lv_profile *profile; /* NULL: none */
    lv_profile_part *before;
} lv_tape_forward;
lv_tape_forward lv_tape_forward_begin(lv_tape *tape, const lv_op *op);
void lv_tape_forward_end(const lv_tape_forward *span);

/* lv_tape_release: give back scratch taken since lv_tape_mark. Outputs, saved values and gradients
 * of inputs are taken before the mark. */
void lv_tape_release(lv_tape *tape, size_t mark);

/* lv_tape_grad_reserve: memory for the gradient of an activation that has none, not begun. */
void lv_tape_grad_reserve(lv_tape *tape, lv_tensor *x);

/* lv_tape_move_down: as lv_tape_keep, but whether or not x requires a gradient. */
lv_tensor *lv_tape_move_down(lv_tape *tape, size_t mark, lv_tensor *x);

/* lv_record: a node and the one recorded before it; NULL is the empty tape. */
typedef struct lv_record lv_record;
lv_record *lv_tape_last(const lv_tape *tape);

/* lv_tape_forget: drop what was recorded after last. It is to be recorded once more, and counts as
 * a use of its parameters until then. */
void lv_tape_forget(lv_tape *tape, lv_record *last);

/* lv_tape_overwrite: a new activation in the memory of x, whose data are not to be read afterwards:
 * for an op that computes in place. */
lv_tensor *lv_tape_overwrite(lv_tape *tape, lv_tensor *x);

/* lv_tape_blocks_set: what may be used again; for a part of the tape that is released as a whole,
 * NULL before it, so that nothing of it lies outside, and what was before after it. returns the
 * value before */
typedef struct lv_free_block lv_free_block;
lv_free_block *lv_tape_blocks_set(lv_tape *tape, lv_free_block *blocks);

/* lv_tape_counting_set: false while what was forgotten is recorded again. returns the value before
 */
bool lv_tape_counting_set(lv_tape *tape, bool counting);

/* lv_tape_scope: while it is set, what ops read is a parameter, needs no gradient, is one of in or
 * was made after the mark: only these keep the gradients that they get from now on. A record of
 * anything else ends the job. lv_tape_scope_set: NULL for none; returns the one before. */
typedef struct {
    size_t mark;
    int n_in;
    lv_tensor *const *in;
} lv_tape_scope;
const lv_tape_scope *lv_tape_scope_set(lv_tape *tape, const lv_tape_scope *scope);

/* lv_tape_backward_to: run and drop what was recorded after last, from the newest on. */
void lv_tape_backward_to(lv_tape *tape, lv_record *last);

/* lv_tape_record_always: record although no input may require a gradient: the op depends on
 * parameters that are not among its inputs. */
void lv_tape_record_always(lv_tape *tape, const lv_op *op, lv_tensor *out, int n_in,
                           lv_tensor *const *in, const void *saved);

#endif
