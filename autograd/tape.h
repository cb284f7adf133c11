/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_tape: what was computed, in order, so that gradients can be computed in reverse.
 *
 * An op's forward function computes at once and then calls lv_tape_record. If no input needs a
 * gradient nothing is recorded, the result needs none either, and its inputs may be given back
 * with lv_tape_keep. lv_backward walks the records from the last to the first; every op adds (+=)
 * to the gradients of its inputs.
 *
 * Gradients and data of activations come from the step arena and go back to a free list: a gradient
 * as soon as the op that made the activation has used it; data when the model says that it is done
 * with them (lv_tape_done), if no backward pass reads them.
 */
#ifndef LV_AUTOGRAD_TAPE_H
#define LV_AUTOGRAD_TAPE_H

#include "autograd/arena.h"
#include "autograd/tensor.h"

typedef struct lv_tape lv_tape;
typedef struct lv_node lv_node;
struct lv_profile;

/* lv_op: one row of the table that is ops.def. */
typedef struct {
    const char *name;
    /* adds to the gradient of every node->in[i] that requires one; node->out->grad holds out's */
    void (*backward)(lv_tape *tape, const lv_node *node);
    /* whose data it reads: the sum of LV_NEEDS_IN(i) and LV_NEEDS_OUT; asked when the op is
     * recorded. NULL: of all of them */
    unsigned (*needs)(const lv_node *node);
} lv_op;

enum { LV_MAX_INPUTS = 6, LV_NEEDS_OUT = 1 << LV_MAX_INPUTS };
#define LV_NEEDS_IN(i) (1u << (i))

struct lv_node {
    const lv_op *op;
    lv_tensor *out;
    int n_in;
    lv_tensor *in[LV_MAX_INPUTS]; /* an optional input that is absent is NULL */
    const void *saved;            /* the op's own struct, in the step arena */
};

/* lv_tape_create: a tape with its step arena.
 * in     limit_bytes: bound of the step arena, 0 = physical memory
 * fails  LV_ERR_MEMORY */
int lv_tape_create(lv_tape **out, size_t limit_bytes);
void lv_tape_destroy(lv_tape **tape);

/* lv_tape_reset: forget all records and give all activations back; parameters are untouched. */
void lv_tape_reset(lv_tape *tape);

/* lv_tape_recording_set: with false nothing is recorded (validation, generation). returns the
 * value before. */
bool lv_tape_recording_set(lv_tape *tape, bool recording);

/* lv_tape_alloc: memory in the step arena, 64-byte aligned, not cleared. */
void *lv_tape_alloc(lv_tape *tape, size_t bytes);

/* lv_tape_tensor: a new activation in the step arena, data not cleared. */
lv_tensor *lv_tape_tensor(lv_tape *tape, lv_dtype dtype, int n_dims, const int64_t *shape);

/* lv_tape_view: the same data under another shape of as many elements, for inputs that need no
 * gradient (pixels, a KV cache). */
lv_tensor *lv_tape_view(lv_tape *tape, void *data, lv_dtype dtype, int n_dims,
                        const int64_t *shape);

/* lv_tape_done: nobody reads the data of x any more but backward passes; if none does and they are
 * not a view, the next tensor of as many bytes takes their memory, and x->data is NULL. */
void lv_tape_done(lv_tape *tape, lv_tensor *x);

/* lv_tape_wants: will an op with these inputs be recorded? Asked before anything is saved. */
bool lv_tape_wants(const lv_tape *tape, int n_in, lv_tensor *const *in);

/* lv_tape_record: record out = op(in...) if an input requires a gradient; sets
 * out->requires_grad. saved stays the op's, in the step arena. */
void lv_tape_record(lv_tape *tape, const lv_op *op, lv_tensor *out, int n_in, lv_tensor *const *in,
                    const void *saved);

/* lv_tape_dtype: of the activations that come from no other activation (embeddings): LV_F32, or
 * what was set. Ops that read activations give theirs the same dtype. */
