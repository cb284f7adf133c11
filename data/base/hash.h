/* SPDX-License-Identifier: Apache-2.0
 *
 * FNV-1a, 64 bits: for fingerprints, hash tables and the keys of random numbers. Not for checksums
 * (those are CRC-32) and not against an adversary. Stored in checkpoints and metrics: it must not
 * change.
 * source Fowler, Noll, Vo, draft-eastlake-fnv
 */
#ifndef LV_DATA_BASE_HASH_H
#define LV_DATA_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define LV_HASH_START UINT64_C(0xcbf29ce484222325)

/* Each continues a hash, which begins as LV_HASH_START. returns it. */
uint64_t lv_hash_bytes(uint64_t hash, const void *data, size_t n);
uint64_t lv_hash_text(uint64_t hash, const char *text); /* without its end */
uint64_t lv_hash_uint64(uint64_t hash, uint64_t value); /* its bytes, lowest first */

#endif
