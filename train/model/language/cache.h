/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_llama_cache: the keys (after rope) and values that each layer computed for the rows of one
 * sequence, from position 0 on without a gap. Of several sequences each has a cache of its own.
 */
#ifndef LV_TRAIN_MODEL_LANGUAGE_CACHE_H
#define LV_TRAIN_MODEL_LANGUAGE_CACHE_H

#include "autograd/tape.h"
#include "train/model/shapes.h"

typedef struct lv_llama_cache lv_llama_cache;

/* lv_llama_cache_create: empty, for n_rows rows of activations of dtype.
 * fails  LV_ERR_MEMORY with the number of bytes */
int lv_llama_cache_create(lv_llama_cache **out, const lv_llama_config *config, lv_dtype dtype,
                          int64_t n_rows);
void lv_llama_cache_destroy(lv_llama_cache **cache);

/* lv_llama_cache_rows: the rows that all layers have. */
int64_t lv_llama_cache_rows(const lv_llama_cache *cache);

/* lv_llama_cache_append: a layer's keys or values of the next rows.
 * in     x (R, n_kv_heads * head_dim) of the cache's dtype
 * out    a view (rows + R, n_kv_heads * head_dim) of the old and the new ones
 * fails  ends the job if they do not fit in */
typedef enum { LV_CACHE_KEYS, LV_CACHE_VALUES } lv_cache_half;
lv_tensor *lv_llama_cache_append(const lv_llama_cache *cache, lv_tape *tape, int64_t layer,
                                 lv_cache_half half, const lv_tensor *x);

/* lv_llama_cache_advance: all layers have R rows more. */
void lv_llama_cache_advance(lv_llama_cache *cache, int64_t R);

#endif
