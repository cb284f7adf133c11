/* SPDX-License-Identifier: Apache-2.0 */
#include "data/image.h"

#include "autograd/error.h"
#include "data/image_decoders.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

const float LV_CLIP_MEAN[3] = {0.48145466F, 0.4578275F, 0.40821073F};
const float LV_CLIP_STD[3] = {0.26862954F, 0.26130258F, 0.27577711F};

void lv_image_free(lv_image *image)
{
    free(image->rgb);
    *image = (lv_image){0};
}

int lv_image_alloc(lv_image *out, int64_t width, int64_t height)
{
    LV_CHECK(width > 0 && height > 0, "an image of %" PRId64 " x %" PRId64, width, height);
    if (width > LV_IMAGE_MAX_PIXELS / height) {
        return lv_fail(LV_ERR_FORMAT, "%" PRId64 " x %" PRId64 " pixels, more than the limit of %d",
                       width, height, LV_IMAGE_MAX_PIXELS);
    }
    uint8_t *rgb = malloc((size_t)width * (size_t)height * 3);
    if (!rgb) {
        return lv_fail(LV_ERR_MEMORY, "no memory for %" PRId64 " x %" PRId64 " pixels", width,
                       height);
    }
    *out = (lv_image){.width = (int)width, .height = (int)height, .rgb = rgb};
    return LV_OK;
}

static bool starts_with(const uint8_t *bytes, size_t n, const void *start, size_t n_start)
{
    return n >= n_start && memcmp(bytes, start, n_start) == 0;
}

/* What else people keep under the name of a photograph, for the message. */
static const char *other_format(const uint8_t *bytes, size_t n)
{
    if (n >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0) {
        return "a WebP file";
    }
    if (n >= 12 && memcmp(bytes + 4, "ftyp", 4) == 0) {
        return "a HEIF, AVIF or MP4 file";
    }
    return n == 0                              ? "an empty file"
           : starts_with(bytes, n, "GIF8", 4)  ? "a GIF file"
           : starts_with(bytes, n, "BM", 2)    ? "a BMP file"
           : starts_with(bytes, n, "II*\0", 4) ? "a TIFF file"
           : starts_with(bytes, n, "MM\0*", 4) ? "a TIFF file"
           : bytes[0] == '<'                   ? "a text such as HTML"
                                               : "something else";
}

int lv_image_format_of(lv_image_format *out, const uint8_t *bytes, size_t n)
{
    if (starts_with(bytes, n, "\xFF\xD8\xFF", 3)) {
        *out = LV_IMAGE_JPEG;
    } else if (starts_with(bytes, n, "\x89PNG\r\n\x1A\n", 8)) {
        *out = LV_IMAGE_PNG;
    } else {
        return lv_fail(LV_ERR_FORMAT, "expected a JPEG or PNG file, found %s",
                       other_format(bytes, n));
    }
    return LV_OK;
}

int lv_image_decode(lv_image *out, const uint8_t *bytes, size_t n)
{
    lv_image_format format;
    int rc = lv_image_format_of(&format, bytes, n);
    if (rc < 0) {
        return rc;
    }
    return format == LV_IMAGE_JPEG ? lv_image_decode_jpeg(out, bytes, n)
                                   : lv_image_decode_png(out, bytes, n);
}

/* There are only 256 levels a channel, so that each value is looked up. Vectors gain nothing here.
 */
void lv_image_normalize(float *out, const lv_image *square, const float mean[3], const float std[3])
{
    size_t n = (size_t)square->width * (size_t)square->height;
    const uint8_t *rgb = square->rgb;
    float level[3][256];
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < 256; i++) {
            level[c][i] = ((float)i * (1.0F / 255.0F) - mean[c]) / std[c];
        }
    }
    for (size_t i = 0; i < n; i++, rgb += 3) {
        out[i] = level[0][rgb[0]];
        out[n + i] = level[1][rgb[1]];
        out[2 * n + i] = level[2][rgb[2]];
    }
}
