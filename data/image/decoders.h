/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of image.h share: decoders, and below them the memory of pixels.
 */
#ifndef LV_DATA_IMAGE_DECODERS_H
#define LV_DATA_IMAGE_DECODERS_H

#include "data/image/image.h"

/* Larger pictures are refused before memory is allocated; Pillow's limit for a decompression bomb
 * (0.5 GB of RGB). */
enum { LV_IMAGE_MAX_PIXELS = 178956970 };

/* lv_image_check_size: fails  LV_ERR_FORMAT beyond LV_IMAGE_MAX_PIXELS */
int lv_image_check_size(int64_t width, int64_t height);

/* lv_image_alloc: pixels of that size, not set.
 * fails  LV_ERR_FORMAT beyond LV_IMAGE_MAX_PIXELS, LV_ERR_MEMORY; out untouched */
int lv_image_alloc(lv_image *out, int64_t width, int64_t height);

/* The decoders: out is untouched on failure. */
int lv_image_decode_jpeg(lv_image *out, const uint8_t *bytes, size_t n);
int lv_image_decode_png(lv_image *out, const uint8_t *bytes, size_t n);
int lv_image_decode_webp(lv_image *out, const uint8_t *bytes, size_t n);

/* lv_image_check_jpeg: as lv_image_check. */
int lv_image_check_jpeg(int *width, int *height, const uint8_t *bytes, size_t n);

#endif
