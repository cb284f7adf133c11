/* SPDX-License-Identifier: Apache-2.0
 *
 * The ops. Each computes at once, returns a new activation in the tape's step arena, and is
 * recorded if an input requires a gradient.
 *
 * T rows of a micro-batch (sequences end to end), H hidden size, N outputs, K inputs of a matrix,
 * V vocabulary, R chosen rows, D head size, A heads, G key/value heads (A a multiple of G),
 * B sequences.
 *
 * Activations are LV_F32 or LV_BF16; outputs have the dtype of the activations that came in, or
 * lv_tape_dtype where there were none. Arithmetic is in f32, but for the operands of products of
 * bf16 activations. Weights named W may be LV_BF16, all others are LV_F32.
 * Every op ends the job on a shape or dtype mismatch; index and offset arrays must live as long
 * as the step. All gradients are accumulated (+=).
 */
#ifndef LV_AUTOGRAD_OPS_H
#define LV_AUTOGRAD_OPS_H

#include "autograd/kernels/parallel.h"
#include "autograd/tape.h"

#define LV_OP(name) extern const lv_op lv_op_##name;
#include "autograd/ops.def"
#undef LV_OP

/* lv_linear: y = x W^T + b + residual.
 * in     x (T,K); W (N,K) f32|bf16; b (N) or NULL; residual (T,N) or NULL
 * out    y (T,N)
 * grad   dx, dW, db, dresidual */
lv_tensor *lv_linear(lv_tape *tape, lv_tensor *x, lv_tensor *w, lv_tensor *b, lv_tensor *residual);

/* lv_embedding: y[t] = W[ids[t]].
 * in     W (V,H) f32|bf16; ids[T] in [0,V)
 * out    y (T,H)
 * grad   dW, rows added in the order of t */
lv_tensor *lv_embedding(lv_tape *tape, lv_tensor *w, const int32_t *ids, int64_t T);

/* lv_splice: rows of two tensors in a given order.
 *   y[t] = source[t] >= 0 ? text[source[t]] : image[-1 - source[t]]
 * in     text (Tt,H) or NULL, image (Ti,H) or NULL; source[T]
 * out    y (T,H)
 * grad   dtext, dimage */
lv_tensor *lv_splice(lv_tape *tape, lv_tensor *text, lv_tensor *image, const int32_t *source,
                     int64_t T);

/* lv_select_rows: y[r] = x[rows[r]].
 * in     x (T,H); rows[R] in [0,T), a row may come more than once
 * out    y (R,H)
 * grad   dx */
lv_tensor *lv_select_rows(lv_tape *tape, lv_tensor *x, const int32_t *rows, int64_t R);

/* lv_patch_embed: CLIP's embedding of images.
 *   y[i, 0]   = class_embedding + position[0]
 *   y[i, 1+p] = W · patch(i, p) + position[1+p]
 * patches in row order, each as (channel, row, column), as torch's Conv2d reads its weight.
 * in     pixels (I,C,S,S) f32, needs no gradient; W (H,C,P,P) f32|bf16; class_embedding (H);
 *        position ((S/P)^2+1, H); S a multiple of P
 * out    y (I*((S/P)^2+1), H)
 * grad   dW, dclass_embedding, dposition
 * source Radford et al. 2021, arXiv:2103.00020 */
lv_tensor *lv_patch_embed(lv_tape *tape, lv_tensor *pixels, lv_tensor *w,
                          lv_tensor *class_embedding, lv_tensor *position);

/* lv_layernorm: y[t,h] = (x[t,h] - mean_t) * r_t * w[h] + b[h], r_t = 1/sqrt(var_t + eps), the
 * variance divided by H.
 * in     x (T,H); w, b (H); eps > 0
 * out    y (T,H); keeps mean and r (T)
 * grad   dx, dw, db
 * source Ba et al. 2016, arXiv:1607.06450 */
lv_tensor *lv_layernorm(lv_tape *tape, lv_tensor *x, lv_tensor *w, lv_tensor *b, double eps);

/* lv_rmsnorm: y[t,h] = x[t,h] * r_t * w[h], r_t = 1/sqrt(mean_h x[t,h]^2 + eps).
 * in     x (T,H); w (H); eps > 0
 * out    y (T,H); keeps r (T)
 * grad   dx, dw
 * source Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4 */
lv_tensor *lv_rmsnorm(lv_tape *tape, lv_tensor *x, lv_tensor *w, double eps);

/* lv_rope: rotate the two halves of each head by the position's angles (Hugging Face's
 * rotate_half, not the interleaved form of the paper).
 *   y[t, a, d]       = x[t, a, d] cos[p,d] - x[t, a, d+D/2] sin[p,d]      d < D/2, p = position[t]
 *   y[t, a, d+D/2]   = x[t, a, d+D/2] cos[p,d] + x[t, a, d] sin[p,d]
 * in     x (T, A*D), whose memory becomes y's: nothing else may read it, neither another op nor the
 *        backward function of the op that made it (lv_linear's does not);
 *        position[T] in [0, table->n_positions)
 * out    y (T, A*D)
 * grad   dx
 * source Su et al. 2021, arXiv:2104.09864 */
typedef struct {
    int64_t n_positions;
    int64_t head_dim; /* D, even */
    lv_real *cos;     /* (n_positions, D/2) */
    lv_real *sin;
} lv_rope_table;

