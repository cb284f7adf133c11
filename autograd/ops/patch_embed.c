/* SPDX-License-Identifier: Apache-2.0
 *
 * patch_embed: I images of C channels and S x S pixels in patches of P x P; L = 1 + (S/P)^2 rows
 * an image, the first of them the class row, whose "patch" is zero.
 *   y[i,l] = position[l] + (l = 0: class) + W patches[i,l]
 *   dW += dy^T patches,  dclass += sum_i dy[i,0],  dposition[l] += sum_i dy[i,l] */
#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/rows.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

#include <string.h>

typedef struct {
    int64_t I, C, S, P, L, H;
} dims;

static dims dims_of(const lv_tensor *pixels, const lv_tensor *w)
{
    dims d = {.I = pixels->shape[0],
              .C = pixels->shape[1],
              .S = pixels->shape[2],
              .P = w->shape[2],
              .H = w->shape[0]};
    d.L = 1 + (d.S / d.P) * (d.S / d.P);
    return d;
}

/* One row: zero for the class, else (channel, row, column) of patch l - 1. */
static void fill_patch(lv_real *row, const lv_real *image, int64_t l, const dims *d)
{
    if (l == 0) {
        memset(row, 0, (size_t)(d->C * d->P * d->P) * sizeof *row);
        return;
    }
    int64_t top = (l - 1) / (d->S / d->P) * d->P;
    int64_t left = (l - 1) % (d->S / d->P) * d->P;
    for (int64_t c = 0; c < d->C; c++) {
        for (int64_t p = 0; p < d->P; p++) {
            const lv_real *line = image + (c * d->S + top + p) * d->S + left;
            memcpy(row, line, (size_t)d->P * sizeof *row);
            row += d->P;
        }
    }
}

/* patches (I*L, C*P*P), in the step arena. */
static lv_real *patches_of(lv_tape *tape, const lv_real *pixels, const dims *d)
{
    int64_t K = d->C * d->P * d->P;
    lv_real *patches = lv_tape_alloc(tape, (size_t)(d->I * d->L * K) * sizeof *patches);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < d->I * d->L; t++) {
        const lv_real *image = pixels + t / d->L * d->C * d->S * d->S;
        fill_patch(patches + t * K, image, t % d->L, d);
    }
    return patches;
}

lv_tensor *lv_patch_embed(lv_tape *tape, lv_tensor *pixels, lv_tensor *w,
                          lv_tensor *class_embedding, lv_tensor *position)
{
    lv_op_expect("patch_embed", "pixels", pixels, 4, (int64_t[]){-1, -1, -1, -1});
    lv_op_expect_weight("patch_embed", "W", w, 4, (int64_t[]){-1, pixels->shape[1], -1, -1});
    dims d = dims_of(pixels, w);
    LV_CHECK(!pixels->requires_grad, "patch_embed: pixels that require a gradient");
    LV_CHECK(pixels->shape[3] == d.S && w->shape[3] == d.P && d.S % d.P == 0,
             "patch_embed: images of %lld x %lld in patches of %lld x %lld", (long long)d.S,
             (long long)pixels->shape[3], (long long)d.P, (long long)w->shape[3]);
    lv_op_expect("patch_embed", "class_embedding", class_embedding, 1, &d.H);
    lv_op_expect("patch_embed", "position", position, 2, (int64_t[]){d.L, d.H});
    lv_tensor *out = lv_tape_tensor(tape, LV_F32, 2, (int64_t[]){d.I * d.L, d.H});
    lv_real *y = lv_tensor_real(out);
    const lv_real *pos = position->data;
    for (int64_t i = 0; i < d.I; i++) {
        memcpy(y + i * d.L * d.H, pos, (size_t)(d.L * d.H) * sizeof *y);
        lv_row_add(y + i * d.L * d.H, class_embedding->data, d.H);
    }
    size_t mark = lv_tape_mark(tape);
    int64_t K = d.C * d.P * d.P;
    const lv_real *patches = patches_of(tape, pixels->data, &d);
    lv_gemm(&(lv_gemm_args){.M = d.I * d.L,
                            .N = d.H,
                            .K = K,
                            .A = {patches, LV_F32, K, false},
                            .B = {w->data, w->dtype, K, true},
                            .C = y,
                            .ldc = d.H,
                            .add = true});
    lv_tape_release(tape, mark);
    lv_tensor *in[] = {pixels, w, class_embedding, position};
    lv_tape_record(tape, &lv_op_patch_embed, out, 4, in, NULL);
    return out;
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *pixels = node->in[0];
    lv_tensor *w = node->in[1];
    lv_tensor *class_embedding = node->in[2];
    lv_tensor *position = node->in[3];
    const lv_real *dy = node->out->grad;
    dims d = dims_of(pixels, w);
    if (w->requires_grad) { /* y = patches W^T */
        lv_real *dw = lv_tape_grad_cleared(tape, w).data;
        size_t mark = lv_tape_mark(tape);
        int64_t K = d.C * d.P * d.P;
        const lv_real *patches = patches_of(tape, pixels->data, &d);
        lv_gemm(&(lv_gemm_args){.M = d.H,
                                .N = K,
                                .K = d.I * d.L,
                                .A = {dy, LV_F32, d.H, true},
                                .B = {patches, LV_F32, K, false},
                                .C = dw,
                                .ldc = K,
                                .add = true});
        lv_tape_release(tape, mark);
    }
    if (class_embedding->requires_grad) { /* y[i,0] += class */
        lv_real *dclass = lv_tape_grad_cleared(tape, class_embedding).data;
        for (int64_t i = 0; i < d.I; i++) {
            lv_row_add(dclass, dy + i * d.L * d.H, d.H);
        }
    }
    if (position->requires_grad) { /* y[i] = position */
        lv_columns_add(lv_tape_grad_cleared(tape, position).data, dy, d.I, d.L * d.H);
    }
}

const lv_op lv_op_patch_embed = {"patch_embed", backward};
