/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/vector.h"

#include "autograd/cpu.h"

extern const lv_vector_kernels lv_table_portable;
#ifdef LV_VECTOR_X86
extern const lv_vector_kernels lv_table_avx2, lv_table_avx512;
#endif

const lv_vector_kernels *lv_vector(void)
{
#ifdef LV_VECTOR_X86
    switch (lv_cpu()) {
    case LV_CPU_PORTABLE:
        break;
    case LV_CPU_AVX2:
        return &lv_table_avx2;
    case LV_CPU_AVX512:
    case LV_CPU_AVX512_BF16:
    case LV_CPU_AMX:
        return &lv_table_avx512;
    }
#endif
    return &lv_table_portable;
}
