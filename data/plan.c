/* SPDX-License-Identifier: Apache-2.0 */
#include "data/plan.h"

#include "autograd/error.h"

#include <stdlib.h>

typedef struct {
    int64_t id, length, place;
} plan_sample;

static int longest_first(const void *a, const void *b)
{
    const plan_sample *x = a, *y = b;
    if (x->length != y->length) {
        return x->length > y->length ? -1 : 1;
    }
    return x->place < y->place ? -1 : x->place > y->place;
}

/* Keeps, in their order, the samples that fall to this rank. returns how many */
static int64_t keep_share(plan_sample *samples, int64_t n, int64_t *rank_rows, int rank,
                          int n_ranks)
{
    int64_t n_kept = 0;
    for (int64_t i = 0; i < n; i++) {
        int to = 0;
        for (int r = 1; r < n_ranks; r++) {
            if (rank_rows[r] < rank_rows[to]) {
                to = r;
            }
        }
        rank_rows[to] += samples[i].length;
        if (to == rank) {
            samples[n_kept++] = samples[i];
        }
    }
    return n_kept;
}

int lv_plan_make(lv_plan *out, const int64_t *ids, const int64_t *length, int64_t n, int rank,
                 int n_ranks, int64_t budget_rows)
{
    LV_CHECK(n >= 0 && rank >= 0 && rank < n_ranks && budget_rows > 0,
             "%lld samples, rank %d of %d, budget %lld", (long long)n, rank, n_ranks,
             (long long)budget_rows);
    int rc = LV_OK;
    lv_plan plan = {0};
    plan_sample *samples = calloc((size_t)n + 1, sizeof *samples);
    int64_t *rank_rows = calloc((size_t)n_ranks, sizeof *rank_rows);
    plan.sample_ids = calloc((size_t)n + 1, sizeof *plan.sample_ids);
    plan.micro_start = calloc((size_t)n + 1, sizeof *plan.micro_start);
    if (!samples || !rank_rows || !plan.sample_ids || !plan.micro_start) {
        rc = lv_fail(LV_ERR_MEMORY, "no memory to plan a step of %lld samples", (long long)n);
        goto fail;
    }
    for (int64_t i = 0; i < n; i++) {
        samples[i] = (plan_sample){ids[i], length[i], i};
    }
    qsort(samples, (size_t)n, sizeof *samples, longest_first);
    plan.n_samples = keep_share(samples, n, rank_rows, rank, n_ranks);
    plan.n_rows = rank_rows[rank];

    int64_t rows = 0;
    for (int64_t i = 0; i < plan.n_samples; i++) {
        if (i == 0 || rows + samples[i].length > budget_rows) {
            plan.micro_start[plan.n_micro_batches++] = i;
            rows = 0;
        }
        rows += samples[i].length;
        plan.sample_ids[i] = samples[i].id;
    }
    plan.micro_start[plan.n_micro_batches] = plan.n_samples;
    *out = plan;
    plan = (lv_plan){0};
fail:
    lv_plan_free(&plan);
    free(rank_rows);
    free(samples);
    return rc;
}

void lv_plan_free(lv_plan *plan)
{
    free(plan->sample_ids);
    free(plan->micro_start);
    *plan = (lv_plan){0};
}
