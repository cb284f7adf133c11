/* SPDX-License-Identifier: Apache-2.0 */
#include "data/loader/plan.h"

#include "autograd/error.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t length, place;
    int rank;
} plan_sample;

typedef struct {
    int64_t rows;
    int rank;
} plan_rank;

static int longest_first(const void *a, const void *b)
{
    const plan_sample *x = a, *y = b;
    if (x->length != y->length) {
        return x->length > y->length ? -1 : 1;
    }
    return x->place < y->place ? -1 : x->place > y->place;
}

static bool comes_before(const plan_rank *a, const plan_rank *b)
{
    return a->rows != b->rows ? a->rows < b->rows : a->rank < b->rank;
}

/* heap[0], the only one that may be out of its place, sinks to where it belongs. */
static void sink(plan_rank *heap, int n)
{
    const plan_rank moved = heap[0];
    int at = 0, child;
    while ((child = 2 * at + 1) < n) {
        child += child + 1 < n && comes_before(&heap[child + 1], &heap[child]);
        if (!comes_before(&heap[child], &moved)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* Each sample goes to the rank with the fewest rows so far, kept in a heap. */
static void share_out(plan_sample *samples, int64_t n, plan_rank *heap, int n_ranks)
{
    for (int r = 0; r < n_ranks; r++) {
        heap[r] = (plan_rank){.rank = r};
    }
    for (int64_t i = 0; i < n; i++) {
        samples[i].rank = heap[0].rank;
        heap[0].rows += samples[i].length;
        sink(heap, n_ranks);
    }
}

int lv_shares_make(lv_shares *out, const int64_t *length, int64_t n, int n_ranks)
{
    LV_CHECK(n >= 0 && n_ranks > 0, "%lld samples, %d ranks", (long long)n, n_ranks);
    plan_sample *samples = calloc((size_t)n + 1, sizeof *samples);
    plan_rank *heap = calloc((size_t)n_ranks, sizeof *heap);
    lv_shares shares = {.n_ranks = n_ranks,
                        .place = calloc((size_t)n + 1, sizeof *shares.place),
                        .rank_start = calloc((size_t)n_ranks + 1, sizeof *shares.rank_start)};
    int rc = samples && heap && shares.place && shares.rank_start
                 ? LV_OK
                 : lv_fail(LV_ERR_MEMORY, "no memory to plan a step of %lld samples", (long long)n);
    if (rc < 0) {
        goto done;
    }
    for (int64_t i = 0; i < n; i++) {
        samples[i] = (plan_sample){.length = length[i], .place = i};
    }
    qsort(samples, (size_t)n, sizeof *samples, longest_first);
    share_out(samples, n, heap, n_ranks);
    for (int64_t i = 0; i < n; i++) {
        shares.rank_start[samples[i].rank + 1]++;
    }
    for (int r = 0; r < n_ranks; r++) {
        shares.rank_start[r + 1] += shares.rank_start[r];
    }
    for (int64_t i = 0; i < n; i++) {
        shares.place[shares.rank_start[samples[i].rank]++] = samples[i].place;
    }
    /* each start has moved on to the next rank's */
    memmove(shares.rank_start + 1, shares.rank_start, (size_t)n_ranks * sizeof *shares.rank_start);
    shares.rank_start[0] = 0;
    *out = shares;
    shares = (lv_shares){0};
done:
    lv_shares_free(&shares);
    free(heap);
    free(samples);
    return rc;
}

void lv_shares_free(lv_shares *shares)
{
    free(shares->place);
    free(shares->rank_start);
    *shares = (lv_shares){0};
}

int64_t lv_shares_cut(const lv_shares *shares, const int64_t *length, int64_t begin, int64_t end,
                      int64_t budget_rows)
{
    int64_t rows = length[shares->place[begin]], i = begin + 1;
    while (i < end && rows + length[shares->place[i]] <= budget_rows) {
        rows += length[shares->place[i++]];
    }
    return i;
}

int lv_plan_make(lv_plan *out, const int64_t *ids, const int64_t *length, int64_t n, int rank,
                 int n_ranks, int64_t budget_rows)
{
    LV_CHECK(rank >= 0 && rank < n_ranks && budget_rows > 0, "rank %d of %d, budget %lld", rank,
             n_ranks, (long long)budget_rows);
    lv_shares shares = {0};
    lv_plan plan = {0};
    int rc = lv_shares_make(&shares, length, n, n_ranks);
    if (rc < 0) {
        return rc;
    }
    const int64_t begin = shares.rank_start[rank], end = shares.rank_start[rank + 1];
    plan.n_samples = end - begin;
    plan.sample_ids = calloc((size_t)plan.n_samples + 1, sizeof *plan.sample_ids);
    plan.micro_start = calloc((size_t)plan.n_samples + 1, sizeof *plan.micro_start);
    if (!plan.sample_ids || !plan.micro_start) {
        rc = lv_fail(LV_ERR_MEMORY, "no memory to plan a step of %lld samples", (long long)n);
        goto done;
    }
    for (int64_t i = begin; i < end; i++) {
        plan.sample_ids[i - begin] = ids[shares.place[i]];
        plan.n_rows += length[shares.place[i]];
    }
    for (int64_t i = begin; i < end;) {
        i = lv_shares_cut(&shares, length, i, end, budget_rows);
        plan.micro_start[++plan.n_micro_batches] = i - begin;
    }
    *out = plan;
    plan = (lv_plan){0};
done:
    lv_plan_free(&plan);
    lv_shares_free(&shares);
    return rc;
}

void lv_plan_free(lv_plan *plan)
{
    free(plan->sample_ids);
    free(plan->micro_start);
    *plan = (lv_plan){0};
}
