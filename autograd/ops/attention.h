/* SPDX-License-Identifier: Apache-2.0
 *
 * What lv_attention and its two forms, floats and packed bf16, share. The rows of q fall into
 * groups that share no keys, a group into blocks of rows, the keys of a group into tiles that begin
 * at the group's first key. A pair is a group and a key/value head g; its tasks are the blocks of
 * all heads that share g: task t is block t / (A/G) of head g A/G + t % (A/G).
 */
#ifndef LV_AUTOGRAD_OPS_ATTENTION_H
#define LV_AUTOGRAD_OPS_ATTENTION_H

#include "autograd/kernels/parallel.h"
#include "autograd/ops.h"

enum { LV_ATTENTION_QUERIES = 64, LV_ATTENTION_KEYS = 256 }; /* of a block, of a tile */

/* Rows of q that lie together, and the keys from the first to the last that one of them sees: rows
 * of other groups see none of these. */
typedef struct {
    lv_range rows;
    lv_range keys;
    int64_t key_bound;   /* no key of this group or an earlier one is behind it */
    double pairs;        /* of a row and a key that it sees */
    int64_t first_block; /* of its rows */
} lv_attention_group;

typedef struct {
    int64_t row, n;  /* of q */
    lv_range some;   /* from the first to the last key that one of its rows sees */
    lv_range common; /* the keys that all of its rows see */
} lv_attention_block;

/* lv_attention_map: what the ranges of a layout come to. Rows outside of the groups see nothing. */
typedef struct {
    lv_attention_group *groups; /* in the order of their rows */
    int64_t n_groups;
    lv_attention_block *blocks;
    double pairs; /* of all groups */
    int64_t most_keys;
} lv_attention_map;

/* lv_attention_map_of: in the step arena.
 * fails  ends the job on a range that is not within the Tk keys */
lv_attention_map lv_attention_map_of(lv_tape *tape, const lv_range *visible, int64_t Tq,
                                     int64_t Tk);

typedef struct {
    const lv_attention_layout *layout;
    const lv_attention_block *blocks;
    const void *q, *k, *v;
    void *o;
    lv_real *lse; /* (A, Tq); forward: NULL if the backward pass will not come */
    int64_t Tq;
    const void *dout; /* backward alone, as the gradients, whose data is NULL if not wanted */
    lv_grad dq, dk, dv;
} lv_attention_args;

/* What one thread does at a time. Forward: its tasks, over all keys that they see. Backward: its
 * tasks over its keys; the gradient of the queries is written if dq (keys are all that the tasks
 * see then), that of the keys if dkv (tasks are all then). */
typedef struct {
    const lv_attention_group *group;
    int64_t g;
    lv_range tasks;
    lv_range keys; /* of k and v; begins with a tile */
    bool dq, dkv;
} lv_attention_unit;

/* One block of rows and one head. */
typedef struct {
    int64_t a, n;    /* head, queries */
    int64_t row;     /* of q */
    int64_t at;      /* its first element in q, o */
    lv_range keys;   /* from the first tile of the unit that is seen to the last key */
    lv_range common; /* as in the block */
} lv_attention_tile;

static inline int64_t lv_attention_heads_of_pair(const lv_attention_layout *layout)
{
    return layout->n_heads / layout->n_kv_heads;
}

/* lv_attention_tile_begin: the first key of the tile that a key of the group is in. */
static inline int64_t lv_attention_tile_begin(const lv_attention_group *group, int64_t key)
{
    int64_t first = group->keys.begin;
    return key < first ? first : key - (key - first) % LV_ATTENTION_KEYS;
}

lv_attention_tile lv_attention_tile_of(const lv_attention_args *x, const lv_attention_unit *unit,
                                       int64_t task);

/* lv_attention_sees: does a row of the tile see one of the n_keys keys from key on? *visible: what
 * each row sees; NULL if all see all of them. */
bool lv_attention_sees(const lv_range **visible, const lv_attention_args *x,
                       const lv_attention_tile *tile, int64_t key, int64_t n_keys);

/* lv_attention_clear_empty: zeros in o for the rows of the tile whose range is empty. */
void lv_attention_clear_empty(const lv_attention_args *x, const lv_attention_tile *tile,
                              lv_dtype dtype);

/* lv_attention_scale_left: of scores that went through softcap_tile, where there is one: 1 then,
 * and what is subtracted from dp is lv_attention_zeros. */
lv_real lv_attention_scale_left(const lv_attention_layout *layout);
extern const lv_real lv_attention_zeros[LV_ATTENTION_QUERIES];

/* lv_attention_k_at: the first element in k, v of a key. */
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
