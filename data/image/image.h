/* SPDX-License-Identifier: Apache-2.0
 *
 * Images: decoded to RGB as Pillow does, and preprocessed as CLIPImageProcessor does.
 */
#ifndef LV_DATA_IMAGE_IMAGE_H
#define LV_DATA_IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    LV_IMAGE_RGB = 0,
    LV_IMAGE_JPEG = 1,
    LV_IMAGE_PNG = 2,
    LV_IMAGE_WEBP = 3,
    LV_N_IMAGE_FORMATS
} lv_image_format;
typedef enum { LV_ASPECT_SQUARE, LV_ASPECT_PAD } lv_aspect;

/* lv_image: start it with {0}; pixels are its own. */
typedef struct {
    int width, height;
    uint8_t *rgb; /* (height, width, 3) */
} lv_image;
void lv_image_free(lv_image *image);

/* lv_image_format_of: by the first bytes.
 * fails  LV_ERR_FORMAT if it is neither JPEG, PNG nor WebP, with the name of its format */
int lv_image_format_of(lv_image_format *out, const uint8_t *bytes, size_t n);

/* lv_image_format_name: "JPEG"; "unknown" of a number that is none. */
const char *lv_image_format_name(int format);

/* lv_aspect_name: "square" or "pad". */
const char *lv_aspect_name(lv_aspect aspect);

/* lv_image_decode: the whole file, or nothing: a truncated or damaged one is refused. Gray, CMYK,
 * palette, 16 bits and transparency as Pillow's convert("RGB"); of an animation the first frame.
 * EXIF orientation is not applied, as in LLaVA.
 * fails  LV_ERR_FORMAT with the decoder's reason, LV_ERR_MEMORY */
int lv_image_decode(lv_image *out, const uint8_t *bytes, size_t n);

/* lv_image_check: that lv_image_decode would succeed on these bytes, and the picture's size, in
 * less time: of a JPEG all compressed data are read, but the transform to pixels, which cannot
 * fail, is left out.
 * fails  as lv_image_decode */
int lv_image_check(int *width, int *height, const uint8_t *bytes, size_t n);

/* lv_image_square: cropped or padded, and resized, to size x size pixels, 8 bits a channel.
 * square: shortest edge to size (bicubic, antialiased, as Pillow), the long edge
 *         int(size*long/short), centre crop.
 * pad:    first to a square with the mean colour (122,116,104), at offset difference/2
 * fails  LV_ERR_MEMORY */
int lv_image_square(lv_image *out, const lv_image *in, int size, lv_aspect aspect);

/* lv_image_normalize: out (3,S,S) = (rgb/255 - mean) / std, channel by channel. */
void lv_image_normalize(float *out, const lv_image *square, const float mean[3],
                        const float std[3]);

/* lv_image_write_png: the picture as an 8-bit RGB PNG, whole or not at all; a file of that name is
 * replaced.
 * fails  LV_ERR_IO with the path, LV_ERR_MEMORY */
int lv_image_write_png(const char *path, const lv_image *image);

/* CLIP's mean and standard deviation, for a tower without preprocessor_config.json. */
extern const float LV_CLIP_MEAN[3], LV_CLIP_STD[3];

#endif
