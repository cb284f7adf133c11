/* SPDX-License-Identifier: Apache-2.0
 *
 * cross_entropy: R rows of H, V words; z = x W^T in tiles of rows and words, lse_r = log sum_v
 * exp(z[r,v]) kept up as the tiles of a row come by.
 *   loss = sum_r (lse_r - z[r, label_r])
 *   with p = exp(z - lse) - onehot(label), of logits formed again:
 *   dx += dloss p W,  dW += dloss p^T x */
#include "autograd/kernels/exp.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/rows.h"
#include "autograd/ops.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

#include <string.h>
#include <tgmath.h>

enum {
    TILE_BYTES = 4 << 20, /* of logits: they stay in the cache */
    TILE_ROWS = 512,      /* W comes from memory once for so many rows */
    WORD_GRAIN = 64,
};

typedef struct {
    const int32_t *labels;
    lv_real *lse; /* (R) */
} saved_cross_entropy;

/* A tile of logits: rows [row, row + n_rows), words [word, word + n_words). */
typedef struct {
    int64_t row, n_rows, word, n_words;
    lv_real *z;
} tile;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t words_of_tile(int64_t n_rows, int64_t V)
{
    int64_t words = TILE_BYTES / (int64_t)sizeof(lv_real) / n_rows;
    return least(V, words < WORD_GRAIN ? WORD_GRAIN : words / WORD_GRAIN * WORD_GRAIN);
}

static const char *words_at(const lv_tensor *w, int64_t word)
{
    return (const char *)w->data + word * w->shape[1] * (int64_t)lv_dtype_bytes(w->dtype);
}

static void form_logits(const tile *at, const lv_tensor *x, const lv_tensor *w)
{
    int64_t H = x->shape[1];
    lv_gemm(&(lv_gemm_args){.M = at->n_rows,
                            .N = at->n_words,
                            .K = H,
                            .A = {lv_element(x->data, x->dtype, at->row * H), x->dtype, H, false},
                            .B = {words_at(w, at->word), w->dtype, H, true},
                            .C = at->z,
                            .ldc = at->n_words});
}

/* max and sum of exp(z - max) of each row, over the words seen so far; the label's logit. */
static void see_tile(const tile *at, const int32_t *labels, lv_real *max, lv_real *sum,
                     lv_real *label_z)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < at->n_rows; i++) {
        lv_real *z = at->z + i * at->n_words;
        int64_t r = at->row + i;
        int64_t label = labels[r] - at->word;
        if (label >= 0 && label < at->n_words) {
            label_z[r] = z[label];
        }
        lv_real both[] = {max[r], lv_row_max(z, at->n_words)};
        lv_real new_max = lv_row_max(both, 2);
        lv_real old_part = max[r] == -INFINITY ? 0 : sum[r] * lv_exp(max[r] - new_max);
        sum[r] = old_part + lv_row_exp(z, new_max, at->n_words);
        max[r] = new_max;
    }
}

