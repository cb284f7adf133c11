/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

/* Rows are summed in blocks first, so that fewer digits are lost. */
enum { ROW_BLOCK = 64 };

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void LV_LEVEL(columns)(lv_real *dst, bool add, const void *x, lv_dtype dtype, int64_t T, int64_t ld,
                       int64_t n)
{
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = chunk_count(n, at);
        lv_real total[CHUNK] = {0};
        for (int64_t block = 0; block < T; block += ROW_BLOCK) {
            lv_real part[CHUNK] = {0}, xb[CHUNK];
            for (int64_t t = block; t < least(T, block + ROW_BLOCK); t++) {
                const lv_real *row = chunk_read(xb, x, dtype, t * ld + at, m);
                for (int64_t i = 0; i < m; i++) {
                    part[i] += row[i];
                }
            }
            for (int64_t i = 0; i < m; i++) {
                total[i] += part[i];
            }
        }
        for (int64_t i = 0; i < m; i++) {
            dst[at + i] = add ? dst[at + i] + total[i] : total[i];
        }
    }
}
