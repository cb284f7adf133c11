/* SPDX-License-Identifier: Apache-2.0 */
#include "data/loader/sampler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_N = 20000 };

/* A sampler of one pack of weight 1, in a place of its own. */
static lv_sampler_options one_pack(int64_t n, int64_t global_batch_size, uint64_t seed,
                                   bool shuffle)
{
    static lv_sampler_pack pack;
    pack = (lv_sampler_pack){.n_samples = n, .weight = 1};
    return (lv_sampler_options){.packs = &pack,
                                .n_packs = 1,
                                .global_batch_size = global_batch_size,
                                .seed = seed,
                                .shuffle = shuffle};
}

/* One epoch, batch after batch, into order[lv_sampler_epoch_samples]. */
static void read_epoch(int64_t *order, const lv_sampler_options *options, int64_t epoch)
{
    lv_sampler *sampler;
    int64_t n = 0, n_steps = lv_sampler_steps_per_epoch(options);
    const int64_t n_all = lv_sampler_epoch_samples(options);
    assert_int_equal(lv_sampler_create(&sampler, options), 0);
    for (int64_t step = 0; step < n_steps; step++) {
        int64_t left = n_all - n;
        int64_t expected = left < options->global_batch_size ? left : options->global_batch_size;
        assert_true(expected > 0);
        assert_int_equal(lv_sampler_batch(sampler, epoch, step, order + n), expected);
        n += expected;
    }
    assert_int_equal(n, n_all);
    lv_sampler_destroy(&sampler);
    assert_null(sampler);
}

static int64_t steps_of(int64_t n, int64_t global_batch_size)
{
    lv_sampler_options options = one_pack(n, global_batch_size, 0, true);
    return lv_sampler_steps_per_epoch(&options);
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
    assert_int_equal(steps_of(0, 4), 0);
    assert_int_equal(steps_of(1, 4), 1);
    assert_int_equal(steps_of(4, 4), 1);
    assert_int_equal(steps_of(5, 4), 2);
    assert_int_equal(steps_of(558128, 256), 2181);
    assert_int_equal(steps_of(665298, 128), 5198);
}

