/* SPDX-License-Identifier: Apache-2.0 */
#include "data/sampler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_N = 20000 };

/* One epoch, batch after batch, into order[n_samples]. */
static void read_epoch(int64_t *order, const lv_sampler *sampler, int64_t epoch)
{
    int64_t n = 0, n_steps = lv_sampler_steps_per_epoch(sampler);
    for (int64_t step = 0; step < n_steps; step++) {
        int64_t left = sampler->n_samples - n;
        int64_t expected = left < sampler->global_batch_size ? left : sampler->global_batch_size;
        assert_true(expected > 0);
        assert_int_equal(lv_sampler_batch(sampler, epoch, step, order + n), expected);
        n += expected;
    }
    assert_int_equal(n, sampler->n_samples);
}

static void assert_permutation(const int64_t *order, int64_t n)
{
    static char seen[MAX_N];
    memset(seen, 0, sizeof seen);
    for (int64_t i = 0; i < n; i++) {
        assert_true(order[i] >= 0 && order[i] < n);
        assert_false(seen[order[i]]);
        seen[order[i]] = 1;
    }
}

static void steps_per_epoch_round_up(void **state)
{
    (void)state;
    assert_int_equal(lv_sampler_steps_per_epoch(&(lv_sampler){.global_batch_size = 4}), 0);
    assert_int_equal(lv_sampler_steps_per_epoch(&(lv_sampler){1, 4, 0, true}), 1);
    assert_int_equal(lv_sampler_steps_per_epoch(&(lv_sampler){4, 4, 0, true}), 1);
    assert_int_equal(lv_sampler_steps_per_epoch(&(lv_sampler){5, 4, 0, true}), 2);
    assert_int_equal(lv_sampler_steps_per_epoch(&(lv_sampler){558128, 256, 0, true}), 2181);
    assert_int_equal(lv_sampler_steps_per_epoch(&(lv_sampler){665298, 128, 0, true}), 5198);
}

static void batches_of_an_epoch_partition_the_samples_for_every_small_n(void **state)
{
    (void)state;
    int64_t order[70];
    for (int64_t n = 1; n <= 70; n++) {
        for (int64_t batch = 1; batch <= n + 1; batch += 1 + batch / 3) {
            for (int64_t epoch = 0; epoch < 3; epoch++) {
                read_epoch(order, &(lv_sampler){n, batch, 42, true}, epoch);
                assert_permutation(order, n);
            }
        }
    }
}

static void batches_of_an_epoch_partition_thousands_of_samples(void **state)
{
    (void)state;
    static const int64_t sizes[] = {4095, 4096, 4097, 9999, 16384, 16385};
    static int64_t order[MAX_N];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        read_epoch(order, &(lv_sampler){sizes[i], 128, 7, true}, 1);
        assert_permutation(order, sizes[i]);
    }
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* 10,000 places of each: what is tried here is the arithmetic of large numbers. */
static void a_billion_samples_and_more_stay_in_range_without_collisions(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1000000007, (int64_t)1 << 40, ((int64_t)1 << 62) - 57,
                                    INT64_MAX};
    static int64_t ids[10000];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        lv_sampler sampler = {sizes[i], 10000, 3, true};
        assert_int_equal(lv_sampler_batch(&sampler, 0, 17, ids), 10000);
        qsort(ids, 10000, sizeof *ids, by_value);
        assert_true(ids[0] >= 0 && ids[9999] < sizes[i]);
        for (int k = 1; k < 10000; k++) {
            assert_true(ids[k] != ids[k - 1]);
        }
        assert_true(ids[2500] > sizes[i] / 5 && ids[2500] < sizes[i] / 10 * 3);
        assert_true(ids[7500] > sizes[i] / 10 * 7 && ids[7500] < sizes[i] / 5 * 4);
    }
}