lv_dtype lv_tape_dtype(const lv_tape *tape);
void lv_tape_dtype_set(lv_tape *tape, lv_dtype dtype);

/* lv_tape_grad: the gradient of x, which has begun afterwards; memory comes from the step arena if
 * x is an activation. For backward functions, and only if x->requires_grad. */
lv_grad lv_tape_grad(lv_tape *tape, lv_tensor *x);

/* lv_tape_grad_wanted: the same, or one whose data is NULL if x requires no gradient. */
lv_grad lv_tape_grad_wanted(lv_tape *tape, lv_tensor *x);

/* lv_tape_grad_cleared: the same for ops that reach some elements only: always to be added to. */
lv_grad lv_tape_grad_cleared(lv_tape *tape, lv_tensor *x);

/* lv_tape_grad_pass: the gradient of x += the gradient of out, of the same shape and dtype, which
 * is not used any more: where x has none yet it takes over out's memory. */
void lv_tape_grad_pass(lv_tape *tape, lv_tensor *out, lv_tensor *x);

/* lv_tape_dry_set: ops of a dry tape take memory and are recorded, but neither read nor write it:
 * what a step will take can be measured without weights and without work. The memory is address
 * space alone. returns the value before. */
bool lv_tape_dry_set(lv_tape *tape, bool dry);
bool lv_tape_is_dry(const lv_tape *tape);

/* lv_tape_count_flop: floating-point operations of matrix products (2 M N K each), as the
 * mathematics needs them: what is computed a second time to save memory does not count.
 * lv_tape_flop: all since the tape was created. */
void lv_tape_count_flop(lv_tape *tape, double flop);
double lv_tape_flop(const lv_tape *tape);

/* lv_tape_profile_set: where the time of ops and of the owner's hooks is noted (profile.h), until
 * it is set to NULL. */
void lv_tape_profile_set(lv_tape *tape, struct lv_profile *profile);

/* What the owner of a tape's parameters, who shares them with others, wants to know of them. */
typedef struct {
    /* x is about to be read: returns when its values are there; may be NULL */
    void (*await)(void *context, const lv_tensor *x);
    /* an op that reaches rows ids[n] of x alone adds to the gradient of x; may be NULL */
    void (*grad_rows)(void *context, const lv_tensor *x, const int32_t *ids, int64_t n);
    /* the gradient of x will not change any more in this backward pass; may be NULL */
    void (*grad_done)(void *context, const lv_tensor *x);
    void *context;
} lv_tape_owner;
void lv_tape_owner_set(lv_tape *tape, const lv_tape_owner *owner);

/* lv_tape_await: the data of x, which may be a parameter, are about to be read. Every op that reads
 * a parameter says so. */
void lv_tape_await(const lv_tape *tape, const lv_tensor *x);

/* lv_tape_grad_rows: what is added to the gradient of x, a parameter, reaches rows ids[n] alone. */
void lv_tape_grad_rows(const lv_tape *tape, const lv_tensor *x, const int32_t *ids, int64_t n);

/* lv_backward: gradients of everything that loss depends on, from dloss/dloss = 1. May be called
 * once for what was recorded; a parameter's gradient is added to, or written if it has not begun.
 * in     loss: one element */
void lv_backward(lv_tape *tape, lv_tensor *loss);

/* lv_tape_mark / lv_tape_keep: free the activations of a frozen part.
 * keep   if x requires no gradient (so that nothing after the mark can), everything allocated
 *        since the mark but x is given back, and x returns moved down to the mark; otherwise x
 *        itself. Pointers into the freed part, and the old x, are invalid afterwards. */
size_t lv_tape_mark(const lv_tape *tape);
lv_tensor *lv_tape_keep(lv_tape *tape, size_t mark, lv_tensor *x);

size_t lv_tape_peak_bytes(const lv_tape *tape);

/* lv_tape_progress: activations made and backward passes of ops so far, on all tapes; from any
 * thread. */
uint64_t lv_tape_progress(void);

#endif
