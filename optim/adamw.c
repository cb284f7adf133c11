/* SPDX-License-Identifier: Apache-2.0 */
#include "optim/adamw.h"

#include <tgmath.h>

void lv_adamw_step(lv_real *w, lv_real *m, lv_real *v, const lv_real *grad, int64_t n,
                   const lv_adamw *hyper, double grad_scale, int64_t t)
{
    const lv_real scale = (lv_real)grad_scale;
    const lv_real keep = (lv_real)(1 - hyper->lr * hyper->weight_decay);
    const lv_real beta2 = (lv_real)hyper->beta2;
    const lv_real new1 = (lv_real)(1 - hyper->beta1);
    const lv_real new2 = (lv_real)(1 - hyper->beta2);
    const lv_real step_size = (lv_real)(hyper->lr / (1 - pow(hyper->beta1, (double)t)));
    const lv_real root2 = (lv_real)sqrt(1 - pow(hyper->beta2, (double)t));
    const lv_real eps = (lv_real)hyper->eps;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        lv_real g = scale * grad[i];
        m[i] += new1 * (g - m[i]); /* torch's lerp */
        v[i] = beta2 * v[i] + new2 * g * g;
        w[i] = keep * w[i] - step_size * m[i] / (sqrt(v[i]) / root2 + eps);
    }
}
