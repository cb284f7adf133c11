/* SPDX-License-Identifier: Apache-2.0
 *
 * AdamW over flat buffers, with torch.optim.AdamW's arithmetic, and clipping by the global gradient
 * norm, as torch.nn.utils.clip_grad_norm_.
 */
#ifndef LV_OPTIM_ADAMW_H
#define LV_OPTIM_ADAMW_H

#include "autograd/real.h"

#include <stdint.h>

typedef struct {
    double lr, beta1, beta2, eps, weight_decay;
} lv_adamw;

/* lv_adamw_step: update n elements in place.
 *   g = grad_scale grad;  w -= lr weight_decay w;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
 *   w -= lr/(1-b1^t) m / (sqrt(v/(1-b2^t)) + eps)
 * in     grad[n], not changed; t: number of this update, from 1
 * out    w, m, v [n]; working[n], if not NULL: the new w as bf16, rounded to nearest even.
 *        Elementwise: the same bits on every CPU and for any number of threads
 * tolerance  1e-6 of torch's f32 results over 20 steps
 * source Loshchilov & Hutter 2019, arXiv:1711.05101 */
void lv_adamw_step(lv_real *w, lv_real *m, lv_real *v, uint16_t *working, const lv_real *grad,
                   int64_t n, const lv_adamw *hyper, double grad_scale, int64_t t);

/* lv_adamw_step_bf16: the same with moments of bf16: computed in f32, and rounded up or down at
 * random by their distance, since a v that is rounded to nearest would stay where it is: a step
 * changes it by less than half of its last place.
 * in     first: number of element 0 among all that are trained; the random bits depend on it and on t,
 *        so that the same values come of any split of the elements
 * source Gupta et al. 2015, arXiv:1502.02551, section 3 */
void lv_adamw_step_bf16(lv_real *w, uint16_t *m, uint16_t *v, uint16_t *working,
                        const lv_real *grad, int64_t n, const lv_adamw *hyper, double grad_scale,
                        int64_t t, int64_t first);

/* lv_clip_factor: the grad_scale that clips: min(1, max_norm / (norm + 1e-6)); 1 if max_norm is 0. */
double lv_clip_factor(double norm, double max_norm);

#endif
