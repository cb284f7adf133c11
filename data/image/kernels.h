/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loops of image preprocessing, one table a CPU level. All levels give the same bits.
 */
#ifndef LV_DATA_IMAGE_KERNELS_H
#define LV_DATA_IMAGE_KERNELS_H

#include "autograd/cpu.h"

#include <stddef.h>
#include <stdint.h>

enum {
    LV_IMAGE_WEIGHT_BITS = 22, /* fractional bits of a filter weight */
    LV_IMAGE_TAP_GROUP = 4,    /* filters are padded with weights of 0 to a multiple of it */
    LV_IMAGE_SLACK = 16        /* bytes after a row that may be read, and have no effect */
};

/* lv_image_columns: how the n pixels of a row that is written come from those of one that is read:
 *   out[i,c] = clip8(round(start[i,c] + sum_t weights[i,t] * row[first[i] + t, c])) */
typedef struct {
    size_t n;
    size_t max_taps;  /* a multiple of LV_IMAGE_TAP_GROUP */
    int32_t *first;   /* (n) */
    int32_t *n_taps;  /* (n) */
    int32_t *weights; /* (n, max_taps), 0 from n_taps on */
    int32_t *start;   /* (n, 4), the last not used; with what rounding adds */
} lv_image_columns;

typedef struct {
    /* narrow_row: out (n,3) and one byte more, which is spoilt; row with LV_IMAGE_SLACK bytes
     * after it. */
    void (*narrow_row)(uint8_t *out, const uint8_t *row, const lv_image_columns *columns);

    /* blend_rows: out[x] = clip8(round(pad_weight * pad[x] + sum_t weights[t] * rows[t,x]))
     * in   pad (n), weights (n_taps), rows (n_taps, n); rows is not NULL even if n_taps is 0 */
    void (*blend_rows)(uint8_t *out, const uint8_t *rows, const int32_t *weights, size_t n_taps,
                       const uint8_t *pad, int32_t pad_weight, size_t n);
} lv_image_kernels;

/* lv_image_kernels_at: the kernels for a level that the machine has. */
const lv_image_kernels *lv_image_kernels_at(lv_cpu_level level);

#endif
