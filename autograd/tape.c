/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/tape.h"

#include "autograd/error.h"
#include "autograd/kernels/pointwise.h"
#include "autograd/tape_internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct lv_record {
    lv_node node;
    lv_record *previous;
};

/* Memory nobody uses: the link lies in it. */
struct lv_free_block {
    lv_free_block *next;
    size_t bytes;
};

struct lv_tape {
    lv_arena *arena;
    char *base; /* where mark 0 is */
    lv_record *last;
    lv_free_block *blocks;
    lv_dtype dtype;
    const lv_tape_scope *scope;
    bool recording, dry, counting;
    double flop;
    lv_tape_owner owner;
    lv_profile *profile; /* NULL: none */
};

static atomic_uint_least64_t progress; /* of all tapes */

static void count_progress(void)
{
    atomic_fetch_add_explicit(&progress, 1, memory_order_relaxed);
}

uint64_t lv_tape_progress(void)
{
    return atomic_load_explicit(&progress, memory_order_relaxed);
}

int lv_tape_create(lv_tape **out, size_t limit_bytes)
{
    lv_tape *tape = calloc(1, sizeof *tape);
    if (!tape) {
        return lv_fail(LV_ERR_MEMORY, "tape: no memory");
    }
    int rc = lv_arena_create(&tape->arena, "step", limit_bytes);
    if (rc < 0) {
        free(tape);
        return rc;
    }
    tape->base = lv_arena_alloc(tape->arena, 0);
    tape->recording = tape->counting = true;
    *out = tape;
    return 0;
}

void lv_tape_destroy(lv_tape **tape)
{
    if (!tape || !*tape) {
        return;
    }
    lv_arena_destroy(&(*tape)->arena);
    free(*tape);
    *tape = NULL;
}

void lv_tape_reset(lv_tape *tape)
{
    tape->last = NULL;
    tape->blocks = NULL;
    lv_arena_release(tape->arena, 0);
}

bool lv_tape_recording_set(lv_tape *tape, bool recording)
{
    bool before = tape->recording;
    tape->recording = recording;
    return before;
}

void *lv_tape_alloc(lv_tape *tape, size_t bytes)
{
    return lv_arena_alloc(tape->arena, bytes);
}

static void *take_block(lv_tape *tape, size_t bytes)
{
    for (lv_free_block **at = &tape->blocks; *at; at = &(*at)->next) {
        if ((*at)->bytes == bytes) {
            void *block = *at;
            *at = (*at)->next;
            return block;
        }
    }
    return lv_arena_alloc(tape->arena,
                          bytes < sizeof(lv_free_block) ? sizeof(lv_free_block) : bytes);
}

static void give_block_back(lv_tape *tape, void *data, size_t bytes)
{
    lv_free_block *block = data;
    *block = (lv_free_block){.next = tape->blocks, .bytes = bytes};
    tape->blocks = block;
}

lv_free_block *lv_tape_blocks_set(lv_tape *tape, lv_free_block *blocks)
{
    lv_free_block *before = tape->blocks;
    tape->blocks = blocks;
    return before;
}

static size_t data_bytes(const lv_tensor *x)
{
    size_t bytes = lv_dtype_bytes(x->dtype);
    for (int i = 0; i < x->n_dims; i++) {
        bool overflow = __builtin_mul_overflow(bytes, (size_t)x->shape[i], &bytes);
        LV_CHECK(x->shape[i] >= 0 && !overflow, "a tensor with dimension %d of %lld", i,
                 (long long)x->shape[i]);
    }
    return bytes;
}

lv_tensor *lv_tape_view(lv_tape *tape, void *data, lv_dtype dtype, int n_dims, const int64_t *shape)
{
    LV_CHECK(n_dims >= 1 && n_dims <= LV_MAX_DIMS, "a tensor of %d dimensions", n_dims);
    lv_tensor *x = lv_arena_alloc(tape->arena, sizeof *x);
    *x = (lv_tensor){.dtype = dtype, .n_dims = n_dims, .data = data};
    for (int i = 0; i < LV_MAX_DIMS; i++) {
        x->shape[i] = i < n_dims ? shape[i] : 1;
    }
    return x;
}

lv_tensor *lv_tape_tensor(lv_tape *tape, lv_dtype dtype, int n_dims, const int64_t *shape)
{
    lv_tensor *x = lv_tape_view(tape, NULL, dtype, n_dims, shape);
    x->data = take_block(tape, data_bytes(x));
    x->data_owned = true;
    count_progress();
    return x;
}

