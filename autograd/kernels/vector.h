/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of vector kernels: loops over rows and elements in plain C (vector/), compiled once for
 * every CPU level that has wider registers. vector.def says what each computes.
 */
#ifndef LV_AUTOGRAD_KERNELS_VECTOR_H
#define LV_AUTOGRAD_KERNELS_VECTOR_H

#include "autograd/kernels/norm.h"
#include "autograd/tape.h"

typedef struct {
#define LV_VECTOR(result, name, parameters) result(*name) parameters;
#include "autograd/kernels/vector.def"
#undef LV_VECTOR
} lv_vector_kernels;

/* lv_vector: the kernels of the highest level that lv_cpu() allows. Static. */
const lv_vector_kernels *lv_vector(void);

#endif
