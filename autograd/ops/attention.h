/* SPDX-License-Identifier: Apache-2.0
 *
 * What lv_attention and its two forms, floats and packed bf16, share. The work is cut into tiles of
 * queries and keys. A pair is a sequence b and a key/value head g; its tasks are the query tiles of
 * all heads that share g: task t is tile t / (A/G) of head g A/G + t % (A/G).
 */
#ifndef LV_AUTOGRAD_OPS_ATTENTION_H
#define LV_AUTOGRAD_OPS_ATTENTION_H

#include "autograd/kernels/parallel.h"
#include "autograd/ops.h"

enum { LV_ATTENTION_QUERIES = 64, LV_ATTENTION_KEYS = 256 }; /* of a tile */

typedef struct {
    const lv_attention_layout *layout;
    const void *q, *k, *v;
    void *o;
    lv_real *lse; /* (A, Tq); forward: NULL if the backward pass will not come */
    int64_t Tq;
    const void *dout; /* backward alone, as the gradients, whose data is NULL if not wanted */
    lv_grad dq, dk, dv;
} lv_attention_args;

/* What one thread does at a time. Forward: its tasks, over all keys. Backward: its tasks over its
 * keys; the gradient of the queries is written if dq (keys are all then), that of the keys if dkv
 * (tasks are all then). */
typedef struct {
    int64_t b, g;
    lv_range tasks;
    lv_range keys; /* counted from the sequence's first; begin is a multiple of a tile */
    bool dq, dkv;
} lv_attention_unit;

/* One query tile of one head. */
typedef struct {
    int64_t a, n;       /* head, queries */
    int64_t row;        /* of q */
    int64_t at;         /* its first element in q, o */
    int64_t first_seen; /* keys of the sequence that the first query sees */
    int64_t seen;       /* that the last one sees, and so any */
} lv_attention_tile;

lv_attention_tile lv_attention_tile_of(const lv_attention_layout *layout,
                                       const lv_attention_unit *unit, int64_t task);

/* lv_attention_k_at: the first element in k, v of key (counted from the sequence's first). */
int64_t lv_attention_k_at(const lv_attention_layout *layout, const lv_attention_unit *unit,
                          int64_t key);

typedef struct {
    /* of one thread, for units of so many keys; accumulated: keys of units with dkv */
    int64_t (*scratch_bytes)(const lv_attention_layout *layout, int64_t keys, int64_t accumulated);
    void (*forward)(const lv_attention_args *x, const lv_attention_unit *unit, void *scratch);
    void (*backward)(const lv_attention_args *x, const lv_attention_unit *unit, void *scratch);
} lv_attention_form;

extern const lv_attention_form lv_attention_f32, lv_attention_bf16;

#endif
