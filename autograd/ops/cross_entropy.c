/* SPDX-License-Identifier: Apache-2.0
 *
 * cross_entropy: R rows of H, V words; z = x W^T in tiles of rows and words, lse_r = log sum_v
 * exp(z[r,v]) kept up as the tiles of a row come by.
 *   loss = sum_r (lse_r - z[r, label_r])
 *   with dz = dloss (exp(z - lse) - onehot(label)), of logits formed again:
 *   dx += dz W,  dW += dz^T x
 * All rows meet a tile's words before the next words come, so that W and dW come from memory once.
 */
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/pointwise.h"
#include "autograd/kernels/vector.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

#include <math.h>
#include <tgmath.h>

enum {
    TILE_LOGITS = 1 << 20, /* 4 MB: they stay in the cache */
    TILE_ROWS = 1024,
    WORD_GRAIN = 64,
};

typedef struct {
    const int32_t *labels;
    lv_real *lse; /* (R) */
} saved_cross_entropy;

/* What both passes go through: R x V logits in tiles. */
typedef struct {
    const lv_tensor *x, *w;
    int64_t R, H, V;
    int64_t tile_rows, tile_words;
    lv_real *z;
} logits;

/* Rows [row, row + n_rows), words [word, word + n_words). */
typedef struct {
    int64_t row, n_rows, word, n_words;
} tile;

static logits logits_of(lv_tape *tape, const lv_tensor *x, const lv_tensor *w)
{
    logits l = {.x = x, .w = w, .R = x->shape[0], .H = x->shape[1], .V = w->shape[0]};
    l.tile_rows = lv_min_i64(l.R, TILE_ROWS);
    int64_t words = TILE_LOGITS / l.tile_rows / WORD_GRAIN * WORD_GRAIN;
    l.tile_words = lv_min_i64(l.V, words);
    l.z = lv_tape_alloc(tape, (size_t)(l.tile_rows * l.tile_words) * sizeof *l.z);
    return l;
}

static tile tile_at(const logits *l, int64_t row, int64_t word)
{
    return (tile){row, lv_min_i64(l->tile_rows, l->R - row), word,
                  lv_min_i64(l->tile_words, l->V - word)};
}

static const void *rows_at(const lv_tensor *x, int64_t row)
{
    return lv_element_const(x->data, x->dtype, row * x->shape[1]);
}

static void form_logits(const logits *l, const tile *at)
{
    lv_gemm(&(lv_gemm_args){.M = at->n_rows,
                            .N = at->n_words,
                            .K = l->H,
                            .A = {rows_at(l->x, at->row), l->x->dtype, l->H, false},
                            .B = {rows_at(l->w, at->word), l->w->dtype, l->H, true},
                            .C = l->z,
                            .ldc = at->n_words});
}

/* max and sum of exp(z - max) of each row, over the words seen so far; the label's logit. */
static void see_tile(const logits *l, const tile *at, const int32_t *labels, lv_real *max,
                     lv_real *sum, lv_real *label_z)
{
    const lv_vector_kernels *vector = lv_vector();
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < at->n_rows; i++) {
        const lv_real *z = l->z + i * at->n_words;
        int64_t r = at->row + i;
        int64_t label = labels[r] - at->word;
        if (label >= 0 && label < at->n_words) {
            label_z[r] = z[label];
        }
        vector->softmax_sums(&max[r], &sum[r], z, at->n_words);
    }
}

/* The loss; saved->lse is each row's maximum until here. */
static double sum_rows(const saved_cross_entropy *saved, const lv_real *sum, const lv_real *label_z,
                       lv_real *row_loss, int64_t R)
{
    double total = 0;
    for (int64_t r = 0; r < R; r++) {
        lv_real max = saved->lse[r];
        lv_real row = log(sum[r]) + (max - label_z[r]);
        saved->lse[r] = log(sum[r]) + max;
        total += (double)row;
        if (row_loss) {
            row_loss[r] = row;
        }
    }
    return total;
}

static double forward(const logits *l, const saved_cross_entropy *saved, lv_real *sum,
                      lv_real *label_z, lv_real *row_loss)
{
    for (int64_t r = 0; r < l->R; r++) {
        saved->lse[r] = -INFINITY;
        sum[r] = 0;
    }
    for (int64_t v = 0; v < l->V; v += l->tile_words) {
        for (int64_t r = 0; r < l->R; r += l->tile_rows) {
            tile at = tile_at(l, r, v);
            form_logits(l, &at);
            see_tile(l, &at, saved->labels, saved->lse, sum, label_z);
        }
    }
    return sum_rows(saved, sum, label_z, row_loss, l->R);
}

