/* SPDX-License-Identifier: Apache-2.0
 *
 * attention: per sequence and head, s = scale q k^T, p = softmax(s), o = p v, in tiles of queries
 * and keys. A row's maximum m and sum l are kept up as its key tiles come by, o being scaled by
 * exp(m_old - m_new); at the end o /= l, and lse = m + log l is kept.
 *   with p = exp(s - lse) formed again and D_i = dO_i . O_i:
 *   dv += p^T dO,  dp = dO v^T,  ds = p (dp - D) scale,  dq += ds k,  dk += ds^T q
 * This file shares the work out; attention_f32.c and attention_bf16.c do it.
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

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t parts(int64_t count, int64_t of)
{
    return (count + of - 1) / of;
}

static const lv_attention_form *form_of(lv_dtype dtype)
{
    return dtype == LV_BF16 ? &lv_attention_bf16 : &lv_attention_f32;
}

static int64_t queries_of(const lv_attention_layout *l, int64_t b)
{
    return l->q_start[b + 1] - l->q_start[b];
}

static int64_t keys_of(const lv_attention_layout *l, int64_t b)
{
    return l->k_start[b + 1] - l->k_start[b];
}

static int64_t tasks_of(const lv_attention_layout *l, int64_t b)
{
    return parts(queries_of(l, b), LV_ATTENTION_QUERIES) * (l->n_heads / l->n_kv_heads);
}

/* Keys of its sequence that a query sees: up to its own place if causal. */
static int64_t seen_by(const lv_attention_layout *l, int64_t b, int64_t query)
{
    return l->causal ? keys_of(l, b) - (queries_of(l, b) - 1 - query) : keys_of(l, b);
}

/* Pairs of query and key that see each other, in one head of a sequence. */
static double visible(const lv_attention_layout *l, int64_t b)
{
    double Lq = (double)queries_of(l, b);
    return Lq == 0 ? 0 : Lq * (double)(seen_by(l, b, 0) + keys_of(l, b)) / 2;
}

static double visible_in_all(const lv_attention_layout *l)
{
    double sum = 0;
    for (int64_t b = 0; b < l->n_sequences; b++) {
        sum += visible(l, b) * (double)l->n_heads;
    }
    return sum;
}

lv_attention_tile lv_attention_tile_of(const lv_attention_layout *l, const lv_attention_unit *unit,
                                       int64_t task)
{
    int64_t heads = l->n_heads / l->n_kv_heads;
    int64_t query = task / heads * LV_ATTENTION_QUERIES;
    int64_t n = least(LV_ATTENTION_QUERIES, queries_of(l, unit->b) - query);
    int64_t a = unit->g * heads + task % heads;
    int64_t row = l->q_start[unit->b] + query;
    return (lv_attention_tile){.a = a,
                               .n = n,
                               .row = row,
                               .at = (row * l->n_heads + a) * l->head_dim,
                               .first_seen = seen_by(l, unit->b, query),
                               .seen = seen_by(l, unit->b, query + n - 1)};
}

int64_t lv_attention_k_at(const lv_attention_layout *l, const lv_attention_unit *unit, int64_t key)
{
    return ((l->k_start[unit->b] + key) * l->n_kv_heads + unit->g) * l->head_dim;
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
    int64_t B = l->n_sequences;
    LV_CHECK(l->q_start[0] == 0 && l->q_start[B] == q->shape[0] && l->k_start[0] >= 0 &&
                 l->k_start[B] <= k->shape[0],
             "attention: sequences do not cover the %lld queries, or keys are beyond %lld",
             (long long)q->shape[0], (long long)k->shape[0]);
    for (int64_t b = 0; b < B; b++) {
        int64_t Lq = queries_of(l, b);
        int64_t Lk = keys_of(l, b);
        LV_CHECK(Lq >= 0 && Lk > 0 && (!l->causal || Lq <= Lk),
                 "attention: sequence %lld has %lld queries and %lld keys", (long long)b,
                 (long long)Lq, (long long)Lk);
    }
}

/* How many units the tasks of a pair are cut into, by its share of the work of all. */
static int64_t units_of_pair(const lv_attention_layout *l, int64_t b)
{
    double heads = (double)(l->n_heads / l->n_kv_heads);
    double unit = visible_in_all(l) / (UNITS_OF_THREAD * (double)omp_get_max_threads());
    return least(tasks_of(l, b), (int64_t)(visible(l, b) * heads / unit) + 1);
}

static void append_query_units(unit_list *units, const lv_attention_layout *l, int64_t b)
{
    int64_t n = units_of_pair(l, b);
    for (int64_t g = 0; g < l->n_kv_heads; g++) {
        for (int64_t i = n; i-- > 0;) { /* the last ones see the most keys */
            units->at[units->n++] =
                (lv_attention_unit){.b = b,
                                    .g = g,
                                    .tasks = lv_range_split(tasks_of(l, b), 1, i, n),
                                    .keys = {0, keys_of(l, b)},
                                    .dq = true};
        }
    }
}

static void append_key_units(unit_list *units, const lv_attention_layout *l, int64_t b)
{
    for (int64_t g = 0; g < l->n_kv_heads; g++) {
        for (int64_t key = 0; key < keys_of(l, b); key += LV_ATTENTION_KEYS) {
            int64_t end = least(key + LV_ATTENTION_KEYS, keys_of(l, b));
            units->at[units->n++] = (lv_attention_unit){
                .b = b, .g = g, .tasks = {0, tasks_of(l, b)}, .keys = {key, end}, .dkv = true};
        }
    }
}

