/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

void LV_LEVEL(gemm_finish)(void *C, lv_dtype C_dtype, bool add, const lv_real *sum,
                           const lv_real *bias, const void *residual, int64_t n)
{
    lv_real values[CHUNK], buf[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = n - at < CHUNK ? n - at : CHUNK;
        const lv_real *value = sum + at;
        if (bias) {
            for (int64_t i = 0; i < m; i++) {
                values[i] = value[i] + bias[at + i];
            }
            value = values;
        }
        if (residual) {
            const lv_real *more = chunk_read(buf, residual, C_dtype, at, m);
            for (int64_t i = 0; i < m; i++) {
                values[i] = value[i] + more[i];
            }
            value = values;
        }
        chunk_add((lv_grad){C, C_dtype, add}, at, value, m);
    }
}
