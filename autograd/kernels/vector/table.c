/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/vector/level.h"

extern const lv_vector_kernels LV_LEVEL(table);

const lv_vector_kernels LV_LEVEL(table) = {
#define LV_VECTOR(result, name, parameters) .name = LV_LEVEL(name),
#include "autograd/kernels/vector.def"
#undef LV_VECTOR
};
