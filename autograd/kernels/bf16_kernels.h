/* SPDX-License-Identifier: Apache-2.0
 *
 * What lies behind lv_bf16_multiply and lv_gemm.
 */
#ifndef LV_AUTOGRAD_KERNELS_BF16_KERNELS_H
#define LV_AUTOGRAD_KERNELS_BF16_KERNELS_H

#include "autograd/kernels/bf16.h"
#include "autograd/kernels/parallel.h"

/* lv_bf16_gemm: rows m and columns n of a product whose A is bf16, on the calling thread. */
void lv_bf16_gemm(const lv_gemm_args *x, lv_range m, lv_range n);

/* lv_matrix_part: x from (row, column) of what it stands for on. */
lv_matrix lv_matrix_part(const lv_matrix *x, int64_t row, int64_t column);

/* lv_bf16_beside: other work of the same thread in small units, of which kernels run some after
 * every step, while tiles or multipliers are busy and memory is not: packing what comes next,
 * finishing what came before. */
typedef struct {
    void (*run)(void *of, int64_t unit);
    void *of;
    int64_t units, done;
    int64_t due; /* of a unit, in steps of a kernel's total */
} lv_bf16_beside;

/* After one of total steps. */
static inline __attribute__((always_inline)) void lv_bf16_run_beside(lv_bf16_beside *x,
                                                                     int64_t total)
{
    x->due += x->units;
    while (x->due >= total) {
        x->due -= total;
        x->run(x->of, x->done++);
    }
}

/* lv_bf16_multiply_beside: lv_bf16_multiply, and all units of beside. strip: from 32 columns of C
 * to the next 32; more than 32 for tiles alone. */
typedef void lv_bf16_kernel(lv_real *C, int64_t ldc, int64_t strip, bool add, const uint16_t *A,
                            int64_t lda, const uint16_t *B, int64_t M, int64_t N, int64_t K,
                            lv_bf16_beside *beside);
lv_bf16_kernel lv_bf16_multiply_beside;

/* lv_bf16_has_tiles: the kernel that lv_cpu() chooses is the one of tiles. */
bool lv_bf16_has_tiles(void);

/* lv_bf16_finish: vector.def's gemm_finish, as fast as the CPU can round. */
typedef void lv_gemm_finish(void *C, lv_dtype C_dtype, int64_t ldc, bool add, const lv_real *sums,
                            int64_t ld, const lv_real *bias, const void *residual, int64_t M,
                            int64_t N);
lv_gemm_finish *lv_bf16_finish(void);

/* The kernels that need more than vector.h's levels. */
#ifdef LV_VECTOR_X86
lv_bf16_kernel lv_bf16_multiply_pairs, lv_bf16_multiply_amx;
lv_gemm_finish lv_bf16_finish_pairs;
#endif

#endif
