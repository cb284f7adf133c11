/* SPDX-License-Identifier: Apache-2.0 */
#include "optim/adamw.h"

#include "autograd/kernels/parallel.h"
#include "autograd/kernels/vector.h"
#include "autograd/rng.h"

#include <math.h>

static const uint64_t SEED = 0x6d6f6d656e7473; /* of the bits that round moments */

static lv_adamw_factors factors_of(const lv_adamw *hyper, double grad_scale, int64_t t)
{
    return (lv_adamw_factors){
        .scale = (lv_real)grad_scale,
        .keep = (lv_real)(1 - hyper->lr * hyper->weight_decay),
        .new1 = (lv_real)(1 - hyper->beta1),
        .new2 = (lv_real)(1 - hyper->beta2),
        .beta2 = (lv_real)hyper->beta2,
        .step_size = (lv_real)(hyper->lr / (1 - pow(hyper->beta1, (double)t))),
        .root2 = (lv_real)sqrt(1 - pow(hyper->beta2, (double)t)),
        .eps = (lv_real)hyper->eps,
    };
}

void lv_adamw_step(lv_real *w, lv_real *m, lv_real *v, uint16_t *working, const lv_real *grad,
                   int64_t n, const lv_adamw *hyper, double grad_scale, int64_t t)
{
    const lv_adamw_factors factors = factors_of(hyper, grad_scale, t);
    const lv_vector_kernels *vector = lv_vector();
#pragma omp parallel if (n >= LV_PARALLEL_FROM)
    {
        lv_range r = lv_thread_range(n, 64);
        vector->adamw(w + r.begin, m + r.begin, v + r.begin, working ? working + r.begin : NULL,
                      grad + r.begin, r.end - r.begin, &factors);
    }
}

void lv_adamw_step_bf16(lv_real *w, uint16_t *m, uint16_t *v, uint16_t *working,
                        const lv_real *grad, int64_t n, const lv_adamw *hyper, double grad_scale,
                        int64_t t, int64_t first)
{
    const lv_adamw_factors factors = factors_of(hyper, grad_scale, t);
    const lv_vector_kernels *vector = lv_vector();
    uint32_t seed[4];
    lv_philox(seed, SEED, 0, (uint64_t)t);
#pragma omp parallel if (n >= LV_PARALLEL_FROM)
    {
        lv_range r = lv_thread_range(n, 64);
        vector->adamw_bf16(w + r.begin, m + r.begin, v + r.begin,
                           working ? working + r.begin : NULL, grad + r.begin, r.end - r.begin,
                           &factors, seed[0], first + r.begin);
    }
}

double lv_clip_factor(double norm, double max_norm)
{
    static const double TORCH_EPS = 1e-6;
    const double factor = max_norm / (norm + TORCH_EPS);
    return max_norm > 0 && factor < 1 ? factor : 1;
}
