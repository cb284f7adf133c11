/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LV_TESTS_SUPPORT_TOYS_TOYS_H
#define LV_TESTS_SUPPORT_TOYS_TOYS_H

#include "autograd/tensor.h"

enum { TOY_BEGIN = 8 }; /* bytes before the first record */

/* One tensor of a file of toy weights. */
typedef struct {
    char name[64];
    int64_t n_dims, shape[LV_MAX_DIMS];
} toy_record;

#endif