static void batches_of_an_epoch_partition_the_samples_for_every_small_n(void **state)
{
    (void)state;
    int64_t order[70];
    for (int64_t n = 1; n <= 70; n++) {
        for (int64_t batch = 1; batch <= n + 1; batch += 1 + batch / 3) {
            for (int64_t epoch = 0; epoch < 3; epoch++) {
                lv_sampler_options options = one_pack(n, batch, 42, true);
                read_epoch(order, &options, epoch);
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
        lv_sampler_options options = one_pack(sizes[i], 128, 7, true);
        read_epoch(order, &options, 1);
        assert_permutation(order, sizes[i]);
    }
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* 10,000 places of each: a test of the arithmetic of large numbers. */
static void a_billion_samples_and_more_stay_in_range_without_collisions(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1000000007, (int64_t)1 << 40, ((int64_t)1 << 62) - 57,
                                    INT64_MAX};
    static int64_t ids[10000];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        lv_sampler_options options = one_pack(sizes[i], 10000, 3, true);
        lv_sampler *sampler;
        assert_int_equal(lv_sampler_create(&sampler, &options), 0);
        assert_int_equal(lv_sampler_batch(sampler, 0, 17, ids), 10000);
        lv_sampler_destroy(&sampler);
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
        lv_sampler_options options = one_pack(N, 100, 42, true);
        read_epoch(order, &options, epoch);
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
        lv_sampler_options options = one_pack(4, 3, 5, true);
        read_epoch(order, &options, epoch);
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
    lv_sampler_options sampler = one_pack(N, 16, 42, true);
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
        lv_sampler_options options = one_pack(10, 4, 42, false);
        read_epoch(order, &options, epoch);
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

/* ---- weights ---- */

/* Reads epochs [0, n_epochs) and counts how often each sample came. */
static void count_samples(int64_t *count, const lv_sampler_options *options, int64_t n_epochs)
{
    static int64_t order[MAX_N];
    assert_true(lv_sampler_epoch_samples(options) <= MAX_N);
    for (int64_t epoch = 0; epoch < n_epochs; epoch++) {
        read_epoch(order, options, epoch);
        for (int64_t i = 0; i < lv_sampler_epoch_samples(options); i++) {
            count[order[i]]++;
        }
    }
}

static void an_epoch_takes_the_weighted_and_rounded_share_of_each_pack(void **state)
{
    (void)state;
    static const struct {
        int64_t n;
        double weight;
        int64_t expected;
    } cases[] = {{10, 1, 10},   {10, 2, 20},    {10, 0.5, 5},         {10, 0.25, 3},
                 {10, 0.24, 2}, {10, 0.001, 1}, {3, 1.5, 5},          {7, 1.0 / 3, 2},
                 {0, 3, 0},     {1, 0.5, 1},    {595375, 0.1, 59538}, {1000003, 2.75, 2750008}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_sampler_pack packs[] = {{5, 1, NULL}, {cases[i].n, cases[i].weight, NULL}};
        lv_sampler_options options = {packs, 2, 4, 42, true, false};
        int64_t expected = cases[i].expected + 5;
        assert_int_equal(lv_sampler_epoch_samples(&options), expected);
        assert_int_equal(lv_sampler_steps_per_epoch(&options), (expected + 3) / 4);
    }
}

static void over_the_epochs_each_sample_of_a_pack_comes_equally_often(void **state)
{
    (void)state;
    lv_sampler_pack packs[] = {{10, 0.3, NULL}, {7, 2, NULL}, {9, 1, NULL}, {11, 1.6, NULL}};
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        lv_sampler_options options = {packs, 4, 5, 7, shuffle, false};
        for (int64_t n_epochs = 1; n_epochs <= 24; n_epochs++) {
            int64_t count[37] = {0};
            count_samples(count, &options, n_epochs);
            static const int64_t per_epoch[] = {3, 14, 9, 18};
            for (int p = 0, id = 0; p < 4; p++) {
                int64_t least = n_epochs * per_epoch[p] / packs[p].n_samples;
                bool exact = n_epochs * per_epoch[p] % packs[p].n_samples == 0;
                for (int64_t i = 0; i < packs[p].n_samples; i++, id++) {
                    assert_in_range(count[id], least, least + !exact);
                }
            }
        }
    }
}

static void a_half_is_followed_by_the_other_half_and_then_by_new_halves(void **state)
{
    (void)state;
    enum { N = 40 };
    lv_sampler_pack pack = {N, 0.5, NULL};
    lv_sampler_options options = {&pack, 1, 8, 3, true, false};
    int64_t halves[4][N / 2];
    for (int64_t epoch = 0; epoch < 4; epoch++) {
        read_epoch(halves[epoch], &options, epoch);
    }
    for (int pass = 0; pass < 2; pass++) {
        assert_permutation(halves[2 * pass], N); /* the two halves are one after the other */
    }
    int n_again = 0;
    for (int i = 0; i < N / 2; i++) {
        for (int k = 0; k < N / 2; k++) {
            n_again += halves[0][i] == halves[2][k];
        }
    }
    assert_in_range(n_again, 3, 17); /* 10 expected */
}

static void
without_shuffle_weighted_packs_are_taken_in_order_and_on_from_where_they_were(void **state)
{
    (void)state;
    lv_sampler_pack packs[] = {{5, 0.6, NULL}, {2, 2, NULL}};
    lv_sampler_options options = {packs, 2, 4, 42, false, false};
    static const int64_t expected[][7] = {{0, 1, 2, 5, 6, 5, 6}, {3, 4, 0, 5, 6, 5, 6}};
    int64_t order[7];
    for (int64_t epoch = 0; epoch < 2; epoch++) {
        read_epoch(order, &options, epoch);
        assert_memory_equal(order, expected[epoch], sizeof order);
    }
}

/* Their hash is that of every run of before, which packs and weights must not change. */
static void packs_of_weight_1_are_shuffled_as_one(void **state)
{
    (void)state;
    enum { N = 1000 };
    int64_t a[N], b[N];
    lv_sampler_options whole = one_pack(N, 16, 42, true);
    lv_sampler_pack packs[] = {{300, 1, NULL}, {1, 1, NULL}, {699, 1, NULL}};
    lv_sampler_options parts = {packs, 3, 16, 42, true, false};
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        read_epoch(a, &whole, epoch);
        read_epoch(b, &parts, epoch);
        assert_memory_equal(a, b, sizeof a);
    }
    read_epoch(a, &whole, 0);
    assert_true(lv_sampler_hash(a, N) == 0x5c9446c1ec62b405u);
}

/* ---- grouping ---- */

enum { GROUP_N = 400, GROUP_PACKS = 4 };

typedef struct {
    lv_sample_counts counts[GROUP_N];
    lv_sampler_pack packs[GROUP_PACKS];
    lv_sampler_options options;
} groups;

/* Packs of these sizes and weights; a share of the samples, out of 10, has an image. */
static void make_groups(groups *g, const int64_t *sizes, const double *weights, int n_packs,
                        int share, int64_t batch)
{
    int64_t first = 0;
    memset(g, 0, sizeof *g);
    for (int i = 0; i < GROUP_N; i++) {
        g->counts[i].n_images = i * 7 % 10 < share ? 1 + i % 2 : 0;
        g->counts[i].n_words = i * 37 % 23;
    }
    for (int p = 0; p < n_packs; p++) {
        g->packs[p] = (lv_sampler_pack){sizes[p], weights[p], g->counts + first};
        first += sizes[p];
    }
    assert_true(first <= GROUP_N);
    g->options = (lv_sampler_options){g->packs, n_packs, batch, 11, true, true};
}

static bool has_image(const groups *g, int64_t id)
{
    return g->counts[id].n_images > 0;
}

static void assert_sorted(const groups *g, const int64_t *ids, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        assert_true(has_image(g, ids[i]) == has_image(g, ids[0]));
        assert_true(g->counts[ids[i - 1]].n_words >= g->counts[ids[i]].n_words);
    }
}