lv_tensor *lv_cross_entropy(lv_tape *tape, lv_tensor *x, lv_tensor *w, const int32_t *labels,
                            lv_real *row_loss)
{
    lv_op_expect("cross_entropy", "x", x, 2, (int64_t[]){-1, -1});
    int64_t R = x->shape[0];
    lv_op_expect_weight("cross_entropy", "W", w, 2, (int64_t[]){-1, x->shape[1]});
    int64_t V = w->shape[0];
    lv_op_expect_indices("cross_entropy", "labels", labels, R, 0, V);
    lv_tensor *loss = lv_tape_tensor(tape, LV_F32, 1, (int64_t[]){1});
    *lv_tensor_real(loss) = 0;
    if (R == 0) {
        return loss;
    }
    saved_cross_entropy *saved = lv_tape_alloc(tape, sizeof *saved);
    *saved = (saved_cross_entropy){labels, lv_tape_alloc(tape, (size_t)R * sizeof(lv_real))};
    size_t mark = lv_tape_mark(tape);
    lv_real *max = saved->lse; /* until all words were seen */
    lv_real *sum = lv_tape_alloc(tape, (size_t)R * sizeof *sum);
    lv_real *label_z = lv_tape_alloc(tape, (size_t)R * sizeof *label_z);
    int64_t tile_rows = least(R, TILE_ROWS);
    int64_t tile_words = words_of_tile(tile_rows, V);
    lv_real *z = lv_tape_alloc(tape, (size_t)(tile_rows * tile_words) * sizeof *z);
    for (int64_t r = 0; r < R; r++) {
        max[r] = -INFINITY;
        sum[r] = 0;
    }
    for (int64_t r = 0; r < R; r += tile_rows) {
        for (int64_t v = 0; v < V; v += tile_words) {
            tile at = {r, least(tile_rows, R - r), v, least(tile_words, V - v), z};
            form_logits(&at, x, w);
            see_tile(&at, labels, max, sum, label_z);
        }
    }
    double total = 0;
    for (int64_t r = 0; r < R; r++) {
        lv_real row = log(sum[r]) + (max[r] - label_z[r]);
        saved->lse[r] = log(sum[r]) + max[r];
        total += (double)row;
        if (row_loss) {
            row_loss[r] = row;
        }
    }
    *lv_tensor_real(loss) = (lv_real)total;
    lv_tape_release(tape, mark);
    lv_tensor *in[] = {x, w};
    lv_tape_record(tape, &lv_op_cross_entropy, loss, 2, in, saved);
    return loss;
}

/* z becomes dloss/dz. */
static void logits_to_gradient(const tile *at, const saved_cross_entropy *saved, lv_real dloss)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < at->n_rows; i++) {
        lv_real *z = at->z + i * at->n_words;
        int64_t r = at->row + i;
        int64_t label = saved->labels[r] - at->word;
        for (int64_t v = 0; v < at->n_words; v++) {
            z[v] = dloss * lv_exp(z[v] - saved->lse[r]);
        }
        if (label >= 0 && label < at->n_words) {
            z[label] -= dloss;
        }
    }
}

static void backward(lv_tape *tape, const lv_node *node)
{
    lv_tensor *x = node->in[0];
    lv_tensor *w = node->in[1];
    const saved_cross_entropy *saved = node->saved;
    lv_real *dx = x->requires_grad ? lv_tape_grad_cleared(tape, x).data : NULL;
    lv_real *dw = w->requires_grad ? lv_tape_grad_cleared(tape, w).data : NULL;
    int64_t R = x->shape[0];
    int64_t H = x->shape[1];
    int64_t V = w->shape[0];
    int64_t tile_rows = least(R, TILE_ROWS);
    int64_t tile_words = words_of_tile(tile_rows, V);
    size_t mark = lv_tape_mark(tape);
    lv_real *z = lv_tape_alloc(tape, (size_t)(tile_rows * tile_words) * sizeof *z);
    for (int64_t r = 0; r < R; r += tile_rows) {
        for (int64_t v = 0; v < V; v += tile_words) {
            tile at = {r, least(tile_rows, R - r), v, least(tile_words, V - v), z};
            form_logits(&at, x, w);
            logits_to_gradient(
                &at, saved, *(const lv_real *)node->out->grad); /* loss = sum_r (lse - z[label]) */
            if (dx) {                                           /* z = x W^T */
                lv_gemm(&(lv_gemm_args){.M = at.n_rows,
                                        .N = H,
                                        .K = at.n_words,
                                        .A = {z, LV_F32, at.n_words, false},
                                        .B = {words_at(w, at.word), w->dtype, H, false},
                                        .C = dx + r * H,
                                        .ldc = H,
                                        .add = true});
            }
            if (dw) {
                lv_gemm(&(lv_gemm_args){.M = at.n_words,
                                        .N = H,
                                        .K = at.n_rows,
                                        .A = {z, LV_F32, at.n_words, true},
                                        .B = {(const lv_real *)x->data + r * H, LV_F32, H, false},
                                        .C = dw + v * H,
                                        .ldc = H,
                                        .add = true});
            }
        }
    }
    lv_tape_release(tape, mark);
}

const lv_op lv_op_cross_entropy = {"cross_entropy", backward};
