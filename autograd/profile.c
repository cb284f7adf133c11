/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/profile.h"

#include "autograd/error.h"
#include "autograd/ops.h"

#include <time.h>

#define LV_OP(name) &lv_op_##name,
static const lv_op *const ops[LV_N_OPS] = {
#include "autograd/ops.def"
};
#undef LV_OP

const char *lv_profile_op_name(int i)
{
    return ops[i]->name;
}

static void switch_to(lv_profile *profile, lv_profile_part *part)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const double now_s = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    if (profile->now) {
        profile->now->seconds += now_s - profile->since_s;
    }
    profile->since_s = now_s;
    profile->now = part;
}

lv_profile_part *lv_profile_enter(lv_profile *profile, lv_profile_part *part)
{
    if (!profile) {
        return NULL;
    }
    lv_profile_part *before = profile->now;
    switch_to(profile, part);
    part->n_calls++;
    return before;
}

void lv_profile_leave(lv_profile *profile, lv_profile_part *before)
{
    if (profile) {
        switch_to(profile, before);
    }
}

lv_profile_part *lv_profile_op(lv_profile *profile, const lv_op *op, int pass)
{
    int i = 0;
    while (i < LV_N_OPS && ops[i] != op) {
        i++;
    }
    LV_CHECK(i < LV_N_OPS, "%s is not in ops.def", op->name);
    return &profile->ops[i][pass];
}

static double data_bytes(const lv_tensor *x)
{
    return (double)lv_tensor_count(x) * (double)lv_dtype_bytes(x->dtype);
}

static double grad_bytes(const lv_tensor *x)
{
    return (double)lv_tensor_count(x) * (double)lv_dtype_bytes(lv_grad_dtype(x));
}

/* Of an input with n_bytes, by an op whose output has as many as out_bytes. */
static double touched(const lv_op *op, double n_bytes, double out_bytes)
{
    const bool gathers = op == &lv_op_embedding || op == &lv_op_select_rows;
    return gathers && n_bytes > out_bytes ? out_bytes : n_bytes;
}

void lv_profile_forward_bytes(lv_profile *profile, const lv_op *op, const lv_tensor *out, int n_in,
                              lv_tensor *const *in)
{
    double bytes = data_bytes(out);
    for (int i = 0; i < n_in; i++) {
        bytes += in[i] ? touched(op, data_bytes(in[i]), data_bytes(out)) : 0;
    }
    lv_profile_op(profile, op, LV_FORWARD)->bytes += bytes;
}

void lv_profile_backward_bytes(lv_profile *profile, const lv_node *node)
{
    const lv_tensor *out = node->out;
    const unsigned needs = node->op->needs ? node->op->needs(node) : ~0u;
    double bytes = grad_bytes(out) + (needs & LV_NEEDS_OUT ? data_bytes(out) : 0);
    for (int i = 0; i < node->n_in; i++) {
        const lv_tensor *x = node->in[i];
        if (x && (needs & LV_NEEDS_IN(i))) {
            bytes += touched(node->op, data_bytes(x), data_bytes(out));
        }
        if (x && x->requires_grad) { /* added to: read as well */
            bytes += (x->grad_begun ? 2 : 1) * touched(node->op, grad_bytes(x), grad_bytes(out));
        }
    }
    lv_profile_op(profile, node->op, LV_BACKWARD)->bytes += bytes;
}
