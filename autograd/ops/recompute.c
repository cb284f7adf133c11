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
    lv_free_block *blocks = lv_tape_blocks_set(tape, NULL);
    size_t mark = lv_tape_mark(tape);
    lv_record *last = lv_tape_last(tape);
    lv_tensor *y = segment(tape, context, x);
    LV_CHECK(y != x, "recompute: a segment that returns its input");
    bool requires_grad = y->requires_grad;
    lv_tape_forget(tape, last);
    y = lv_tape_move_down(tape, mark, y);
    y->data_needed = false;
    lv_tape_blocks_set(tape, blocks);
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
    if (x->requires_grad && !x->grad) { /* before the mark: it outlives the segment */
        lv_tape_grad_reserve(tape, x);
    }
    input.grad = x->grad;
    input.grad_lent = true;
    input.data_owned = false;
    bool recording = lv_tape_recording_set(tape, true);
    bool counting = lv_tape_counting_set(tape, false);
    double flop = lv_tape_flop(tape);
    lv_free_block *blocks = lv_tape_blocks_set(tape, NULL);
    size_t mark = lv_tape_mark(tape);
    lv_record *last = lv_tape_last(tape);
    /* y = segment(x), and all its inverses */
    lv_tensor *y = saved->segment(tape, saved->context, &input);
    lv_tape_count_flop(tape, flop - lv_tape_flop(tape)); /* was counted in the forward pass */
    lv_tape_counting_set(tape, counting);
    y->grad = node->out->grad;
    y->grad_begun = y->grad_lent = true;
    lv_tape_backward_to(tape, last);
    lv_tape_release(tape, mark);
    lv_tape_blocks_set(tape, blocks);
    lv_tape_recording_set(tape, recording);
    x->grad_begun = input.grad_begun;
}

static unsigned needs(const lv_node *node)
{
    (void)node;
    return LV_NEEDS_IN(0);
}

const lv_op lv_op_recompute = {"recompute", backward, needs};
