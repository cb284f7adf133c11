/* SPDX-License-Identifier: Apache-2.0 */
#include "optim/clip.h"

double lv_clip_factor(double norm, double max_norm)
{
    static const double TORCH_EPS = 1e-6;
    double factor = max_norm / (norm + TORCH_EPS);
    return max_norm > 0 && factor < 1 ? factor : 1;
}
