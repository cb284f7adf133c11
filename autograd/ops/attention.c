/* SPDX-License-Identifier: Apache-2.0
 *
 * attention: per row of q and head, s = scale q k^T over the keys that the row sees, c = s or
 * cap tanh(s / cap), p = softmax(c), o = p v, in tiles of queries and keys. A row's maximum m and
 * sum l are kept up as its key tiles come by, o being scaled by exp(m_old - m_new); at the end
 * o /= l, and lse = m + log l is kept.
 *   with p = exp(c - lse) formed again and D_i = dO_i . O_i:
 *   dv += p^T dO,  dp = dO v^T,  dc = p (dp - D),  ds = dc scale (1 - tanh(s / cap)^2),
 *   dq += ds k,  dk += ds^T q
 * attention_map.c finds what can be done apart, this file shares it out, attention_f32.c and
 * attention_bf16.c do it.
 *
 * A heads, G key/value heads, D head size; rows of q and o are A*D long, of k and v G*D. */
#include "autograd/ops/attention.h"

#include "autograd/error.h"
#include "autograd/ops/check.h"
#include "autograd/tape_internal.h"

#include <omp.h>
#include <string.h>

enum { UNITS_OF_THREAD = 4 }; /* so that the last ones to finish are short */

typedef struct {
    lv_attention_layout layout;
    lv_real *lse; /* (A, Tq) */
} saved_attention;

typedef struct {
    lv_attention_unit *at;
    int64_t n;
} unit_list;

static int64_t parts(int64_t count, int64_t of)
{
    return (count + of - 1) / of;
}

static const lv_attention_form *form_of(lv_dtype dtype)
{
    return dtype == LV_BF16 ? &lv_attention_bf16 : &lv_attention_f32;
}

static int64_t keys_of(const lv_attention_group *group)
{
    return group->keys.end - group->keys.begin;
}

static int64_t tasks_of(const lv_attention_layout *l, const lv_attention_group *group)
{
    return parts(group->rows.end - group->rows.begin, LV_ATTENTION_QUERIES) *
           lv_attention_heads_of_pair(l);
}

static double pairs_in_all(const lv_attention_layout *l, const lv_attention_map *map)
{
    return map->pairs * (double)l->n_heads;
}

static void check_layout(const lv_attention_layout *l, const lv_tensor *q, const lv_tensor *k,
                         const lv_tensor *v)
{
    LV_CHECK(l->n_heads > 0 && l->n_kv_heads > 0 && l->n_heads % l->n_kv_heads == 0 &&
                 l->head_dim > 0,
             "attention: %lld heads of %lld over %lld key/value heads", (long long)l->n_heads,
             (long long)l->head_dim, (long long)l->n_kv_heads);
    lv_op_expect_float("attention", "q", q, 2, (int64_t[]){-1, l->n_heads * l->head_dim});
    lv_op_expect_float("attention", "k", k, 2, (int64_t[]){-1, l->n_kv_heads * l->head_dim});
    lv_op_expect_like("attention", "v", v, k);
    LV_CHECK(q->dtype == k->dtype, "attention: q is %s, k is %s", lv_dtype_name(q->dtype),
             lv_dtype_name(k->dtype));
    LV_CHECK(l->softcap >= 0, "attention: softcap %g", l->softcap);
}

/* How many units the tasks of a pair are cut into, by its share of the work of all. */
static int64_t units_of_pair(const lv_attention_layout *l, const lv_attention_map *map,
                             const lv_attention_group *group)
{
    double unit = pairs_in_all(l, map) / (UNITS_OF_THREAD * (double)omp_get_max_threads());
    double work = group->pairs * (double)lv_attention_heads_of_pair(l);
    return lv_min_i64(tasks_of(l, group), (int64_t)(work / unit) + 1);
}

/* From the first tile to the last key that the tasks see. */
static lv_range keys_of_tasks(const lv_attention_layout *l, const lv_attention_map *map,
                              const lv_attention_group *group, lv_range tasks)
{
    const lv_attention_block *blocks = map->blocks + group->first_block;
    lv_range keys = {group->keys.end, group->keys.begin};
    for (int64_t i = tasks.begin / lv_attention_heads_of_pair(l);
         i < parts(tasks.end, lv_attention_heads_of_pair(l)); i++) {
        if (blocks[i].some.begin < blocks[i].some.end) {
            keys.begin =
                lv_min_i64(keys.begin, lv_attention_tile_begin(group, blocks[i].some.begin));
            keys.end = lv_max_i64(keys.end, blocks[i].some.end);
        }
    }
    return keys.begin < keys.end ? keys : (lv_range){group->keys.begin, group->keys.begin};
}

