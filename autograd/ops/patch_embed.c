/* SPDX-License-Identifier: Apache-2.0
 *
 * patch_embed: I images of C channels and S x S pixels in patches of P x P; L = 1 + (S/P)^2 rows
 * an image, the first of them the class row, whose "patch" is zero.
 *   y[i,l] = position[l] + (l = 0: class) + W patches[i,l]
 *   dW += dy^T patches,  dclass += sum_i dy[i,0],  dposition[l] += sum_i dy[i,l] */
#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/pointwise.h"
#include "autograd/kernels/rows.h"
#include "autograd/kernels/vector.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

#include <string.h>

typedef struct {
    int64_t I, C, S, P, L, H;
    int64_t K; /* pixels of a patch, C P P */
} dims;

static dims dims_of(const lv_tensor *pixels, const lv_tensor *w)
{
    dims d = {.I = pixels->shape[0],
              .C = pixels->shape[1],
              .S = pixels->shape[2],
              .P = w->shape[2],
              .H = w->shape[0]};
    d.L = 1 + (d.S / d.P) * (d.S / d.P);
    d.K = d.C * d.P * d.P;
    return d;
}

/* One row: zero for the class, else (channel, row, column) of patch l - 1. */
static void fill_patch(char *row, const char *image, size_t element_bytes, int64_t l, const dims *d)
{
    const size_t line_bytes = (size_t)d->P * element_bytes;
    if (l == 0) {
        memset(row, 0, (size_t)d->K * element_bytes);
        return;
    }
    int64_t top = (l - 1) / (d->S / d->P) * d->P;
    int64_t left = (l - 1) % (d->S / d->P) * d->P;
    for (int64_t c = 0; c < d->C; c++) {
        for (int64_t p = 0; p < d->P; p++) {
            int64_t at = (c * d->S + top + p) * d->S + left;
            memcpy(row, image + (size_t)at * element_bytes, line_bytes);
            row += line_bytes;
        }
    }
}

/* Memory for patches (I*L, K) of dtype, in the step arena, filled unless the tape is dry. */
static void *patches_of(lv_tape *tape, const lv_tensor *pixels, lv_dtype dtype, const dims *d)
{
    const size_t bytes = lv_dtype_bytes(dtype);
    const int64_t n = lv_tensor_count(pixels);
    char *patches = lv_tape_alloc(tape, (size_t)(d->I * d->L * d->K) * bytes);
    const char *images = pixels->data;
    void *narrow = dtype == LV_F32 ? NULL : lv_tape_alloc(tape, (size_t)n * bytes);
    if (lv_tape_is_dry(tape)) {
        return patches;
    }
    if (narrow) {
        lv_add_to(narrow, dtype, false, images, LV_F32, n);
        images = narrow;
    }
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < d->I * d->L; t++) {
        fill_patch(patches + (size_t)(t * d->K) * bytes,
                   images + (size_t)(t / d->L * d->C * d->S * d->S) * bytes, bytes, t % d->L, d);
    }
    return patches;
}

/* What is added to the product, (I*L, H). */
static void fill_positions(lv_real *sum, const lv_real *class_embedding, const lv_real *position,
                           const dims *d)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < d->I; i++) {
        lv_real *image = sum + i * d->L * d->H;
        memcpy(image, position, (size_t)(d->L * d->H) * sizeof *image);
        lv_vector()->add_to(image, LV_F32, true, class_embedding, LV_F32, d->H);
    }
}

/* y: positions and products summed in f32, rounded once. */
static void forward(lv_tape *tape, lv_tensor *y, const lv_tensor *pixels, const lv_tensor *w,
                    const lv_tensor *class_embedding, const lv_tensor *position, const dims *d)
{
    size_t mark = lv_tape_mark(tape);
    int64_t M = d->I * d->L;
    lv_real *sum = y->data;
    if (y->dtype != LV_F32) {
        sum = lv_tape_alloc(tape, (size_t)(M * d->H) * sizeof *sum);
    }
    const void *patches = patches_of(tape, pixels, y->dtype, d);
    if (!lv_tape_is_dry(tape)) {
        fill_positions(sum, class_embedding->data, position->data, d);
        lv_gemm(&(lv_gemm_args){.M = M,
                                .N = d->H,
                                .K = d->K,
                                .A = {patches, y->dtype, d->K, false},
                                .B = {w->data, w->dtype, d->K, true},
                                .C = sum,
                                .C_dtype = LV_F32,
                                .ldc = d->H,
                                .add = true});
        if (y->dtype != LV_F32) {
            lv_add_to(y->data, y->dtype, false, sum, LV_F32, M * d->H);
        }
    }
    lv_tape_release(tape, mark);
}

