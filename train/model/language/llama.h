/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_llama: a decoder as LLaMA's, of any family in families.def and any shape. T rows of
 * sequences laid end to end, H hidden size, R chosen rows, V vocabulary.
 *
 *   x += o_proj(attention(rope(q_proj(n)), rope(k_proj(n)), v_proj(n))),  n = rmsnorm(x)
 *   x += down_proj(silu(gate_proj(n)) * up_proj(n)),                      n = rmsnorm(x)
 *
 * source Touvron et al. 2023, arXiv:2302.13971
 */
#ifndef LV_TRAIN_MODEL_LANGUAGE_LLAMA_H
#define LV_TRAIN_MODEL_LANGUAGE_LLAMA_H

#include "autograd/tape.h"
#include "train/model/language/cache.h"
#include "train/model/params/params.h"
#include "train/model/shapes.h"

typedef struct lv_llama lv_llama;

/* lv_llama_create: declare the parameters, "language_model.<HF Llama names>". A tied lm_head is
 * the embedding itself and has no name of its own.
 * in     params outlives the model
 *        config: sizes as lv_family_parse leaves them
 * fails  LV_ERR_MEMORY */
int lv_llama_create(lv_llama **out, const lv_llama_config *config, lv_params *params);
void lv_llama_destroy(lv_llama **llama);

/* lv_llama_dtype: of the embedding, once it is loaded. */
lv_dtype lv_llama_dtype(const lv_llama *llama);

/* lv_llama_embed: rows of the embedding.
 * in     ids[T], in the step arena
 * out    (T,H), in the step arena
 * fails  ends the job on an id outside the vocabulary */
lv_tensor *lv_llama_embed(const lv_llama *llama, lv_tape *tape, const int32_t *ids, int64_t T);

/* lv_llama_rows: describes the rows of x. The arrays are valid until the step ends. */
typedef struct {
    int64_t n_sequences;
    const int64_t *seq_start; /* [n_sequences + 1] */
    const int32_t *position;  /* [T]; with a cache continuing from the sequence's rows in it */
    const int32_t *wanted;    /* [n_wanted], in [0,T): whose hidden states are returned */
    int64_t n_wanted;
    bool recompute;        /* keep only the layers' inputs where a gradient is needed */
    lv_llama_cache *cache; /* NULL, or this call appends to it; then nothing is recorded */
    const int *cached;     /* [n_sequences] with a cache: their numbers in it, each another */
} lv_llama_rows;

/* lv_llama_hidden: through all layers, without the last norm; only the wanted rows pass the last
 * layer's second half. Layers without a gradient release their activations.
 * in     x (T,H), not read afterwards
 * out    (n_wanted,H), in the step arena
 * fails  ends the job if memory is out (the table of angles grows with the longest sequence) */
lv_tensor *lv_llama_hidden(lv_llama *llama, lv_tape *tape, lv_tensor *x, const lv_llama_rows *rows);

/* lv_llama_loss: last norm, head and cross-entropy; see lv_cross_entropy.
 * in     hidden (R,H), not read afterwards; labels[R] in [0,V)
 * out    one element; row_loss[R] */
lv_tensor *lv_llama_loss(const lv_llama *llama, lv_tape *tape, lv_tensor *hidden,
                         const int32_t *labels, lv_real *row_loss);

/* lv_llama_logits: last norm and head.
 * in     hidden (R,H), not read afterwards
 * out    (R,V) f32 whatever the activations are, for choices among near equals; in the step arena
 * grad   none */
lv_tensor *lv_llama_logits(const lv_llama *llama, lv_tape *tape, lv_tensor *hidden);

#endif