static void append_query_units(unit_list *units, const lv_attention_layout *l,
                               const lv_attention_map *map, const lv_attention_group *group)
{
    int64_t n = units_of_pair(l, map, group);
    for (int64_t g = 0; g < l->n_kv_heads; g++) {
        for (int64_t i = n; i-- > 0;) { /* if causal, the last ones see the most keys */
            lv_range tasks = lv_range_split(tasks_of(l, group), 1, i, n);
            units->at[units->n++] = (lv_attention_unit){.group = group,
                                                        .g = g,
                                                        .tasks = tasks,
                                                        .keys = keys_of_tasks(l, map, group, tasks),
                                                        .dq = true};
        }
    }
}

static void append_key_units(unit_list *units, const lv_attention_layout *l,
                             const lv_attention_group *group)
{
    for (int64_t g = 0; g < l->n_kv_heads; g++) {
        for (int64_t key = group->keys.begin; key < group->keys.end; key += LV_ATTENTION_KEYS) {
            int64_t end = lv_min_i64(key + LV_ATTENTION_KEYS, group->keys.end);
            units->at[units->n++] = (lv_attention_unit){.group = group,
                                                        .g = g,
                                                        .tasks = {0, tasks_of(l, group)},
                                                        .keys = {key, end},
                                                        .dkv = true};
        }
    }
}

static void append_pairs(unit_list *units, const lv_attention_layout *l,
                         const lv_attention_group *group)
{
    for (int64_t g = 0; g < l->n_kv_heads; g++) {
        units->at[units->n++] = (lv_attention_unit){.group = group,
                                                    .g = g,
                                                    .tasks = {0, tasks_of(l, group)},
                                                    .keys = group->keys,
                                                    .dq = true,
                                                    .dkv = true};
    }
}

/* Room for either way of cutting. */
static unit_list units_create(lv_tape *tape, const lv_attention_layout *l,
                              const lv_attention_map *map)
{
    int64_t n = 0;
    for (int64_t i = 0; i < map->n_groups; i++) {
        const lv_attention_group *group = &map->groups[i];
        n += l->n_kv_heads *
             (units_of_pair(l, map, group) + parts(keys_of(group), LV_ATTENTION_KEYS));
    }
    return (unit_list){lv_tape_alloc(tape, (size_t)n * sizeof(lv_attention_unit)), 0};
}

/* Rows of q that are in no group. */
static void clear_outside(void *y, lv_dtype dtype, const lv_attention_layout *l,
                          const lv_attention_map *map, int64_t Tq)
{
    int64_t row_size = l->n_heads * l->head_dim, row = 0;
    for (int64_t i = 0; i <= map->n_groups; i++) {
        int64_t end = i < map->n_groups ? map->groups[i].rows.begin : Tq;
        memset(lv_element(y, dtype, row * row_size), 0,
               (size_t)((end - row) * row_size) * lv_dtype_bytes(dtype));
        row = i < map->n_groups ? map->groups[i].rows.end : Tq;
    }
}

/* A unit's result does not depend on its thread, nor on how the others were cut. */
static void run_units(lv_tape *tape, const lv_attention_args *x, const unit_list *units,
                      const lv_attention_form *form, int64_t n_keys, int64_t accumulated)
{
    int64_t bytes = form->scratch_bytes(x->layout, n_keys, accumulated);
    char *scratch = lv_tape_alloc(tape, (size_t)(omp_get_max_threads() * bytes));
    if (lv_tape_is_dry(tape)) {
        return;
    }
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < units->n; i++) {
        void *mine = scratch + omp_get_thread_num() * bytes;
        if (x->dout) {
            form->backward(x, &units->at[i], mine);
        } else {
            form->forward(x, &units->at[i], mine);
        }
    }
}

lv_tensor *lv_attention(lv_tape *tape, lv_tensor *q, lv_tensor *k, lv_tensor *v,
                        const lv_attention_layout *layout)
{
    LV_OP_FORWARD(tape, attention);
    check_layout(layout, q, k, v);
    lv_tensor *in[] = {q, k, v};
    int64_t Tq = q->shape[0];
    lv_tensor *out = lv_tape_tensor(tape, q->dtype, 2, q->shape);
    saved_attention *saved = lv_tape_alloc(tape, sizeof *saved);
    *saved = (saved_attention){.layout = *layout};
    if (lv_tape_wants(tape, 3, in)) {
        saved->lse = lv_tape_alloc(tape, (size_t)(layout->n_heads * Tq) * sizeof(lv_real));
    }
    size_t mark = lv_tape_mark(tape);
    lv_attention_map map = lv_attention_map_of(tape, layout->visible, Tq, k->shape[0]);
    lv_tape_count_flop(tape, 4 * pairs_in_all(layout, &map) * (double)layout->head_dim);
    unit_list units = units_create(tape, layout, &map);
    for (int64_t i = 0; i < map.n_groups; i++) {
        append_query_units(&units, layout, &map, &map.groups[i]);
    }
    if (!lv_tape_is_dry(tape)) {
        clear_outside(out->data, out->dtype, layout, &map, Tq);
    }
    lv_attention_args x = {.layout = layout,
                           .blocks = map.blocks,
                           .q = q->data,
                           .k = k->data,
                           .v = v->data,
                           .o = out->data,
                           .lse = saved->lse,
                           .Tq = Tq};
    run_units(tape, &x, &units, form_of(q->dtype), map.most_keys, 0);
    lv_tape_release(tape, mark);
    lv_tape_record(tape, &lv_op_attention, out, 3, in, saved);
    return out;
}

