/* SPDX-License-Identifier: Apache-2.0 */
#include "data/loader/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { PLAN_N = 40 };

static int64_t plan_length(int64_t n, int64_t i)
{
    return 1 + (i * 37 + n * 11) % 29 * (i % 5 == 0 ? 4 : 1);
}

static void plan_covers_every_sample_once_over_1_to_5_ranks(void **state)
{
    (void)state;
    for (int64_t n = 0; n <= PLAN_N; n++) {
        int64_t ids[PLAN_N], length[PLAN_N];
        for (int64_t i = 0; i < n; i++) {
            ids[i] = 1000 + i * 3;
            length[i] = plan_length(n, i);
        }
        for (int n_ranks = 1; n_ranks <= 5; n_ranks++) {
            int seen[PLAN_N] = {0};
            for (int rank = 0; rank < n_ranks; rank++) {
                lv_plan plan;
                assert_int_equal(lv_plan_make(&plan, ids, length, n, rank, n_ranks, 30), 0);
                for (int64_t k = 0; k < plan.n_samples; k++) {
                    seen[(plan.sample_ids[k] - 1000) / 3]++;
                }
                lv_plan_free(&plan);
            }
            for (int64_t i = 0; i < n; i++) {
                assert_int_equal(seen[i], 1);
            }
        }
    }
}

static void plan_balances_ranks_within_the_longest_sample(void **state)
{
    (void)state;
    for (int64_t n = 1; n <= PLAN_N; n++) {
        int64_t ids[PLAN_N], length[PLAN_N], longest = 0, total = 0;
        for (int64_t i = 0; i < n; i++) {
            ids[i] = i;
            length[i] = plan_length(n, i);
            total += length[i];
            longest = length[i] > longest ? length[i] : longest;
        }
        for (int n_ranks = 1; n_ranks <= 5; n_ranks++) {
            int64_t most = 0, fewest = INT64_MAX, sum = 0;
            for (int rank = 0; rank < n_ranks; rank++) {
                lv_plan plan;
                int64_t rows = 0;
                assert_int_equal(lv_plan_make(&plan, ids, length, n, rank, n_ranks, 64), 0);
                for (int64_t k = 0; k < plan.n_samples; k++) {
                    rows += length[plan.sample_ids[k]];
                }
                assert_int_equal(plan.n_rows, rows);
                most = rows > most ? rows : most;
                fewest = rows < fewest ? rows : fewest;
                sum += rows;
                lv_plan_free(&plan);
            }
            assert_int_equal(sum, total);
            assert_true(most - fewest <= longest);
        }
    }
}

static void micro_batches_keep_the_budget_or_hold_one_sample(void **state)
{
    (void)state;
    int64_t ids[PLAN_N], length[PLAN_N];
    for (int64_t i = 0; i < PLAN_N; i++) {
        ids[i] = i;
        length[i] = plan_length(PLAN_N, i);
    }
    for (int64_t budget = 1; budget < 400; budget += 7) {
        for (int rank = 0; rank < 3; rank++) {
            lv_plan plan;
            assert_int_equal(lv_plan_make(&plan, ids, length, PLAN_N, rank, 3, budget), 0);
            assert_int_equal(plan.micro_start[0], 0);
            assert_int_equal(plan.micro_start[plan.n_micro_batches], plan.n_samples);
            for (int64_t m = 0; m < plan.n_micro_batches; m++) {
                int64_t begin = plan.micro_start[m], end = plan.micro_start[m + 1], rows = 0;
                assert_true(end > begin);
                for (int64_t k = begin; k < end; k++) {
                    rows += length[plan.sample_ids[k]];
                }
                assert_true(rows <= budget || end - begin == 1);
                if (end < plan.n_samples) { /* and none is cut short */
                    assert_true(rows + length[plan.sample_ids[end]] > budget);
                }
            }
            lv_plan_free(&plan);
        }
    }
}