/* The steps of an epoch, as in the header. Of packs of fractional weight the number
 * of samples with an image changes with the epoch: it is counted. */
static void assert_groups(const groups *g, int64_t epoch)
{
    static int64_t order[4 * GROUP_N];
    const int64_t batch = g->options.global_batch_size;
    const int64_t n = lv_sampler_epoch_samples(&g->options);
    int64_t n_images = 0;
    read_epoch(order, &g->options, epoch);
    for (int64_t i = 0; i < n; i++) {
        n_images += has_image(g, order[i]);
    }
    const int64_t n_texts = n - n_images;
    if (n_images == 0 || n_texts == 0) {
        for (int64_t i = 0; i < n; i += batch) {
            assert_sorted(g, order + i, n - i < batch ? n - i : batch);
        }
        return;
    }
    const int64_t n_full = (n_images - 1) / batch + (n_texts - 1) / batch;
    int64_t n_image_steps = 0;
    for (int64_t s = 0; s < n_full; s++) {
        assert_sorted(g, order + s * batch, batch);
        n_image_steps += has_image(g, order[s * batch]);
    }
    assert_int_equal(n_image_steps, (n_images - 1) / batch);
    for (int64_t i = n_full * batch + 1; i < n; i++) {
        assert_true(order[i - 1] <= order[i]);
    }
}

static const int64_t group_sizes[][GROUP_PACKS] = {{60, 1, 100, 33}, {7, 300, 20, 0}, {1, 2, 3, 4}};
static const double group_weights[][GROUP_PACKS] = {
    {1, 1, 1, 1}, {0.5, 3, 1, 2}, {0.37, 1.61, 0.02, 0.9}};

static void grouped_steps_are_of_one_kind_and_sorted_but_the_merged_last(void **state)
{
    (void)state;
    groups g;
    for (int sizes = 0; sizes < 3; sizes++) {
        for (int weights = 0; weights < 3; weights++) {
            for (int share = 0; share <= 10; share++) {
                for (int64_t batch = 1; batch < 300; batch += 1 + batch * 2 / 3) {
                    make_groups(&g, group_sizes[sizes], group_weights[weights], GROUP_PACKS, share,
                                batch);
                    for (int64_t epoch = 0; epoch < 5; epoch += 2) {
                        assert_groups(&g, epoch);
                    }
                }
            }
        }
    }
}

/* Whatever the order of groups, each pack gives the share of its weight, and each sample of a
 * kind comes equally often. */
static void grouped_epochs_have_every_sample_as_often_as_its_weight_says(void **state)
{
    (void)state;
    groups g;
    for (int sizes = 0; sizes < 3; sizes++) {
        for (int weights = 0; weights < 3; weights++) {
            int64_t count[GROUP_N] = {0};
            const int64_t n_epochs = 9;
            make_groups(&g, group_sizes[sizes], group_weights[weights], GROUP_PACKS, 4, 16);
            count_samples(count, &g.options, n_epochs);
            for (int p = 0, first = 0; p < GROUP_PACKS; first += (int)g.packs[p++].n_samples) {
                lv_sampler_options alone = {&g.packs[p], 1, 16, 0, true, false};
                int64_t all = 0, most[2] = {0, 0}, least[2] = {INT64_MAX, INT64_MAX};
                for (int64_t i = first; i < first + g.packs[p].n_samples; i++) {
                    int kind = has_image(&g, i);
                    all += count[i];
                    most[kind] = count[i] > most[kind] ? count[i] : most[kind];
                    least[kind] = count[i] < least[kind] ? count[i] : least[kind];
                }
                assert_int_equal(all, n_epochs * lv_sampler_epoch_samples(&alone));
                assert_true(most[0] == 0 || most[0] - least[0] <= 1);
                assert_true(most[1] == 0 || most[1] - least[1] <= 1);
            }
        }
    }
}

