/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_llama_cache: the keys (after rope) and values that each layer computed for the rows of several
 * sequences. A sequence has rows of its own, from position 0 on without a gap; between sequences
 * there may be gaps, as some have ended and the others have room for more rows.
 */
#ifndef LV_TRAIN_MODEL_LANGUAGE_CACHE_H
#define LV_TRAIN_MODEL_LANGUAGE_CACHE_H

#include "autograd/kernels/parallel.h"
#include "autograd/tape.h"
#include "train/model/shapes.h"

typedef struct lv_llama_cache lv_llama_cache;

/* lv_llama_cache_create: without sequences, for activations of dtype.
 * fails  LV_ERR_MEMORY */
int lv_llama_cache_create(lv_llama_cache **out, const lv_llama_config *config, lv_dtype dtype);
void lv_llama_cache_destroy(lv_llama_cache **cache);

/* lv_llama_cache_add: a sequence without rows, which may get `capacity` of them (1 or more). It
 * takes the first room that is large enough; if there is none the cache grows. Not while a tape
 * has views of the cache.
 * out    sequence: its number, the lowest that is free
 * fails  LV_ERR_MEMORY with the number of bytes; the other sequences are as they were */
int lv_llama_cache_add(lv_llama_cache *cache, int *sequence, int64_t capacity);

/* lv_llama_cache_remove: its number and its room are free for another. */
void lv_llama_cache_remove(lv_llama_cache *cache, int sequence);

/* lv_llama_cache_rows: where the rows are that all layers have of a sequence, among all rows. */
lv_range lv_llama_cache_rows(const lv_llama_cache *cache, int sequence);

/* lv_llama_cache_room: rows of all sequences and gaps. */
int64_t lv_llama_cache_room(const lv_llama_cache *cache);

/* lv_llama_cache_append: a layer's keys or values of the next rows of B sequences, each another.
 * in     sequences[B]; x (seq_start[B], n_kv_heads * head_dim) of the cache's dtype, the rows
 *        [seq_start[b], seq_start[b+1]) being those of sequences[b]
 * out    a view (room, n_kv_heads * head_dim) of all rows, old and new
 * fails  ends the job if they do not fit in */
typedef enum { LV_CACHE_KEYS, LV_CACHE_VALUES } lv_cache_half;
lv_tensor *lv_llama_cache_append(const lv_llama_cache *cache, lv_tape *tape, int64_t layer,
                                 lv_cache_half half, const lv_tensor *x, int64_t B,
                                 const int *sequences, const int64_t *seq_start);

/* lv_llama_cache_advance: all layers have the rows that were appended. */
void lv_llama_cache_advance(lv_llama_cache *cache, int64_t B, const int *sequences,
                            const int64_t *seq_start);

#endif
