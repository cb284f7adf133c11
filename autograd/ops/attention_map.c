/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups, blocks and tiles of rows, from what each row sees. Rows whose keys overlap, and those
 * between them, are one group: packed sequences are a group each, whatever their rows see within
 * them. */
#include "autograd/error.h"
#include "autograd/ops/attention.h"

#include <inttypes.h>
#include <string.h>

static bool is_empty(lv_range x)
{
    return x.begin == x.end;
}

static bool overlap(lv_range a, lv_range b)
{
    return a.begin < b.end && b.begin < a.end;
}

static lv_range hull(lv_range a, lv_range b)
{
    return (lv_range){lv_min_i64(a.begin, b.begin), lv_max_i64(a.end, b.end)};
}

static int64_t blocks_in(const lv_attention_group *group)
{
    int64_t n = group->rows.end - group->rows.begin;
    return (n + LV_ATTENTION_QUERIES - 1) / LV_ATTENTION_QUERIES;
}

static void check(const lv_range *visible, int64_t Tq, int64_t Tk)
{
    for (int64_t t = 0; t < Tq; t++) {
        LV_CHECK(0 <= visible[t].begin && visible[t].begin <= visible[t].end &&
                     visible[t].end <= Tk,
                 "attention: row %" PRId64 " sees the keys [%" PRId64 ", %" PRId64 ") of %" PRId64,
                 t, visible[t].begin, visible[t].end, Tk);
    }
}

/* At most so many groups: rows that see nothing of what the one before them saw. */
static int64_t groups_at_most(const lv_range *visible, int64_t Tq)
{
    int64_t n = 0;
    lv_range before = {0, 0};
    for (int64_t t = 0; t < Tq; t++) {
        if (!is_empty(visible[t])) {
            n += !overlap(before, visible[t]);
            before = visible[t];
        }
    }
    return n;
}

/* Add a row behind the groups; those that share keys with it, and all behind them, become one with
 * it. */
static void add_row(lv_attention_map *map, int64_t t, lv_range keys)
{
    lv_attention_group *groups = map->groups;
    lv_attention_group grown = {
        .rows = {t, t + 1}, .keys = keys, .pairs = (double)(keys.end - keys.begin)};
    for (int64_t i = map->n_groups - 1; i >= 0 && grown.keys.begin < groups[i].key_bound; i--) {
        if (overlap(groups[i].keys, grown.keys)) {
            for (int64_t j = i; j < map->n_groups; j++) {
                grown.keys = hull(grown.keys, groups[j].keys);
                grown.pairs += groups[j].pairs;
            }
            grown.rows.begin = groups[i].rows.begin;
            map->n_groups = i;
        }
    }
    int64_t bound = map->n_groups > 0 ? groups[map->n_groups - 1].key_bound : 0;
    grown.key_bound = lv_max_i64(bound, grown.keys.end);
    groups[map->n_groups++] = grown;
}

static lv_attention_block block_of(const lv_range *visible, int64_t row, int64_t n)
{
    lv_attention_block block = {row, n, {0, 0}, visible[row]};
    for (int64_t t = row; t < row + n; t++) {
        lv_range keys = visible[t];
        if (!is_empty(keys)) {
            block.some = is_empty(block.some) ? keys : hull(block.some, keys);
        }
        block.common.begin = lv_max_i64(block.common.begin, keys.begin);
        block.common.end = lv_min_i64(block.common.end, keys.end);
    }
    return block;
}

lv_attention_map lv_attention_map_of(lv_tape *tape, const lv_range *visible, int64_t Tq, int64_t Tk)
{
    check(visible, Tq, Tk);
    size_t n_groups = (size_t)groups_at_most(visible, Tq);
    lv_attention_map map = {.groups = lv_tape_alloc(tape, n_groups * sizeof *map.groups)};
    for (int64_t t = 0; t < Tq; t++) {
        if (!is_empty(visible[t])) {
            add_row(&map, t, visible[t]);
        }
    }
    int64_t n_blocks = 0;
    for (int64_t i = 0; i < map.n_groups; i++) {
        lv_attention_group *group = &map.groups[i];
        group->first_block = n_blocks;
        n_blocks += blocks_in(group);
        map.pairs += group->pairs;
        map.most_keys = lv_max_i64(map.most_keys, group->keys.end - group->keys.begin);
    }
    map.blocks = lv_tape_alloc(tape, (size_t)n_blocks * sizeof *map.blocks);
    for (int64_t i = 0; i < map.n_groups; i++) {
        const lv_attention_group *group = &map.groups[i];
        for (int64_t j = 0; j < blocks_in(group); j++) {
            int64_t row = group->rows.begin + j * LV_ATTENTION_QUERIES;
            map.blocks[group->first_block + j] =
                block_of(visible, row, lv_min_i64(LV_ATTENTION_QUERIES, group->rows.end - row));
        }
    }
    return map;
}

/* ---- tiles ---- */

lv_attention_tile lv_attention_tile_of(const lv_attention_args *x, const lv_attention_unit *unit,
                                       int64_t task)
{
    const lv_attention_layout *l = x->layout;
    int64_t heads = lv_attention_heads_of_pair(l);
    const lv_attention_block *block = &x->blocks[unit->group->first_block + task / heads];
    int64_t a = unit->g * heads + task % heads;
    return (lv_attention_tile){
        .a = a,
        .n = block->n,
        .row = block->row,
        .at = (block->row * l->n_heads + a) * l->head_dim,
        .keys = {lv_max_i64(unit->keys.begin,
                            lv_attention_tile_begin(unit->group, block->some.begin)),
                 lv_min_i64(unit->keys.end, block->some.end)},
        .common = block->common,
    };
}

bool lv_attention_sees(const lv_range **visible, const lv_attention_args *x,
                       const lv_attention_tile *tile, int64_t key, int64_t n_keys)
{
    if (tile->common.begin <= key && key + n_keys <= tile->common.end) {
        *visible = NULL;
        return true;
    }
    const lv_range *of = *visible = x->layout->visible + tile->row;
    for (int64_t i = 0; i < tile->n; i++) {
        if (lv_max_i64(of[i].begin, key) < lv_min_i64(of[i].end, key + n_keys)) {
            return true;
        }
    }
    return false;
}

void lv_attention_clear_empty(const lv_attention_args *x, const lv_attention_tile *tile,
                              lv_dtype dtype)
{
    const lv_attention_layout *l = x->layout;
    for (int64_t i = 0; i < tile->n; i++) {
        if (is_empty(l->visible[tile->row + i])) {
            memset(lv_element(x->o, dtype, tile->at + i * l->n_heads * l->head_dim), 0,
                   (size_t)l->head_dim * lv_dtype_bytes(dtype));
        }
    }
}

const lv_real lv_attention_zeros[LV_ATTENTION_QUERIES];

lv_real lv_attention_scale_left(const lv_attention_layout *l)
{
    return l->softcap > 0 ? 1 : (lv_real)l->scale;
}

int64_t lv_attention_k_at(const lv_attention_layout *l, const lv_attention_unit *unit, int64_t key)
{
    return (key * l->n_kv_heads + unit->g) * l->head_dim;
}
