/* SPDX-License-Identifier: Apache-2.0
 *
 * recompute: y = segment(x), of which only x and y stay. The forward pass records the segment to
 * learn whether y requires a gradient, then forgets it; the backward pass runs it a second time.
 *   dx += (dsegment/dx)^T dy, and likewise for the parameters that the segment uses
 */
#include "autograd/error.h"
#include "autograd/ops.h"
#include "autograd/tape_internal.h"

typedef struct {
    lv_segment *segment;
    const void *context;
} saved_recompute;

lv_tensor *lv_recompute(lv_tape *tape, lv_segment *segment, const void *context, lv_tensor *x)
{
    saved_recompute *saved = lv_tape_alloc(tape, sizeof *saved);
    *saved = (saved_recompute){segment, context};
    size_t mark = lv_tape_mark(tape);
    lv_record *last = lv_tape_last(tape);
    lv_tensor *y = segment(tape, context, x);
    LV_CHECK(y != x, "recompute: a segment that returns its input");
    bool requires_grad = y->requires_grad;
    lv_tape_forget(tape, last);
    y = lv_tape_move_down(tape, mark, y);
    if (requires_grad) {
        lv_tape_record_always(tape, &lv_op_recompute, y, 1, &x, saved);
    }
    return y;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    const saved_recompute *saved = node->saved;
    lv_tensor *x = node->in[0];
    lv_tensor input = *x;
    if (x->requires_grad) {
        input.grad = lv_tape_grad(tape, x); /* before the mark: it outlives the segment */
        input.is_param = true;              /* so that the inner walk leaves it alone */
    }
    bool recording = lv_tape_recording_set(tape, true);
    size_t mark = lv_tape_mark(tape);
    lv_record *last = lv_tape_last(tape);
    /* y = segment(x), and all its inverses */
    lv_tensor *y = saved->segment(tape, saved->context, &input);
    y->grad = node->out->grad;
    y->is_param = true;
    lv_tape_backward_to(tape, last);
    lv_tape_release(tape, mark);
    lv_tape_recording_set(tape, recording);
}

const lv_op lv_op_recompute = {"recompute", backward};