/* lv_rope_table_fill: cos and sin of position * theta^(-2d/D), rounded to float at the places
 * where transformers does; table->cos and ->sin are the caller's. */
void lv_rope_table_fill(lv_rope_table *table, double theta);

lv_tensor *lv_rope(lv_tape *tape, lv_tensor *x, const int32_t *position,
                   const lv_rope_table *table);

/* lv_attention: each row of q over the keys that it sees, in tiles; no (Tq x Tk) matrix is stored.
 *   o[t, a] = sum_j p_j v[j, g],  p = softmax_j(c(scale q[t, a] . k[j, g])),  j in visible[t],
 *   c(s) = softcap tanh(s / softcap), or s;  head a uses key/value head g = a / (A/G)
 * A row that sees nothing is zero and passes no gradient on. Ranges may overlap and come in any
 * order. In a sequence whose first key is k0, for a row that is itself key k:
 *   causal           [k0, k + 1)
 *   window of w keys [max(k0, k + 1 - w), k + 1)
 *   prefix of n keys [k0, max(k0 + n, k + 1))
 *   one image        [its first key, its last + 1)
 * in     q (Tq, A*D); k, v (Tk, G*D); visible[Tq] within [0, Tk); softcap >= 0
 * out    o (Tq, A*D); keeps the log-sum-exp (A, Tq)
 * grad   dq, dk, dv
 * source Dao et al. 2022, arXiv:2205.14135; Ainslie et al. 2023, arXiv:2305.13245; softcap: Gemma
 *        Team 2024, arXiv:2408.00118 */
typedef struct {
    const lv_range *visible; /* [Tq]: rows of k and v, [begin, end) */
    int64_t n_heads;         /* A */
    int64_t n_kv_heads;      /* G */
    int64_t head_dim;        /* D */
    double scale;            /* usually 1/sqrt(D) */
    double softcap;          /* bound of the scores; 0: none */
} lv_attention_layout;
lv_tensor *lv_attention(lv_tape *tape, lv_tensor *q, lv_tensor *k, lv_tensor *v,
                        const lv_attention_layout *layout);

/* lv_visible_full, lv_visible_causal: what the rows of B sequences see, sequence b having the rows
 * [q_start[b], q_start[b+1]) of q and the keys keys[b].
 * full   all keys of the sequence
 * causal its keys up to the row's own, the last row's being the sequence's last: keys that a cache
 *        has of earlier rows come before those of the rows of q
 * in     q_start[B+1], keys[B], of causal no fewer than the sequence's rows
 * out    visible[q_start[B]] */
void lv_visible_full(lv_range *visible, int64_t B, const int64_t *q_start, const lv_range *keys);
void lv_visible_causal(lv_range *visible, int64_t B, const int64_t *q_start, const lv_range *keys);

/* lv_gelu: exact, y = x/2 (1 + erf(x/sqrt 2)). lv_quick_gelu: y = x sigmoid(1.702 x).
 * in     x; out y of its shape; grad dx
 * source Hendrycks & Gimpel 2016, arXiv:1606.08415 */
lv_tensor *lv_gelu(lv_tape *tape, lv_tensor *x);
lv_tensor *lv_quick_gelu(lv_tape *tape, lv_tensor *x);

/* lv_silu_mul: y = gate sigmoid(gate) * up.
 * in     gate, up of one shape; grad dgate, dup
 * source Shazeer 2020, arXiv:2002.05202 */
lv_tensor *lv_silu_mul(lv_tape *tape, lv_tensor *gate, lv_tensor *up);

/* lv_cross_entropy: the vocabulary projection and the loss in one, in chunks of rows, so that
 * (R,V) is never stored.
 *   loss = sum_r [ logsumexp_v(x[r] · W[v]) - x[r] · W[labels[r]] ]
 * A sum, not a mean: the divisor is the global batch's and is known to the trainer alone.
 * in     x (R,H); W (V,H) f32|bf16; labels[R] in [0,V); R may be 0
 * out    loss (1); row_loss[R], if not NULL: each row's term; keeps the log-sum-exp (R), the
 *        backward pass forms the logits a second time
 * grad   dx, dW */
lv_tensor *lv_cross_entropy(lv_tape *tape, lv_tensor *x, lv_tensor *w, const int32_t *labels,
                            lv_real *row_loss);

/* lv_recompute: y = segment(in), keeping only in for the backward pass, which runs the segment a
 * second time (gradient checkpointing).
 * in     in[n_in], each another, 1 <= n_in <= LV_MAX_INPUTS: all activations that the segment
 * reads. What it reaches by its context are parameters and what needs no gradient and is neither
 *        changed nor given back (lv_tape_done) before the backward pass; an op that gives another
 *        activation a gradient ends the job.
 *        segment gives the same bits when called again, with copies of in then; context outlives
 *        the step
 * out    y, which is none of in
 * grad   din, and those of the parameters that the segment reads
 * source Chen et al. 2016, arXiv:1604.06174 */
typedef lv_tensor *lv_segment(lv_tape *tape, const void *context, lv_tensor *const *in);
lv_tensor *lv_recompute(lv_tape *tape, lv_segment *segment, const void *context, int n_in,
                        lv_tensor *const *in);

#endif