static void append_pairs(unit_list *units, const lv_attention_layout *l, int64_t b)
{
    for (int64_t g = 0; g < l->n_kv_heads; g++) {
        units->at[units->n++] = (lv_attention_unit){.b = b,
                                                    .g = g,
                                                    .tasks = {0, tasks_of(l, b)},
                                                    .keys = {0, keys_of(l, b)},
                                                    .dq = true,
                                                    .dkv = true};
    }
}

/* Room for either way of cutting. */
static unit_list units_create(lv_tape *tape, const lv_attention_layout *l)
{
    int64_t most = 0;
    for (int64_t b = 0; b < l->n_sequences; b++) {
        most += l->n_kv_heads * (units_of_pair(l, b) + parts(keys_of(l, b), LV_ATTENTION_KEYS));
    }
    return (unit_list){lv_tape_alloc(tape, (size_t)most * sizeof(lv_attention_unit)), 0};
}

static int64_t most_keys(const lv_attention_layout *l)
{
    int64_t most = 0;
    for (int64_t b = 0; b < l->n_sequences; b++) {
        most = keys_of(l, b) > most ? keys_of(l, b) : most;
    }
    return most;
}

/* A unit's result does not depend on its thread, nor on how the others were cut. */
static void run_units(lv_tape *tape, const lv_attention_args *x, const unit_list *units,
                      const lv_attention_form *form, int64_t accumulated)
{
    int64_t bytes = form->scratch_bytes(x->layout, most_keys(x->layout), accumulated);
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
    check_layout(layout, q, k, v);
    lv_tensor *in[] = {q, k, v};
    int64_t Tq = q->shape[0];
    lv_tensor *out = lv_tape_tensor(tape, q->dtype, 2, q->shape);
    saved_attention *saved = lv_tape_alloc(tape, sizeof *saved);
    *saved = (saved_attention){.layout = *layout};
    if (lv_tape_wants(tape, 3, in)) {
        saved->lse = lv_tape_alloc(tape, (size_t)(layout->n_heads * Tq) * sizeof(lv_real));
    }
    lv_tape_count_flop(tape, 4 * visible_in_all(layout) * (double)layout->head_dim);
    size_t mark = lv_tape_mark(tape);
    unit_list units = units_create(tape, layout);
    for (int64_t b = 0; b < layout->n_sequences; b++) {
        append_query_units(&units, layout, b);
    }
    lv_attention_args x = {.layout = layout,
                           .q = q->data,
                           .k = k->data,
                           .v = v->data,
                           .o = out->data,
                           .lse = saved->lse,
                           .Tq = Tq};
    run_units(tape, &x, &units, form_of(q->dtype), 0);
    lv_tape_release(tape, mark);
    lv_tape_record(tape, &lv_op_attention, out, 3, in, saved);
    return out;
}

/* How long the threads are busy if every pair is one unit, each taken by the first that is free;
 * in pairs of query and key. */
static double time_of_pairs(lv_tape *tape, const lv_attention_layout *l)
{
    int n_threads = omp_get_max_threads();
    double *busy = lv_tape_alloc(tape, (size_t)n_threads * sizeof *busy);
    memset(busy, 0, (size_t)n_threads * sizeof *busy);
    double longest = 0;
    for (int64_t b = 0; b < l->n_sequences; b++) {
        for (int64_t g = 0; g < l->n_kv_heads; g++) {
            int first = 0;
            for (int i = 1; i < n_threads; i++) {
                first = busy[i] < busy[first] ? i : first;
            }
            busy[first] += visible(l, b) * (double)(l->n_heads / l->n_kv_heads);
            longest = busy[first] > longest ? busy[first] : longest;
        }
    }
    return longest;
}

/* Do too few pairs leave threads idle for longer than it takes to form p and ds twice, once for the
 * queries' gradient and once for the keys'? That is seven products where five would do. */
static bool cut_twice(lv_tape *tape, const lv_attention_layout *l)
{
    return time_of_pairs(tape, l) * 5 > visible_in_all(l) * 7 / (double)omp_get_max_threads();
}

/* Rows of k and v that no sequence has. */
static void clear_outside(lv_grad dk, const lv_attention_layout *l, int64_t Tk)
{
    size_t row_bytes = (size_t)(l->n_kv_heads * l->head_dim) * lv_dtype_bytes(dk.dtype);
    int64_t begin = l->k_start[0], end = l->k_start[l->n_sequences];
    if (dk.data && !dk.add) {
        memset(dk.data, 0, (size_t)begin * row_bytes);
        memset((char *)dk.data + (size_t)end * row_bytes, 0, (size_t)(Tk - end) * row_bytes);
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
    lv_tape_count_flop(tape, 2 * products * visible_in_all(l) * (double)l->head_dim);
    size_t mark = lv_tape_mark(tape);
    unit_list units = units_create(tape, l);
    bool twice = cut_twice(tape, l);
    for (int64_t b = 0; b < l->n_sequences; b++) {
        if (!twice) {
            append_pairs(&units, l, b);
        }
        if (twice && (dk || dv)) {
            append_key_units(&units, l, b);
        }
        if (twice && dq) {
            append_query_units(&units, l, b);
        }
    }
    if (!lv_tape_is_dry(tape)) {
        clear_outside(x.dk, l, k->shape[0]);
        clear_outside(x.dv, l, k->shape[0]);
    }
    run_units(tape, &x, &units, form_of(q->dtype), twice ? LV_ATTENTION_KEYS : most_keys(l));
    lv_tape_release(tape, mark);
}

static unsigned needs(const lv_node *node)
{
    (void)node;
    return LV_NEEDS_IN(0) | LV_NEEDS_IN(1) | LV_NEEDS_IN(2) | LV_NEEDS_OUT;
}

const lv_op lv_op_attention = {"attention", backward, needs};