lv_tensor *lv_tape_overwrite(lv_tape *tape, lv_tensor *x)
{
    LV_CHECK(!x->is_param && !x->data_needed, "overwriting what others read");
    lv_tensor *y = lv_tape_view(tape, x->data, x->dtype, x->n_dims, x->shape);
    y->data_owned = x->data_owned;
    x->data_owned = false;
    return y;
}

void lv_tape_done(lv_tape *tape, lv_tensor *x)
{
    if (x->data_owned && !x->data_needed) {
        give_block_back(tape, x->data, data_bytes(x));
        x->data_owned = false;
        x->data = NULL;
    }
}

bool lv_tape_wants(const lv_tape *tape, int n_in, lv_tensor *const *in)
{
    for (int i = 0; tape->recording && i < n_in; i++) {
        if (in[i] && in[i]->requires_grad) {
            return true;
        }
    }
    return false;
}

static lv_profile_part *enter_owner(const lv_tape *tape)
{
    return lv_profile_enter(tape->profile, tape->profile ? &tape->profile->owner : NULL);
}

/* Of parameters: how many records are left that will add to their gradients. */
static void count_uses(const lv_tape *tape, const lv_record *record, int by)
{
    for (int i = 0; tape->counting && i < record->node.n_in; i++) {
        lv_tensor *x = record->node.in[i];
        if (x && x->is_param && x->requires_grad) {
            x->n_uses += by;
            if (x->n_uses == 0 && tape->owner.grad_done) {
                lv_profile_part *before = enter_owner(tape);
                tape->owner.grad_done(tape->owner.context, x);
                lv_profile_leave(tape->profile, before);
            }
        }
    }
}

void lv_tape_owner_set(lv_tape *tape, const lv_tape_owner *owner)
{
    tape->owner = *owner;
}

void lv_tape_await(const lv_tape *tape, const lv_tensor *x)
{
    if (x && x->is_param && x->requires_grad && tape->owner.await) {
        lv_profile_part *before = enter_owner(tape);
        tape->owner.await(tape->owner.context, x);
        lv_profile_leave(tape->profile, before);
    }
}

void lv_tape_grad_rows(const lv_tape *tape, const lv_tensor *x, const int32_t *ids, int64_t n)
{
    if (x->is_param && tape->owner.grad_rows) {
        lv_profile_part *before = enter_owner(tape);
        tape->owner.grad_rows(tape->owner.context, x, ids, n);
        lv_profile_leave(tape->profile, before);
    }
}

static bool is_after(const lv_tape *tape, const void *pointer, size_t mark)
{
    uintptr_t at = (uintptr_t)pointer;
    uintptr_t base = (uintptr_t)tape->base;
    return at >= base + mark && at < base + lv_arena_mark(tape->arena);
}

const lv_tape_scope *lv_tape_scope_set(lv_tape *tape, const lv_tape_scope *scope)
{
    const lv_tape_scope *before = tape->scope;
    tape->scope = scope;
    return before;
}

static void check_scope(const lv_tape *tape, const lv_op *op, int n_in, lv_tensor *const *in)
{
    const lv_tape_scope *scope = tape->scope;
    for (int i = 0; scope && i < n_in; i++) {
        const lv_tensor *x = in[i];
        bool known = !x || x->is_param || !x->requires_grad || is_after(tape, x, scope->mark);
        for (int j = 0; !known && j < scope->n_in; j++) {
            known = x == scope->in[j];
        }
        LV_CHECK(known,
                 "%s: its input %d requires a gradient and comes from outside of the segment that "
                 "is recomputed: it has to be among the inputs of lv_recompute",
                 op->name, i);
    }
}

void lv_tape_record_always(lv_tape *tape, const lv_op *op, lv_tensor *out, int n_in,
                           lv_tensor *const *in, const void *saved)
{
    LV_CHECK(n_in <= LV_MAX_INPUTS, "%s: %d inputs", op->name, n_in);
    check_scope(tape, op, n_in, in);
    lv_record *record = lv_arena_alloc(tape->arena, sizeof *record);
    *record = (lv_record){.node = {.op = op, .out = out, .n_in = n_in, .saved = saved},
                          .previous = tape->last};
    memcpy(record->node.in, in, (size_t)n_in * sizeof *in);
    count_uses(tape, record, 1);
    unsigned needs = op->needs ? op->needs(&record->node) : ~0u;
    for (int i = 0; i < n_in; i++) {
        if (in[i] && (needs & LV_NEEDS_IN(i))) {
            in[i]->data_needed = true;
        }
    }
    out->data_needed |= (needs & LV_NEEDS_OUT) != 0;
    tape->last = record;
    out->requires_grad = true;
}