lv_tensor *lv_cross_entropy(lv_tape *tape, lv_tensor *x, lv_tensor *w, const int32_t *labels,
                            lv_real *row_loss)
{
    LV_OP_FORWARD(tape, cross_entropy);
    lv_op_expect_float("cross_entropy", "x", x, 2, (int64_t[]){-1, -1});
    int64_t R = x->shape[0];
    lv_op_expect_float("cross_entropy", "W", w, 2, (int64_t[]){-1, x->shape[1]});
    lv_tape_await(tape, w);
    bool dry = lv_tape_is_dry(tape);
    lv_tensor *loss = lv_tape_tensor(tape, LV_F32, 1, (int64_t[]){1});
    if (!dry) {
        lv_op_expect_indices("cross_entropy", "labels", labels, R, 0, w->shape[0]);
        *lv_tensor_real(loss) = 0;
    }
    if (R == 0) {
        return loss;
    }
    saved_cross_entropy *saved = lv_tape_alloc(tape, sizeof *saved);
    *saved = (saved_cross_entropy){labels, lv_tape_alloc(tape, (size_t)R * sizeof(lv_real))};
    lv_tape_count_flop(tape, 2 * (double)lv_tensor_count(w) * (double)R);
    size_t mark = lv_tape_mark(tape);
    logits l = logits_of(tape, x, w);
    lv_real *sum = lv_tape_alloc(tape, (size_t)R * sizeof *sum);
    lv_real *label_z = lv_tape_alloc(tape, (size_t)R * sizeof *label_z);
    if (!dry) {
        *lv_tensor_real(loss) = (lv_real)forward(&l, saved, sum, label_z, row_loss);
    }
    lv_tape_release(tape, mark);
    lv_tensor *in[] = {x, w};
    lv_tape_record(tape, &lv_op_cross_entropy, loss, 2, in, saved);
    return loss;
}

/* dz, of x's dtype: an operand of two products. For floats it takes the place of z. */
static void form_gradient(void *dz, const logits *l, const tile *at,
                          const saved_cross_entropy *saved, lv_real dloss)
{
    const lv_vector_kernels *vector = lv_vector();
    lv_dtype dtype = l->x->dtype;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < at->n_rows; i++) {
        int64_t r = at->row + i;
        vector->softmax_gradient(lv_element(dz, dtype, i * at->n_words), dtype,
                                 l->z + i * at->n_words, saved->lse[r], dloss,
                                 saved->labels[r] - at->word, at->n_words);
    }
}

static void add_tile(const logits *l, const tile *at, const void *dz, lv_grad dx, lv_grad dw)
{
    lv_matrix gradient = {dz, l->x->dtype, at->n_words, false};
    if (dx.data) { /* z = x W^T */
        lv_gemm(&(lv_gemm_args){.M = at->n_rows,
                                .N = l->H,
                                .K = at->n_words,
                                .A = gradient,
                                .B = {rows_at(l->w, at->word), l->w->dtype, l->H, false},
                                .C = lv_grad_at(dx, at->row * l->H).data,
                                .C_dtype = dx.dtype,
                                .ldc = l->H,
                                .add = dx.add || at->word > 0});
    }
    if (dw.data) { /* z = x W^T */
        gradient.transposed = true;
        lv_gemm(&(lv_gemm_args){.M = at->n_words,
                                .N = l->H,
                                .K = at->n_rows,
                                .A = gradient,
                                .B = {rows_at(l->x, at->row), l->x->dtype, l->H, false},
                                .C = lv_grad_at(dw, at->word * l->H).data,
                                .C_dtype = dw.dtype,
                                .ldc = l->H,
                                .add = dw.add || at->row > 0});
    }
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *x = node->in[0];
    lv_tensor *w = node->in[1];
    const saved_cross_entropy *saved = node->saved;
    lv_grad dx = lv_tape_grad_wanted(tape, x);
    lv_grad dw = lv_tape_grad_wanted(tape, w);
    int products = (dx.data ? 1 : 0) + (dw.data ? 1 : 0);
    lv_tape_count_flop(tape, 2.0 * products * (double)lv_tensor_count(w) * (double)x->shape[0]);
    size_t mark = lv_tape_mark(tape);
    logits l = logits_of(tape, x, w);
    void *dz = l.z;
    lv_grad sum = dx; /* f32 until all words were added */
    if (x->dtype != LV_F32) {
        size_t bytes = lv_dtype_bytes(x->dtype);
        dz = lv_tape_alloc(tape, (size_t)(l.tile_rows * l.tile_words) * bytes);
        if (dx.data && l.tile_words < l.V) {
            sum = (lv_grad){lv_tape_alloc(tape, (size_t)(l.R * l.H) * sizeof(lv_real)), LV_F32,
                            false};
        }
    }
    for (int64_t v = 0; v < l.V && !lv_tape_is_dry(tape); v += l.tile_words) {
        for (int64_t r = 0; r < l.R; r += l.tile_rows) {
            tile at = tile_at(&l, r, v);
            form_logits(&l, &at);
            form_gradient(dz, &l, &at, saved, *(const lv_real *)node->out->grad);
            add_tile(&l, &at, dz, sum, dw);
        }
    }
    if (sum.data != dx.data && !lv_tape_is_dry(tape)) {
        lv_add_to(dx.data, dx.dtype, dx.add, sum.data, sum.dtype, l.R * l.H);
    }
    lv_tape_release(tape, mark);
}

static unsigned needs(const lv_node *node)
{
    (void)node;
    return LV_NEEDS_IN(0) | LV_NEEDS_IN(1);
}

const lv_op lv_op_cross_entropy = {"cross_entropy", backward, needs};