/* How long the threads are busy if every pair is one unit, each taken by the first that is free;
 * in pairs of query and key. */
static double time_of_pairs(lv_tape *tape, const lv_attention_layout *l,
                            const lv_attention_map *map)
{
    int n_threads = omp_get_max_threads();
    double *busy = lv_tape_alloc(tape, (size_t)n_threads * sizeof *busy);
    memset(busy, 0, (size_t)n_threads * sizeof *busy);
    double longest = 0;
    for (int64_t i = 0; i < map->n_groups * l->n_kv_heads; i++) {
        int first = 0;
        for (int thread = 1; thread < n_threads; thread++) {
            first = busy[thread] < busy[first] ? thread : first;
        }
        busy[first] += map->groups[i / l->n_kv_heads].pairs * (double)lv_attention_heads_of_pair(l);
        longest = busy[first] > longest ? busy[first] : longest;
    }
    return longest;
}

/* Do too few pairs leave threads idle for longer than it takes to form p and ds twice, once for the
 * queries' gradient and once for the keys'? That is seven products where five would do. */
static bool cut_twice(lv_tape *tape, const lv_attention_layout *l, const lv_attention_map *map)
{
    return time_of_pairs(tape, l, map) * 5 >
           pairs_in_all(l, map) * 7 / (double)omp_get_max_threads();
}

/* A gradient of k or v of which some rows are in no group; the others are written again. */
static void clear_keys(lv_grad dk, const lv_attention_layout *l, const lv_attention_map *map,
                       int64_t Tk)
{
    int64_t n = 0;
    for (int64_t i = 0; i < map->n_groups; i++) {
        n += keys_of(&map->groups[i]);
    }
    if (dk.data && !dk.add && n < Tk) {
        memset(dk.data, 0, (size_t)(Tk * l->n_kv_heads * l->head_dim) * lv_dtype_bytes(dk.dtype));
    }
}

static void backward(lv_tape *tape, const lv_node *node)
{
    const saved_attention *saved = node->saved;
    const lv_attention_layout *l = &saved->layout;
    lv_tensor *q = node->in[0];
    lv_tensor *k = node->in[1];
    lv_tensor *v = node->in[2];
    lv_attention_args x = {.layout = l,
                           .q = q->data,
                           .k = k->data,
                           .v = v->data,
                           .o = node->out->data,
                           .lse = saved->lse,
                           .Tq = q->shape[0],
                           .dout = node->out->grad,
                           .dq = lv_tape_grad_wanted(tape, q),
                           .dk = lv_tape_grad_wanted(tape, k),
                           .dv = lv_tape_grad_wanted(tape, v)};
    bool dq = x.dq.data, dk = x.dk.data, dv = x.dv.data;
    int products = dv + (dq || dk) + dq + dk;
    size_t mark = lv_tape_mark(tape);
    lv_attention_map map = lv_attention_map_of(tape, l->visible, x.Tq, k->shape[0]);
    x.blocks = map.blocks;
    lv_tape_count_flop(tape, 2 * products * pairs_in_all(l, &map) * (double)l->head_dim);
    unit_list units = units_create(tape, l, &map);
    bool twice = cut_twice(tape, l, &map);
    for (int64_t i = 0; i < map.n_groups; i++) {
        const lv_attention_group *group = &map.groups[i];
        if (!twice) {
            append_pairs(&units, l, group);
        }
        if (twice && (dk || dv)) {
            append_key_units(&units, l, group);
        }
        if (twice && dq) {
            append_query_units(&units, l, &map, group);
        }
    }
    if (!lv_tape_is_dry(tape)) {
        clear_keys(x.dk, l, &map, k->shape[0]);
        clear_keys(x.dv, l, &map, k->shape[0]);
        if (dq && !x.dq.add) {
            clear_outside(x.dq.data, x.dq.dtype, l, &map, x.Tq);
        }
    }
    run_units(tape, &x, &units, form_of(q->dtype), map.most_keys,
              twice ? LV_ATTENTION_KEYS : map.most_keys);
    lv_tape_release(tape, mark);
}

static unsigned needs(const lv_node *node)
{
    (void)node;
    return LV_NEEDS_IN(0) | LV_NEEDS_IN(1) | LV_NEEDS_IN(2) | LV_NEEDS_OUT;
}

const lv_op lv_op_attention = {"attention", backward, needs};
