/* SPDX-License-Identifier: Apache-2.0 */
#include "optim/adamw.h"

#include "autograd/kernels/parallel.h"
#include "autograd/kernels/vector.h"

#include <math.h>

void lv_adamw_step(lv_real *w, lv_real *m, lv_real *v, uint16_t *working, const lv_real *grad,
                   int64_t n, const lv_adamw *hyper, double grad_scale, int64_t t)
{
    const lv_adamw_factors factors = {
        .scale = (lv_real)grad_scale,
        .keep = (lv_real)(1 - hyper->lr * hyper->weight_decay),
        .new1 = (lv_real)(1 - hyper->beta1),
        .new2 = (lv_real)(1 - hyper->beta2),
        .beta2 = (lv_real)hyper->beta2,
        .step_size = (lv_real)(hyper->lr / (1 - pow(hyper->beta1, (double)t))),
        .root2 = (lv_real)sqrt(1 - pow(hyper->beta2, (double)t)),
        .eps = (lv_real)hyper->eps,
    };
    const lv_vector_kernels *vector = lv_vector();
#pragma omp parallel if (n >= LV_PARALLEL_FROM)
    {
        lv_range r = lv_thread_range(n, 64);
        vector->adamw(w + r.begin, m + r.begin, v + r.begin, working ? working + r.begin : NULL,
                      grad + r.begin, r.end - r.begin, &factors);
    }
}

double lv_clip_factor(double norm, double max_norm)
{
    static const double TORCH_EPS = 1e-6;
    const double factor = max_norm / (norm + TORCH_EPS);
    return max_norm > 0 && factor < 1 ? factor : 1;
}