/* |i - p(i)| of a random permutation is n/3 on average, with a deviation of n/4/sqrt(n). */
static void a_shuffle_displaces_samples_as_a_random_one_would(void **state)
{
    (void)state;
    enum { N = 10000 };
    static int64_t order[N];
    for (int64_t epoch = 0; epoch < 10; epoch++) {
        double displacement = 0;
        int n_fixed = 0, n_rising = 0;
        read_epoch(order, &(lv_sampler){N, 100, 42, true}, epoch);
        for (int i = 0; i < N; i++) {
            displacement += (double)llabs(order[i] - i) / N;
            n_fixed += order[i] == i;
            n_rising += i > 0 && order[i] > order[i - 1];
        }
        assert_float_equal(displacement / N, 1.0 / 3, 0.012);
        assert_true(n_fixed < 10);
        assert_in_range(n_rising, N / 2 - 200, N / 2 + 200);
    }
}

/* Each of the 24 orders of 4 samples: 100 of 2400 on average, 10 the deviation. */
static void every_order_of_four_samples_is_equally_frequent(void **state)
{
    (void)state;
    int count[256] = {0}, n_orders = 0;
    for (int64_t epoch = 0; epoch < 2400; epoch++) {
        int64_t order[4];
        read_epoch(order, &(lv_sampler){4, 3, 5, true}, epoch);
        count[order[0] << 6 | order[1] << 4 | order[2] << 2 | order[3]]++;
    }
    for (int i = 0; i < 256; i++) {
        if (count[i] > 0) {
            assert_in_range(count[i], 50, 150);
            n_orders++;
        }
    }
    assert_int_equal(n_orders, 24);
}

static void the_order_depends_on_epoch_and_seed_and_on_nothing_else(void **state)
{
    (void)state;
    enum { N = 1000 };
    int64_t a[N], b[N];
    lv_sampler sampler = {N, 16, 42, true};
    read_epoch(a, &sampler, 0);
    read_epoch(b, &sampler, 0);
    assert_memory_equal(a, b, sizeof a);
    sampler.global_batch_size = 999;
    read_epoch(b, &sampler, 0);
    assert_memory_equal(a, b, sizeof a);
    for (int i = 0; i < 2; i++) {
        sampler.seed = i == 0 ? 42 : 43;
        read_epoch(b, &sampler, i == 0);
        int n_same = 0;
        for (int k = 0; k < N; k++) {
            n_same += a[k] == b[k];
        }
        assert_true(n_same < 10);
    }
}

static void without_shuffle_every_epoch_is_in_order(void **state)
{
    (void)state;
    int64_t order[10];
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        read_epoch(order, &(lv_sampler){10, 4, 42, false}, epoch);
        for (int i = 0; i < 10; i++) {
            assert_int_equal(order[i], i);
        }
    }
}

/* Reference: FNV-1a of 16 bytes, computed outside of this program. */
static void hash_is_fnv1a_and_sees_order(void **state)
{
    (void)state;
    assert_true(lv_sampler_hash(NULL, 0) == 0xcbf29ce484222325u);
    assert_true(lv_sampler_hash((int64_t[]){1, 258}, 2) == 0x3c6a138db59cb341u);
    assert_true(lv_sampler_hash((int64_t[]){258, 1}, 2) != 0x3c6a138db59cb341u);
}

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

/* Worked out by hand from the rule in sampler.h. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_per_epoch_round_up),
        cmocka_unit_test(batches_of_an_epoch_partition_the_samples_for_every_small_n),
        cmocka_unit_test(batches_of_an_epoch_partition_thousands_of_samples),
        cmocka_unit_test(a_billion_samples_and_more_stay_in_range_without_collisions),
        cmocka_unit_test(a_shuffle_displaces_samples_as_a_random_one_would),
        cmocka_unit_test(every_order_of_four_samples_is_equally_frequent),
        cmocka_unit_test(the_order_depends_on_epoch_and_seed_and_on_nothing_else),
        cmocka_unit_test(without_shuffle_every_epoch_is_in_order),
        cmocka_unit_test(hash_is_fnv1a_and_sees_order),
        cmocka_unit_test(plan_covers_every_sample_once_over_1_to_5_ranks),
        cmocka_unit_test(plan_balances_ranks_within_the_longest_sample),
        cmocka_unit_test(micro_batches_keep_the_budget_or_hold_one_sample),
        cmocka_unit_test(plan_breaks_ties_by_position_and_lowest_rank),
        cmocka_unit_test(a_rank_may_have_no_sample),
    };
    return cmocka_run_group_tests_name("data/sampler", tests, NULL, NULL);
}
