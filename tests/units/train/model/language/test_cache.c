/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/language/cache.h"

#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "tests/units/train/fixture.h"

#include <stdlib.h>
#include <string.h>

enum { LAYERS = 2, ROW = 4 };

static const lv_llama_config config = {.n_layers = LAYERS, .n_kv_heads = 2, .head_dim = 2};

typedef struct {
    lv_llama_cache *cache;
    lv_tape *tape;
} cache_fixture;

static int open_cache(void **state)
{
    cache_fixture *f = calloc(1, sizeof *f);
    assert_int_equal(lv_llama_cache_create(&f->cache, &config, LV_F32), LV_OK);
    assert_int_equal(lv_tape_create(&f->tape, 0), LV_OK);
    lv_tape_recording_set(f->tape, false);
    *state = f;
    return 0;
}

static int close_cache(void **state)
{
    cache_fixture *f = *state;
    lv_llama_cache_destroy(&f->cache);
    lv_tape_destroy(&f->tape);
    free(f);
    return 0;
}

static int add(cache_fixture *f, int64_t capacity)
{
    int sequence = -1;
    assert_int_equal(lv_llama_cache_add(f->cache, &sequence, capacity), LV_OK);
    return sequence;
}

static int64_t begin_of(const cache_fixture *f, int sequence)
{
    return lv_llama_cache_rows(f->cache, sequence).begin;
}

/* What a layer's half has in row n of a sequence. */
static lv_real value_of(int sequence, int64_t layer, lv_cache_half half, int64_t n)
{
    return (lv_real)(1000 * sequence + 100 * (2 * layer + (int)half) + n);
}

/* n more rows of each of B sequences, in one call. */
static void append(cache_fixture *f, int64_t B, const int *sequences, int64_t n)
{
    int64_t start[8] = {0};
    lv_tape_reset(f->tape);
    for (int64_t b = 0; b < B; b++) {
        start[b + 1] = start[b] + n;
    }
    for (int64_t i = 0; i < 2 * LAYERS; i++) {
        lv_tensor *x = lv_tape_tensor(f->tape, LV_F32, 2, (int64_t[]){start[B], ROW});
        for (int64_t t = 0; t < start[B]; t++) {
            lv_range rows = lv_llama_cache_rows(f->cache, sequences[t / n]);
            for (int64_t j = 0; j < ROW; j++) {
                lv_tensor_real(x)[t * ROW + j] = value_of(
                    sequences[t / n], i / 2, (lv_cache_half)(i % 2), rows.end - rows.begin + t % n);
            }
        }
        lv_llama_cache_append(f->cache, f->tape, i / 2, (lv_cache_half)(i % 2), x, B, sequences,
                              start);
    }
    lv_llama_cache_advance(f->cache, B, sequences, start);
}

/* All n rows of a sequence are in place. */
static void has(cache_fixture *f, int sequence, int64_t n)
{
    const lv_range rows = lv_llama_cache_rows(f->cache, sequence);
    assert_int_equal(rows.end - rows.begin, n);
    for (int64_t i = 0; i < 2 * LAYERS; i++) {
        lv_tensor *none = lv_tape_tensor(f->tape, LV_F32, 2, (int64_t[]){0, ROW});
        const lv_tensor *all = lv_llama_cache_append(
            f->cache, f->tape, i / 2, (lv_cache_half)(i % 2), none, 0, NULL, (int64_t[]){0});
        assert_int_equal(all->shape[0], lv_llama_cache_room(f->cache));
        for (int64_t t = 0; t < n; t++) {
            for (int64_t j = 0; j < ROW; j++) {
                assert_true(((const lv_real *)all->data)[(rows.begin + t) * ROW + j] ==
                            value_of(sequence, i / 2, (lv_cache_half)(i % 2), t));
            }
        }
    }
}

static void each_sequence_has_rows_and_room_of_its_own(void **state)
{
    cache_fixture *f = *state;
    const int a = add(f, 5), b = add(f, 3);
    append(f, 1, &a, 2);
    append(f, 1, &b, 1);
    append(f, 2, (const int[]){b, a}, 1);
    append(f, 1, &a, 2);
    has(f, a, 5);
    has(f, b, 2);
    assert_int_equal(begin_of(f, b), 5);
}

static void rows_stay_when_the_cache_grows(void **state)
{
    cache_fixture *f = *state;
    const int a = add(f, 2);
    append(f, 1, &a, 2);
    const int b = add(f, 4);
    append(f, 1, &b, 3);
    add(f, 100);
    has(f, a, 2);
    has(f, b, 3);
    append(f, 1, &b, 1);
    has(f, b, 4);
}

static void room_and_number_of_one_that_left_are_used_again(void **state)
{
    cache_fixture *f = *state;
    const int a = add(f, 4), b = add(f, 6), c = add(f, 2);
    append(f, 1, &a, 4);
    append(f, 1, &c, 2);
    const int64_t room = lv_llama_cache_room(f->cache);
    lv_llama_cache_remove(f->cache, b);
    const int d = add(f, 4);
    assert_int_equal(d, b);
    assert_int_equal(begin_of(f, d), 4);
    append(f, 1, &d, 4);
    const int e = add(f, 2); /* what d left */
    assert_int_equal(begin_of(f, e), 8);
    append(f, 1, &e, 2);
    assert_int_equal(lv_llama_cache_room(f->cache), room);
    add(f, 1);
    has(f, a, 4);
    has(f, c, 2);
    has(f, d, 4);
    has(f, e, 2);
}

static void too_much_room_is_refused_and_the_others_stay(void **state)
{
    cache_fixture *f = *state;
    int sequence = -1;
    const int a = add(f, 2);
    append(f, 1, &a, 2);
    assert_fails(lv_llama_cache_add(f->cache, &sequence, INT64_MAX / 8), LV_ERR_MEMORY,
                 "no memory for the keys and values");
    assert_int_equal(sequence, -1);
    has(f, a, 2);
    assert_int_equal(add(f, 2), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_cache, close_cache)
        TEST(each_sequence_has_rows_and_room_of_its_own),
        TEST(rows_stay_when_the_cache_grows),
        TEST(room_and_number_of_one_that_left_are_used_again),
        TEST(too_much_room_is_refused_and_the_others_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
