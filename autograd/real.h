/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_real: the type of all arithmetic, float in the product. The gradient tests build this whole
 * folder a second time with LV_REAL_F64, so that central differences have the digits they need;
 * LV_F32 then means "stored as lv_real". Use <tgmath.h> for functions of lv_real.
 */
#ifndef LV_AUTOGRAD_REAL_H
#define LV_AUTOGRAD_REAL_H

#include <stdint.h>

#ifdef LV_REAL_F64
typedef double lv_real;
#else
typedef float lv_real;
#endif

static inline int64_t lv_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t lv_max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#endif
