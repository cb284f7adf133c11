/* SPDX-License-Identifier: Apache-2.0
 *
 * What ops need of the tape and models do not.
 */
#ifndef LV_AUTOGRAD_TAPE_INTERNAL_H
#define LV_AUTOGRAD_TAPE_INTERNAL_H

#include "autograd/tape.h"

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

/* lv_tape_forget: drop what was recorded after last. */
void lv_tape_forget(lv_tape *tape, lv_record *last);

/* lv_tape_backward_to: run and drop what was recorded after last, from the newest on. */
void lv_tape_backward_to(lv_tape *tape, lv_record *last);

/* lv_tape_record_always: record although no input may require a gradient: the op depends on
 * parameters that are not among its inputs. */
void lv_tape_record_always(lv_tape *tape, const lv_op *op, lv_tensor *out, int n_in,
                           lv_tensor *const *in, const void *saved);

#endif
