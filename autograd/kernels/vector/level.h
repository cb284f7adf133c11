/* SPDX-License-Identifier: Apache-2.0
 *
 * The names of one level: LV_LEVEL(silu_mul) is lv_silu_mul_avx2 where the build says
 * -DLV_VECTOR_LEVEL=avx2.
 */
#ifndef LV_AUTOGRAD_KERNELS_VECTOR_LEVEL_H
#define LV_AUTOGRAD_KERNELS_VECTOR_LEVEL_H

#include "autograd/kernels/vector.h"

#define LV_LEVEL_PASTE(name, level) lv_##name##_##level
#define LV_LEVEL_EXPAND(name, level) LV_LEVEL_PASTE(name, level)
#define LV_LEVEL(name) LV_LEVEL_EXPAND(name, LV_VECTOR_LEVEL)

#define LV_VECTOR(result, name, parameters) result LV_LEVEL(name) parameters;
#include "autograd/kernels/vector.def"
#undef LV_VECTOR

#endif