static void assert_plan(const int64_t *length, int64_t n, int rank, int n_ranks, int64_t budget,
                        const char *expected)
{
    char got[256] = "";
    int64_t ids[PLAN_N];
    lv_plan plan;
    for (int64_t i = 0; i < n; i++) {
        ids[i] = i;
    }
    assert_int_equal(lv_plan_make(&plan, ids, length, n, rank, n_ranks, budget), 0);
    for (int64_t m = 0; m < plan.n_micro_batches; m++) {
        for (int64_t k = plan.micro_start[m]; k < plan.micro_start[m + 1]; k++) {
            char *c = got + strlen(got);
            c[0] = (char)('0' + plan.sample_ids[k]);
            c[1] = k + 1 < plan.micro_start[m + 1] ? '\0' : '|';
        }
    }
    assert_string_equal(got, expected);
    lv_plan_free(&plan);
}

/* Worked out by hand from the rule in plan.h. */
static void plan_breaks_ties_by_position_and_lowest_rank(void **state)
{
    (void)state;
    static const int64_t equal[] = {5, 5, 5, 5, 5};
    assert_plan(equal, 5, 0, 2, 10, "02|4|");
    assert_plan(equal, 5, 1, 2, 10, "13|");
    static const int64_t mixed[] = {3, 9, 4, 9, 2, 1};
    /* 1 -> 0 (9), 3 -> 1 (9), 2 -> 0 (13), 0 -> 1 (12), 4 -> 1 (14), 5 -> 0 (14) */
    assert_plan(mixed, 6, 0, 2, 10, "1|25|");
    assert_plan(mixed, 6, 1, 2, 10, "3|04|");
    assert_plan(mixed, 6, 0, 1, 9, "1|3|204|5|");
}

static void a_rank_may_have_no_sample(void **state)
{
    (void)state;
    static const int64_t length[] = {7, 8};
    lv_plan plan;
    assert_int_equal(lv_plan_make(&plan, (int64_t[]){4, 5}, length, 2, 3, 4, 10), 0);
    assert_int_equal(plan.n_samples, 0);
    assert_int_equal(plan.n_micro_batches, 0);
    assert_int_equal(plan.micro_start[0], 0);
    assert_int_equal(plan.n_rows, 0);
    lv_plan_free(&plan);
    lv_plan_free(&plan);
}

/* The plan for all ranks at once equals the plan of each rank. */
static void shares_are_the_plans_of_all_ranks_also_of_more_than_there_are_samples(void **state)
{
    (void)state;
    int64_t ids[PLAN_N], length[PLAN_N];
    for (int64_t i = 0; i < PLAN_N; i++) {
        ids[i] = i;
        length[i] = plan_length(PLAN_N, i);
    }
    for (int n_ranks = 1; n_ranks <= 2 * PLAN_N; n_ranks += 3) {
        lv_shares shares;
        assert_int_equal(lv_shares_make(&shares, length, PLAN_N, n_ranks), 0);
        assert_int_equal(shares.rank_start[0], 0);
        assert_int_equal(shares.rank_start[n_ranks], PLAN_N);
        for (int rank = 0; rank < n_ranks; rank++) {
            lv_plan plan;
            assert_int_equal(lv_plan_make(&plan, ids, length, PLAN_N, rank, n_ranks, 50), 0);
            int64_t begin = shares.rank_start[rank], end = shares.rank_start[rank + 1];
            assert_int_equal(plan.n_samples, end - begin);
            for (int64_t m = 0; m < plan.n_micro_batches; m++) {
                assert_int_equal(
                    lv_shares_cut(&shares, length, begin + plan.micro_start[m], end, 50),
                    begin + plan.micro_start[m + 1]);
            }
            for (int64_t i = 0; i < plan.n_samples; i++) {
                assert_int_equal(plan.sample_ids[i], shares.place[begin + i]);
            }
            lv_plan_free(&plan);
        }
        lv_shares_free(&shares);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_covers_every_sample_once_over_1_to_5_ranks),
        cmocka_unit_test(plan_balances_ranks_within_the_longest_sample),
        cmocka_unit_test(micro_batches_keep_the_budget_or_hold_one_sample),
        cmocka_unit_test(plan_breaks_ties_by_position_and_lowest_rank),
        cmocka_unit_test(a_rank_may_have_no_sample),
        cmocka_unit_test(shares_are_the_plans_of_all_ranks_also_of_more_than_there_are_samples),
    };
    return cmocka_run_group_tests_name("data/plan", tests, NULL, NULL);
}
