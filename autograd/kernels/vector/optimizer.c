/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

#include <tgmath.h>

void LV_LEVEL(adamw)(lv_real *restrict w, lv_real *restrict m, lv_real *restrict v,
                     uint16_t *restrict working, const lv_real *restrict grad, int64_t n,
                     const lv_adamw_factors *factors)
{
    const lv_adamw_factors f = *factors;
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t end = at + chunk_count(n, at);
        for (int64_t i = at; i < end; i++) {
            lv_real g = f.scale * grad[i];
            m[i] += f.new1 * (g - m[i]); /* torch's lerp */
            v[i] = f.beta2 * v[i] + f.new2 * g * g;
            w[i] = f.keep * w[i] - f.step_size * m[i] / (sqrt(v[i]) / f.root2 + f.eps);
        }
        for (int64_t i = at; working && i < end; i++) {
            working[i] = chunk_narrow((float)w[i]);
        }
    }
}

double LV_LEVEL(sum_squares)(const lv_real *x, int64_t n)
{
    enum { LANES = 16 };
    double lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            lanes[l] += (double)x[i + l] * (double)x[i + l];
        }
    }
    for (int l = 0; i < n; i++, l++) {
        lanes[l] += (double)x[i] * (double)x[i];
    }
    double sum = 0;
    for (int l = 0; l < LANES; l++) {
        sum += lanes[l];
    }
    return sum;
}
