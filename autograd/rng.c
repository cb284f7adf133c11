/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/rng.h"

#include <math.h>

enum { ROUNDS = 10 };

static const double PI = 3.14159265358979323846;

void lv_philox(uint32_t out[4], uint64_t key, uint64_t counter_high, uint64_t counter_low)
{
    uint32_t c[4] = {(uint32_t)counter_low, (uint32_t)(counter_low >> 32), (uint32_t)counter_high,
                     (uint32_t)(counter_high >> 32)};
    uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0];
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k[0];
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k[1];
        c[0] = n0;
        c[1] = (uint32_t)p1;
        c[2] = n2;
        c[3] = (uint32_t)p0;
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    for (int i = 0; i < 4; i++) {
        out[i] = c[i];
    }
}

static double unit_interval(uint32_t high, uint32_t low)
{
    uint64_t bits = ((uint64_t)high << 32 | low) >> 11;
    return (double)bits * 0x1p-53;
}

double lv_random_uniform(uint64_t key, uint64_t counter_high, uint64_t counter_low)
{
    uint32_t words[4];
    lv_philox(words, key, counter_high, counter_low);
    return unit_interval(words[0], words[1]);
}

double lv_random_normal(uint64_t key, uint64_t counter_high, uint64_t counter_low)
{
    uint32_t words[4];
    lv_philox(words, key, counter_high, counter_low);
    double radius = sqrt(-2 * log(1 - unit_interval(words[0], words[1]))); /* 1 - u is never 0 */
    return radius * cos(2 * PI * unit_interval(words[2], words[3]));
}
