/* SPDX-License-Identifier: Apache-2.0
 *
 * train/model/params/shard.h: every element has one owner, in one bucket, whatever the numbers.
 */
#include "train/model/params/shard.h"

#include "tests/units/train/fixture.h"

#include <stdlib.h>
#include <string.h>

/* Each element of [0, count) is counted once; buckets keep to the border and their size. */
static void check_split(int64_t count, int64_t border, int64_t bucket_count, int n_ranks)
{
    char *owners = calloc((size_t)count + 1, 1);
    int64_t n_owned = 0;
    assert_non_null(owners);
    for (int rank = 0; rank < n_ranks; rank++) {
        lv_shard *shard = NULL;
        int64_t at = 0, end = 0;
        assert_int_equal(lv_shard_create(&shard, count, border, bucket_count, rank, n_ranks), 0);
        for (int64_t k = 0; k < shard->n_buckets; k++) {
            const lv_range *bucket = &shard->buckets[k];
            const lv_bucket_shard *own = &shard->own[k];
            assert_int_equal(bucket->begin, end);
            assert_in_range(bucket->end - bucket->begin, 1, bucket_count);
            assert_true(bucket->end <= border || bucket->begin >= border);
            assert_int_equal(own->at, at);
            assert_true(own->begin >= bucket->begin && own->end <= bucket->end);
            for (int64_t i = own->begin; i < own->end; i++) {
                owners[i]++;
                assert_int_equal(lv_shard_bucket_of(shard, i), k);
            }
            /* as even as cache lines allow */
            const int64_t share = (bucket->end - bucket->begin) / n_ranks;
            assert_true(own->end - own->begin <= share + 32);
            at += own->end - own->begin;
            end = bucket->end;
        }
        assert_int_equal(end, count);
        assert_int_equal(at, shard->own_count);
        n_owned += at;
        lv_shard_destroy(&shard);
        assert_null(shard);
    }
    assert_int_equal(n_owned, count);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(owners[i], 1);
    }
    free(owners);
}

static void every_element_has_one_owner(void **state)
{
    (void)state;
    static const int64_t counts[] = {0, 1, 31, 32, 33, 1000, 4097};
    static const int64_t sizes[] = {1, 32, 100, 999, INT64_MAX};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        const int64_t borders[] = {0, counts[c] / 3, counts[c]};
        for (size_t b = 0; b < 3; b++) {
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
                for (int n_ranks = 1; n_ranks <= 5; n_ranks += 2) {
                    check_split(counts[c], borders[b], sizes[s], n_ranks);
                }
            }
        }
    }
}

static double index_of(const void *context, int64_t i)
{
    (void)context;
    return (double)i;
}

/* A rank of three has the masters of its shards alone, and the working copies of all. */
static void a_rank_keeps_its_own_masters(void **state)
{
    (void)state;
    enum { N = 1000, N_BIAS = 100, RANKS = 3 };
    static const char *const projector = "projector";
    for (int rank = 0; rank < RANKS; rank++) {
        lv_params *params = NULL;
        assert_int_equal(lv_params_create(&params), 0);
        lv_params_dtype_set(params, LV_BF16);
        lv_params_share_set(params, rank, RANKS, 300);
        lv_params_declare(params, "projector.0.bias", 1, (int64_t[]){N_BIAS}, false, true);
        lv_params_declare(params, "projector.0.weight", 1, (int64_t[]){N}, true, true);
        lv_params_at(params, 1)->takes_bf16 = true;
        assert_int_equal(lv_params_set_trainable(params, &projector, 1), 0);
        assert_int_equal(lv_params_allocate(params), 0);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(lv_params_fill(params, lv_params_at(params, i), index_of, NULL), 0);
        }
        const lv_shard *shard = lv_params_shard(params);
        assert_int_equal(shard->n_buckets, 4 + 1);
        assert_int_equal(lv_params_at(params, 1)->offset, 0); /* what is read in bf16 comes first */
        assert_int_equal(lv_params_at(params, 0)->offset, N);
        for (int64_t k = 0; k < shard->n_buckets; k++) {
            const lv_bucket_shard *own = &shard->own[k];
            for (int64_t i = own->begin; i < own->end; i++) {
                const int64_t want = i < N ? i : i - N;
                assert_true(lv_params_master(params, own)[i - own->begin] == (lv_real)want);
            }
        }
        const uint16_t *working = working_of(params);
        assert_int_equal(working[999], 0x447a); /* 1000, rounded */
        assert_int_equal(working[256], 0x4380);
        const lv_params_memory memory = lv_params_memory_of(params);
        assert_in_range(memory.trained_bytes, 4 * (N / RANKS - 4 * 32 + N_BIAS),
                        4 * (N / RANKS + 4 * 32 + N_BIAS));
        assert_int_equal(memory.working_bytes, 2 * N);
        lv_params_destroy(&params);
    }
}

static void a_bucket_is_as_large_as_asked_or_has_room_for_each_ranks_message(void **state)
{
    (void)state;
    assert_int_equal(lv_shard_bucket_count(8, 1024), 2 << 20);
    assert_int_equal(lv_shard_bucket_count(0.001, 3), 262);
    assert_int_equal(lv_shard_bucket_count(0, 1), 2 << 20);
    assert_int_equal(lv_shard_bucket_count(0, 128), 2 << 20);
    assert_int_equal(lv_shard_bucket_count(0, 1024), 1024 * (64 << 10) / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_element_has_one_owner),
        cmocka_unit_test(a_rank_keeps_its_own_masters),
        cmocka_unit_test(a_bucket_is_as_large_as_asked_or_has_room_for_each_ranks_message),
    };
    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
