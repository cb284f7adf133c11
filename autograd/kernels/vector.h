/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of vector kernels: loops over rows and elements in plain C (vector/), compiled once for
 * every CPU level that has wider registers. vector.def says what each computes.
 */
#ifndef LV_AUTOGRAD_KERNELS_VECTOR_H
#define LV_AUTOGRAD_KERNELS_VECTOR_H

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/norm.h"
#include "autograd/kernels/parallel.h"
#include "autograd/tensor.h"

/* lv_adamw_factors: what an update of AdamW needs of its hyperparameters and of the step t, each
 * rounded once. */
typedef struct {
    lv_real scale;      /* of the gradient */
    lv_real keep;       /* 1 - lr weight_decay */
    lv_real new1, new2; /* 1 - beta1, 1 - beta2 */
    lv_real beta2;
    lv_real step_size; /* lr / (1 - beta1^t) */
    lv_real root2;     /* sqrt(1 - beta2^t) */
    lv_real eps;
} lv_adamw_factors;

typedef struct {
#define LV_VECTOR(result, name, parameters) result(*name) parameters;
#include "autograd/kernels/vector.def"
#undef LV_VECTOR
} lv_vector_kernels;

/* lv_vector: the kernels of the highest level that lv_cpu() allows. Static. */
const lv_vector_kernels *lv_vector(void);

#endif
