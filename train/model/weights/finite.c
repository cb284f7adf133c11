/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/weights/weights.h"

#include "autograd/error.h"

#include <inttypes.h>
#include <string.h>

enum { BLOCK = 1 << 16 };

/* The bits of an exponent that only infinities and NaN have all of. */
static const uint32_t exponents[] = {[LV_F32] = 0x7f800000, [LV_BF16] = 0x7f80, [LV_F16] = 0x7c00};

static bool is_finite_at(const lv_weight *w, int64_t i)
{
    uint32_t bits = 0;
    const size_t bytes = lv_dtype_bytes(w->dtype);
    memcpy(&bits, (const char *)w->data + (size_t)i * bytes, bytes); /* little endian */
    return (bits & exponents[w->dtype]) != exponents[w->dtype];
}

/* Whether all of the elements from begin to end are. */
static bool block_is_finite(const lv_weight *w, int64_t begin, int64_t end)
{
    uint32_t any = 0;
    const char *at = (const char *)w->data;
    if (w->dtype == LV_F32) {
        for (int64_t i = begin; i < end; i++) {
            uint32_t bits;
            memcpy(&bits, at + i * 4, 4);
            any |= (bits & 0x7f800000) == 0x7f800000;
        }
    } else {
        const uint16_t exponent = (uint16_t)exponents[w->dtype];
        for (int64_t i = begin; i < end; i++) {
            uint16_t bits;
            memcpy(&bits, at + i * 2, 2);
            any |= (bits & exponent) == exponent;
        }
    }
    return !any;
}

int lv_weight_check_finite(const lv_weight *w)
{
    const int64_t n = w->n_bytes / (int64_t)lv_dtype_bytes(w->dtype);
    const int64_t n_blocks = (n + BLOCK - 1) / BLOCK;
    int64_t first = n_blocks;
#pragma omp parallel for reduction(min : first)
    for (int64_t b = 0; b < n_blocks; b++) {
        int64_t end = (b + 1) * BLOCK < n ? (b + 1) * BLOCK : n;
        if (b < first && !block_is_finite(w, b * BLOCK, end)) {
            first = b;
        }
    }
    for (int64_t i = first * BLOCK; i < n; i++) {
        if (!is_finite_at(w, i)) {
            return lv_fail(LV_ERR_FORMAT,
                           "tensor \"%s\": element %" PRId64 " of %" PRId64
                           " is not finite (NaN or infinite): the file is damaged, or the run that "
                           "wrote it had diverged; take an earlier one",
                           w->name, i, n);
        }
    }
    return LV_OK;
}