/* 2 M N K; the rows of the class are there for the layout alone. */
static double product_flop(const dims *d)
{
    return 2.0 * (double)(d->I * (d->L - 1)) * (double)d->H * (double)d->K;
}

lv_tensor *lv_patch_embed(lv_tape *tape, lv_tensor *pixels, lv_tensor *w,
                          lv_tensor *class_embedding, lv_tensor *position)
{
    LV_OP_FORWARD(tape, patch_embed);
    lv_op_expect("patch_embed", "pixels", pixels, 4, (int64_t[]){-1, -1, -1, -1});
    lv_op_expect_float("patch_embed", "W", w, 4, (int64_t[]){-1, pixels->shape[1], -1, -1});
    dims d = dims_of(pixels, w);
    LV_CHECK(!pixels->requires_grad, "patch_embed: pixels that require a gradient");
    LV_CHECK(pixels->shape[3] == d.S && w->shape[3] == d.P && d.S % d.P == 0,
             "patch_embed: images of %lld x %lld in patches of %lld x %lld", (long long)d.S,
             (long long)pixels->shape[3], (long long)d.P, (long long)w->shape[3]);
    lv_op_expect("patch_embed", "class_embedding", class_embedding, 1, &d.H);
    lv_op_expect("patch_embed", "position", position, 2, (int64_t[]){d.L, d.H});
    lv_tensor *out = lv_tape_tensor(tape, lv_tape_dtype(tape), 2, (int64_t[]){d.I * d.L, d.H});
    lv_tensor *in[] = {pixels, w, class_embedding, position};
    for (int i = 1; i < 4; i++) {
        lv_tape_await(tape, in[i]);
    }
    lv_tape_count_flop(tape, product_flop(&d));
    forward(tape, out, pixels, w, class_embedding, position, &d);
    lv_tape_record(tape, &lv_op_patch_embed, out, 4, in, NULL);
    return out;
}

static void backward_weight(lv_tape *tape, lv_tensor *w, const lv_tensor *pixels,
                            const lv_tensor *y, const dims *d)
{
    lv_grad dw = lv_tape_grad(tape, w);
    lv_tape_count_flop(tape, product_flop(d));
    size_t mark = lv_tape_mark(tape);
    const void *patches = patches_of(tape, pixels, y->dtype, d);
    if (!lv_tape_is_dry(tape)) {
        lv_gemm(&(lv_gemm_args){.M = d->H,
                                .N = d->K,
                                .K = d->I * d->L,
                                .A = {y->grad, y->dtype, d->H, true},
                                .B = {patches, y->dtype, d->K, false},
                                .C = dw.data,
                                .C_dtype = LV_F32,
                                .ldc = d->K,
                                .add = dw.add});
    }
    lv_tape_release(tape, mark);
}

/* dx[l] (+)= sum_i dy[i,l] for the first n_rows rows of each image. */
static void backward_rows(lv_tape *tape, lv_tensor *x, int64_t n_rows, const lv_tensor *y,
                          const dims *d)
{
    lv_grad dx = lv_tape_grad(tape, x);
    size_t mark = lv_tape_mark(tape);
    int64_t T = d->I * d->L;
    int64_t n = lv_rows_scatter_count(n_rows, T);
    int32_t *index = lv_tape_alloc(tape, (size_t)T * sizeof *index);
    int32_t *scratch = lv_tape_alloc(tape, (size_t)n * sizeof *scratch);
    if (!lv_tape_is_dry(tape)) {
        for (int64_t t = 0; t < T; t++) {
            index[t] = (int32_t)(t % d->L);
        }
        lv_rows_scatter(dx, n_rows, index, y->grad, y->dtype, T, d->H, scratch);
    }
    lv_tape_release(tape, mark);
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *pixels = node->in[0];
    lv_tensor *w = node->in[1];
    lv_tensor *class_embedding = node->in[2];
    lv_tensor *position = node->in[3];
    dims d = dims_of(pixels, w);
    if (w->requires_grad) { /* y = patches W^T */
        backward_weight(tape, w, pixels, node->out, &d);
    }
    if (class_embedding->requires_grad) { /* y[i,0] += class */
        backward_rows(tape, class_embedding, 1, node->out, &d);
    }
    if (position->requires_grad) { /* y[i] = position */
        backward_rows(tape, position, d.L, node->out, &d);
    }
}

static unsigned needs(const lv_node *node)
{
    return node->in[1]->requires_grad ? LV_NEEDS_IN(0) : 0;
}

const lv_op lv_op_patch_embed = {"patch_embed", backward, needs};
