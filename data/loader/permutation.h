/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_permutation: a keyed pseudo-random permutation of 0..n-1 whose values are computed where they
 * are needed: no list of them is ever made.
 *   A Feistel network over pairs (a, b) of digits to the base ceil(sqrt(n)):
 *     a += F(key, round, b),  swap a and b        each round can be undone, so it is a bijection
 *   Its pairs are a few more than n; from one beyond n it is applied again until it comes back
 *   (cycle walking), which keeps it a bijection of 0..n-1.
 * source Black & Rogaway 2002, "Ciphers with arbitrary finite domains", methods 2 and 3
 */
#ifndef LV_DATA_LOADER_PERMUTATION_H
#define LV_DATA_LOADER_PERMUTATION_H

#include <stdint.h>

typedef struct {
    uint64_t n, base, key;
} lv_permutation;

/* lv_permutation_key: a key out of a seed, different for every (high, low). */
uint64_t lv_permutation_key(uint64_t seed, uint64_t high, uint64_t low);

/* lv_permutation_make: n >= 0. */
lv_permutation lv_permutation_make(int64_t n, uint64_t key);

/* lv_permutation_at: the value at i, 0 <= i < n. */
int64_t lv_permutation_at(const lv_permutation *permutation, int64_t i);

#endif
