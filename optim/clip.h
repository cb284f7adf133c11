/* SPDX-License-Identifier: Apache-2.0
 *
 * Clipping by the global gradient norm, as torch.nn.utils.clip_grad_norm_.
 */
#ifndef LV_OPTIM_CLIP_H
#define LV_OPTIM_CLIP_H

/* lv_clip_factor: min(1, max_norm / (norm + 1e-6)); 1 if max_norm is 0 (no clipping). */
double lv_clip_factor(double norm, double max_norm);

#endif
