/* SPDX-License-Identifier: Apache-2.0
 *
 * recompute: y = segment(in), of which only in and y stay. The forward pass records the segment to
 * learn whether y requires a gradient, then forgets it; the backward pass runs it a second time.
 *   din += (dsegment/din)^T dy, and likewise for the parameters that the segment uses
 */
#include "autograd/error.h"
#include "autograd/ops.h"
#include "autograd/tape_internal.h"

typedef struct {
    lv_segment *segment;
    const void *context;
} saved_recompute;

static void check_inputs(int n_in, lv_tensor *const *in)
{
    LV_CHECK(n_in >= 1 && n_in <= LV_MAX_INPUTS, "recompute: %d inputs", n_in);
    for (int i = 0; i < n_in; i++) {
        for (int j = 0; j < i; j++) {
            LV_CHECK(in[i] != in[j], "recompute: inputs %d and %d are the same", j, i);
        }
    }
}

lv_tensor *lv_recompute(lv_tape *tape, lv_segment *segment, const void *context, int n_in,
                        lv_tensor *const *in)
{
    LV_OP_FORWARD(tape, recompute);
    check_inputs(n_in, in);
    saved_recompute *saved = lv_tape_alloc(tape, sizeof *saved);
    *saved = (saved_recompute){segment, context};
    lv_free_block *blocks = lv_tape_blocks_set(tape, NULL);
    const lv_tape_scope scope = {lv_tape_mark(tape), n_in, in};
    const lv_tape_scope *outer = lv_tape_scope_set(tape, &scope);
    lv_record *last = lv_tape_last(tape);
    lv_tensor *y = segment(tape, context, in);
    for (int i = 0; i < n_in; i++) {
        LV_CHECK(y != in[i], "recompute: a segment that returns its input");
    }
    bool requires_grad = y->requires_grad;
    lv_tape_forget(tape, last);
    y = lv_tape_move_down(tape, scope.mark, y);
    y->data_needed = false;
    lv_tape_scope_set(tape, outer);
    lv_tape_blocks_set(tape, blocks);
    if (requires_grad) {
        lv_tape_record_always(tape, &lv_op_recompute, y, n_in, in, saved);
    }
    return y;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    const saved_recompute *saved = node->saved;
    lv_tensor copies[LV_MAX_INPUTS], *in[LV_MAX_INPUTS];
    for (int i = 0; i < node->n_in; i++) {
        lv_tensor *x = node->in[i];
        if (x->requires_grad && !x->grad) { /* before the mark: it outlives the segment */
            lv_tape_grad_reserve(tape, x);
        }
        copies[i] = *x;
        copies[i].grad_lent = true;
        copies[i].data_owned = false;
        in[i] = &copies[i];
    }
    bool recording = lv_tape_recording_set(tape, true);
    bool counting = lv_tape_counting_set(tape, false);
    double flop = lv_tape_flop(tape);
    lv_free_block *blocks = lv_tape_blocks_set(tape, NULL);
    const lv_tape_scope scope = {lv_tape_mark(tape), node->n_in, in};
    const lv_tape_scope *outer = lv_tape_scope_set(tape, &scope);
    lv_record *last = lv_tape_last(tape);
    /* y = segment(in), and all its inverses */
    lv_tensor *y = saved->segment(tape, saved->context, in);
    lv_tape_count_flop(tape, flop - lv_tape_flop(tape)); /* was counted in the forward pass */
    lv_tape_counting_set(tape, counting);
    y->grad = node->out->grad;
    y->grad_begun = y->grad_lent = true;
    lv_tape_backward_to(tape, last);
    lv_tape_release(tape, scope.mark);
    lv_tape_scope_set(tape, outer);
    lv_tape_blocks_set(tape, blocks);
    lv_tape_recording_set(tape, recording);
    for (int i = 0; i < node->n_in; i++) {
        node->in[i]->grad_begun = copies[i].grad_begun;
    }
}

static unsigned needs(const lv_node *node)
{
    unsigned all = 0;
    for (int i = 0; i < node->n_in; i++) {
        all |= LV_NEEDS_IN(i);
    }
    return all;
}

const lv_op lv_op_recompute = {"recompute", backward, needs};
