/* SPDX-License-Identifier: Apache-2.0 */
#include "data/loader/permutation.h"

#include "autograd/error.h"
#include "autograd/rng.h"

enum { N_ROUNDS = 8 }; /* many, for the sake of small n */

static uint64_t random_word(uint64_t key, uint64_t counter_high, uint64_t counter_low)
{
    uint32_t words[4];
    lv_philox(words, key, counter_high, counter_low);
    return (uint64_t)words[1] << 32 | words[0];
}

uint64_t lv_permutation_key(uint64_t seed, uint64_t high, uint64_t low)
{
    return random_word(seed, high, low);
}

/* The smallest s with s * s >= n, for n >= 1. */
static uint64_t ceil_root(uint64_t n)
{
    uint64_t low = 1, high = (uint64_t)1 << 32;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (middle >= (n + middle - 1) / middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

lv_permutation lv_permutation_make(int64_t n, uint64_t key)
{
    LV_CHECK(n >= 0, "a permutation of %lld", (long long)n);
    return (lv_permutation){(uint64_t)n, ceil_root((uint64_t)n), key};
}

int64_t lv_permutation_at(const lv_permutation *permutation, int64_t i)
{
    const uint64_t base = permutation->base;
    uint64_t at = (uint64_t)i;
    LV_CHECK(i >= 0 && at < permutation->n, "place %lld of %llu", (long long)i,
             (unsigned long long)permutation->n);
    do {
        uint64_t a = at / base, b = at % base;
        for (uint64_t round = 0; round < N_ROUNDS; round++) {
            uint64_t sum = (a + random_word(permutation->key, round, b) % base) % base;
            a = b;
            b = sum;
        }
        at = a * base + b;
    } while (at >= permutation->n);
    return (int64_t)at;
}
