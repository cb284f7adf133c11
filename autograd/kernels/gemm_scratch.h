/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LV_AUTOGRAD_KERNELS_GEMM_SCRATCH_H
#define LV_AUTOGRAD_KERNELS_GEMM_SCRATCH_H

#include <stddef.h>

/* lv_gemm_scratch: the calling thread's memory for blocks of a product, 64-byte aligned, at least
 * bytes; what an earlier call returned is gone. Allocated by a thread's first product and kept
 * until the thread ends. */
void *lv_gemm_scratch(size_t bytes);

#endif