void lv_tape_record(lv_tape *tape, const lv_op *op, lv_tensor *out, int n_in, lv_tensor *const *in,
                    const void *saved)
{
    if (tape->profile) {
        LV_CHECK(tape->profile->now == lv_profile_op(tape->profile, op, LV_FORWARD),
                 "%s: its forward function does not begin with LV_OP_FORWARD", op->name);
        lv_profile_forward_bytes(tape->profile, op, out, n_in, in);
    }
    if (lv_tape_wants(tape, n_in, in)) {
        lv_tape_record_always(tape, op, out, n_in, in, saved);
    }
}

static bool tape_owns_grad(const lv_tensor *x)
{
    return !x->is_param && !x->grad_lent;
}

static size_t grad_bytes(const lv_tensor *x)
{
    return (size_t)lv_tensor_count(x) * lv_dtype_bytes(lv_grad_dtype(x));
}

static void give_grad_back(lv_tape *tape, lv_tensor *x)
{
    give_block_back(tape, x->grad, grad_bytes(x));
    x->grad = NULL;
    x->grad_begun = false;
}

void lv_tape_grad_reserve(lv_tape *tape, lv_tensor *x)
{
    LV_CHECK(!x->is_param, "a parameter that requires a gradient has no memory for it");
    x->grad = take_block(tape, grad_bytes(x));
}

lv_grad lv_tape_grad(lv_tape *tape, lv_tensor *x)
{
    LV_CHECK(x->requires_grad, "the gradient of a tensor that requires none");
    if (!x->grad) {
        lv_tape_grad_reserve(tape, x);
    }
    lv_grad grad = {.data = x->grad, .dtype = lv_grad_dtype(x), .add = x->grad_begun};
    x->grad_begun = true;
    return grad;
}

lv_grad lv_tape_grad_wanted(lv_tape *tape, lv_tensor *x)
{
    return x->requires_grad ? lv_tape_grad(tape, x) : (lv_grad){.data = NULL};
}

lv_grad lv_tape_grad_cleared(lv_tape *tape, lv_tensor *x)
{
    lv_grad grad = lv_tape_grad(tape, x);
    if (!grad.add && !tape->dry) {
        memset(grad.data, 0, grad_bytes(x));
    }
    grad.add = true;
    return grad;
}

void lv_tape_grad_pass(lv_tape *tape, lv_tensor *out, lv_tensor *x)
{
    if (tape_owns_grad(out) && tape_owns_grad(x) && !x->grad_begun) {
        LV_CHECK(x->requires_grad && grad_bytes(x) == grad_bytes(out) && x->dtype == out->dtype,
                 "passing a gradient on to a tensor of another kind");
        if (x->grad) {
            give_grad_back(tape, x);
        }
        x->grad = out->grad;
        x->grad_begun = true;
        out->grad = NULL;
        out->grad_begun = false;
        return;
    }
    lv_grad dx = lv_tape_grad(tape, x);
    if (!tape->dry) {
        lv_add_to(dx.data, dx.dtype, dx.add, out->grad, lv_grad_dtype(out), lv_tensor_count(x));
    }
}

static void run_backward(lv_tape *tape, const lv_node *node)
{
    lv_profile *profile = tape->profile;
    if (!profile) {
        node->op->backward(tape, node);
        return;
    }
    lv_profile_backward_bytes(profile, node);
    lv_profile_part *before =
        lv_profile_enter(profile, lv_profile_op(profile, node->op, LV_BACKWARD));
    node->op->backward(tape, node);
    lv_profile_leave(profile, before);
}

void lv_tape_backward_to(lv_tape *tape, lv_record *last)
{
    while (tape->last != last) {
        lv_record *record = tape->last;
        LV_CHECK(record, "a record that is not on this tape");
        tape->last = record->previous;
        lv_tensor *out = record->node.out;
        if (out->grad_begun) { /* if not, nothing that was asked for depends on it */
            run_backward(tape, &record->node);
            count_progress();
        }
        count_uses(tape, record, -1);
        if (tape_owns_grad(out) && out->grad) {
            give_grad_back(tape, out);
        }
    }
}