static void a_grouped_step_depends_on_epoch_and_step_and_not_on_those_before_it(void **state)
{
    (void)state;
    static int64_t order[4 * GROUP_N], ids[32];
    groups g;
    lv_sampler *used;
    make_groups(&g, group_sizes[0], group_weights[2], GROUP_PACKS, 6, 32);
    assert_int_equal(lv_sampler_create(&used, &g.options), 0);
    for (int64_t epoch = 4; epoch >= 0; epoch--) {
        read_epoch(order, &g.options, epoch);
        for (int64_t step = lv_sampler_steps_per_epoch(&g.options) - 1; step >= 0; step--) {
            lv_sampler *fresh;
            assert_int_equal(lv_sampler_create(&fresh, &g.options), 0);
            int64_t n = lv_sampler_batch(fresh, epoch, step, ids);
            assert_memory_equal(ids, order + step * 32, (size_t)n * sizeof *ids);
            assert_int_equal(lv_sampler_batch(used, epoch, step, ids), n);
            assert_memory_equal(ids, order + step * 32, (size_t)n * sizeof *ids);
            lv_sampler_destroy(&fresh);
        }
    }
    lv_sampler_destroy(&used);
}

static void other_epochs_and_seeds_group_otherwise(void **state)
{
    (void)state;
    static int64_t a[4 * GROUP_N], b[4 * GROUP_N];
    groups g;
    make_groups(&g, group_sizes[0], group_weights[0], GROUP_PACKS, 6, 8);
    const int64_t n = lv_sampler_epoch_samples(&g.options);
    read_epoch(a, &g.options, 0);
    for (int i = 0; i < 2; i++) {
        int n_same = 0;
        g.options.seed = i == 0 ? 11 : 12;
        read_epoch(b, &g.options, i == 0);
        for (int64_t k = 0; k < n; k++) {
            n_same += a[k] == b[k];
        }
        assert_in_range(n_same, 0, n / 5);
    }
}

/* One line of groups.txt: see make_golden.py there. */
static void assert_golden(char *line)
{
    static int64_t order[GROUP_N];
    groups g = {.packs = {{.weight = 1, .counts = g.counts}, {.weight = 1}}};
    char *rest = NULL, *name = strtok_r(line, " ", &rest);
    int64_t head[4];
    for (int i = 0; i < 4; i++) {
        head[i] = strtoll(strtok_r(NULL, " ", &rest), NULL, 10);
    }
    assert_in_range(head[0], 1, GROUP_N);
    for (int64_t i = 0; i < head[0]; i++) {
        char *kind;
        g.counts[i].n_words = (int32_t)strtol(strtok_r(NULL, " ", &rest), &kind, 10);
        g.counts[i].n_images = *kind == 'i';
    }
    assert_string_equal(strtok_r(NULL, " ", &rest), "=");
    g.packs[0].n_samples = head[0] / 3; /* two packs, numbered on */
    g.packs[1].n_samples = head[0] - head[0] / 3;
    g.packs[1].counts = g.counts + head[0] / 3;
    g.options = (lv_sampler_options){g.packs, 2, head[1], (uint64_t)head[2], true, true};
    read_epoch(order, &g.options, head[3]);
    for (int64_t i = 0; i < head[0]; i++) {
        int64_t expected = strtoll(strtok_r(NULL, " \n", &rest), NULL, 10);
        if (order[i] != expected) {
            fail_msg("%s, epoch %lld: place %lld has sample %lld, LLaVA's sampler has %lld", name,
                     (long long)head[3], (long long)i, (long long)order[i], (long long)expected);
        }
    }
}

static void grouped_epochs_are_those_of_llavas_own_sampler(void **state)
{
    (void)state;
    char path[4096], *line = NULL;
    size_t n = 0;
    int n_lines = 0;
    snprintf(path, sizeof path, "%s/tests/golden/sampler/groups.txt", getenv("LLAVA_TEST_SOURCE"));
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    for (; getline(&line, &n, file) > 0; n_lines++) {
        assert_golden(line);
    }
    assert_int_equal(n_lines, 24);
    free(line);
    fclose(file);
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
        cmocka_unit_test(an_epoch_takes_the_weighted_and_rounded_share_of_each_pack),
        cmocka_unit_test(over_the_epochs_each_sample_of_a_pack_comes_equally_often),
        cmocka_unit_test(a_half_is_followed_by_the_other_half_and_then_by_new_halves),
        cmocka_unit_test(
            without_shuffle_weighted_packs_are_taken_in_order_and_on_from_where_they_were),
        cmocka_unit_test(packs_of_weight_1_are_shuffled_as_one),
        cmocka_unit_test(grouped_steps_are_of_one_kind_and_sorted_but_the_merged_last),
        cmocka_unit_test(grouped_epochs_have_every_sample_as_often_as_its_weight_says),
        cmocka_unit_test(a_grouped_step_depends_on_epoch_and_step_and_not_on_those_before_it),
        cmocka_unit_test(other_epochs_and_seeds_group_otherwise),
        cmocka_unit_test(grouped_epochs_are_those_of_llavas_own_sampler),
    };
    return cmocka_run_group_tests_name("data/sampler", tests, NULL, NULL);
}
