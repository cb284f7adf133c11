/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run computes with, for its log and for "mfu".
 */
#ifndef LV_TRAIN_CLUSTER_COMPUTE_H
#define LV_TRAIN_CLUSTER_COMPUTE_H

#include "autograd/tensor.h"
#include "train/cluster/comm.h"

/* lv_compute_text: precision, instructions and libraries in use, "in bf16 on avx512_bf16; bf16
 * products: avx512_bf16; f32: OpenBLAS 0.3.21 SkylakeX"; free() it.
 * in     dtype: of activations; products: as lv_gemm_start says it */
char *lv_compute_text(lv_dtype dtype, const char *products);

/* lv_compute_rate: measure FLOP/s of bf16 matrix products, on all ranks at the same time, and add
 * them up. Collective.
 * out    *flop_per_s, the same on all ranks
 * fails  LV_ERR_COMM */
int lv_compute_rate(double *flop_per_s, const lv_comm *comm);

#endif
