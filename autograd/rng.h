/* SPDX-License-Identifier: Apache-2.0
 *
 * Counter-based random numbers: a value is a function of (key, counter) and of nothing else, so a
 * run gives the same numbers on any number of ranks, resumed or not.
 * source Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3": Philox4x32-10
 */
#ifndef LV_AUTOGRAD_RNG_H
#define LV_AUTOGRAD_RNG_H

#include <stdint.h>

/* lv_philox: 4 words of 32 random bits from a 64-bit key and a 128-bit counter. */
void lv_philox(uint32_t out[4], uint64_t key, uint64_t counter_high, uint64_t counter_low);

/* lv_random_uniform: uniform in [0, 1), 53 bits, from key and counter. */
double lv_random_uniform(uint64_t key, uint64_t counter_high, uint64_t counter_low);

/* lv_random_normal: standard normal (Box-Muller), from key and counter. */
double lv_random_normal(uint64_t key, uint64_t counter_high, uint64_t counter_low);

#endif