void lv_backward(lv_tape *tape, lv_tensor *loss)
{
    LV_CHECK(lv_tensor_count(loss) == 1, "backward from %lld elements, not from one",
             (long long)lv_tensor_count(loss));
    if (!loss->requires_grad) {
        for (const lv_record *record = tape->last; record; record = record->previous) {
            count_uses(tape, record, -1);
        }
        lv_tape_forget(tape, NULL);
        return;
    }
    LV_CHECK(loss->dtype == LV_F32, "backward from a loss of %s", lv_dtype_name(loss->dtype));
    *(lv_real *)lv_tape_grad(tape, loss).data = 1;
    lv_tape_backward_to(tape, NULL);
}

size_t lv_tape_mark(const lv_tape *tape)
{
    return lv_arena_mark(tape->arena);
}

void lv_tape_release(lv_tape *tape, size_t mark)
{
    LV_CHECK(!is_after(tape, tape->last, mark), "freeing what the backward pass still needs");
    for (lv_free_block **at = &tape->blocks; *at;) {
        if (is_after(tape, *at, mark)) {
            *at = (*at)->next;
        } else {
            at = &(*at)->next;
        }
    }
    lv_arena_release(tape->arena, mark);
}

lv_tensor *lv_tape_move_down(lv_tape *tape, size_t mark, lv_tensor *x)
{
    if (!is_after(tape, x, mark)) {
        LV_CHECK(!is_after(tape, x->data, mark), "keeping a tensor whose data would be freed");
        lv_tape_release(tape, mark);
        return x;
    }
    lv_tensor header = *x; /* x itself may be overwritten by its data on the way down */
    bool move_data = is_after(tape, x->data, mark);
    lv_tape_release(tape, mark);
    lv_tensor *kept = lv_arena_alloc(tape->arena, sizeof *kept);
    if (move_data) {
        size_t bytes = data_bytes(&header);
        void *data = lv_arena_alloc(tape->arena, bytes);
        if (!tape->dry) {
            memmove(data, header.data, bytes);
        }
        header.data = data;
    }
    *kept = header; /* last: it may lie where the data was */
    return kept;
}

lv_tensor *lv_tape_keep(lv_tape *tape, size_t mark, lv_tensor *x)
{
    return x->requires_grad ? x : lv_tape_move_down(tape, mark, x);
}

lv_record *lv_tape_last(const lv_tape *tape)
{
    return tape->last;
}

void lv_tape_forget(lv_tape *tape, lv_record *last)
{
    tape->last = last;
}

bool lv_tape_counting_set(lv_tape *tape, bool counting)
{
    bool before = tape->counting;
    tape->counting = counting;
    return before;
}

lv_dtype lv_tape_dtype(const lv_tape *tape)
{
    return tape->dtype;
}

void lv_tape_dtype_set(lv_tape *tape, lv_dtype dtype)
{
    LV_CHECK(dtype == LV_F32 || dtype == LV_BF16, "activations of %s", lv_dtype_name(dtype));
    tape->dtype = dtype;
}

bool lv_tape_dry_set(lv_tape *tape, bool dry)
{
    bool before = tape->dry;
    tape->dry = dry;
    return before;
}

bool lv_tape_is_dry(const lv_tape *tape)
{
    return tape->dry;
}

void lv_tape_count_flop(lv_tape *tape, double flop)
{
    tape->flop += flop;
    if (tape->profile && tape->profile->now && flop > 0) { /* below 0: not to be counted twice */
        tape->profile->now->flop += flop;
    }
}

double lv_tape_flop(const lv_tape *tape)
{
    return tape->flop;
}

void lv_tape_profile_set(lv_tape *tape, lv_profile *profile)
{
    tape->profile = profile;
}

lv_tape_forward lv_tape_forward_begin(lv_tape *tape, const lv_op *op)
{
    lv_profile *profile = tape->profile;
    return (lv_tape_forward){
        profile,
        profile ? lv_profile_enter(profile, lv_profile_op(profile, op, LV_FORWARD)) : NULL};
}

void lv_tape_forward_end(const lv_tape_forward *span)
{
    lv_profile_leave(span->profile, span->before);
}

size_t lv_tape_peak_bytes(const lv_tape *tape)
{
    return lv_arena_peak_bytes(tape->arena);
}
