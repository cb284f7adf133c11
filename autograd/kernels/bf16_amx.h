/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory form of a tile configuration, as ldtilecfg reads it.
 * source Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, LDTILECFG
 */
#ifndef LV_AUTOGRAD_KERNELS_BF16_AMX_H
#define LV_AUTOGRAD_KERNELS_BF16_AMX_H

#include <stdint.h>

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16]; /* of tiles 0 to 7; the rest is 0 */
    uint8_t rows[16];
} lv_tile_shapes;
_Static_assert(sizeof(lv_tile_shapes) == 64, "the form has 64 bytes");

#endif
