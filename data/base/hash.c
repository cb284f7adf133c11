/* SPDX-License-Identifier: Apache-2.0 */
#include "data/base/hash.h"

#include <string.h>

static uint64_t add(uint64_t hash, uint8_t byte)
{
    return (hash ^ byte) * UINT64_C(0x100000001b3);
}

uint64_t lv_hash_bytes(uint64_t hash, const void *data, size_t n)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < n; i++) {
        hash = add(hash, bytes[i]);
    }
    return hash;
}

uint64_t lv_hash_text(uint64_t hash, const char *text)
{
    return lv_hash_bytes(hash, text, strlen(text));
}

uint64_t lv_hash_uint64(uint64_t hash, uint64_t value)
{
    for (int shift = 0; shift < 64; shift += 8) {
        hash = add(hash, (uint8_t)(value >> shift));
    }
    return hash;
}
