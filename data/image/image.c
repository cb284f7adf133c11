/* SPDX-License-Identifier: Apache-2.0 */
#include "data/image/image.h"

#include "autograd/error.h"
#include "data/image/decoders.h"

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

int lv_image_check_size(int64_t width, int64_t height)
{
    LV_CHECK(width > 0 && height > 0, "an image of %" PRId64 " x %" PRId64, width, height);
    if (width > LV_IMAGE_MAX_PIXELS / height) {
        return lv_fail(LV_ERR_FORMAT, "%" PRId64 " x %" PRId64 " pixels, more than the limit of %d",
                       width, height, LV_IMAGE_MAX_PIXELS);
    }
    return LV_OK;
}

int lv_image_alloc(lv_image *out, int64_t width, int64_t height)
{
    int rc = lv_image_check_size(width, height);
    if (rc < 0) {
        return rc;
    }
    uint8_t *rgb = malloc((size_t)width * (size_t)height * 3);
    if (!rgb) {
        return lv_fail(LV_ERR_MEMORY, "no memory for %" PRId64 " x %" PRId64 " pixels", width,
                       height);
    }
    *out = (lv_image){.width = (int)width, .height = (int)height, .rgb = rgb};
    return LV_OK;
}

typedef struct {
    size_t at;         /* where in the file */
    const char *start; /* what stands there */
    size_t n;
    const char *name;
} signature;

/* What else people keep under the name of a photograph, for the message. */
static const signature others[] = {
    {0, "GIF8", 4, "a GIF file"},
    {0, "BM", 2, "a BMP file"},
    {0, "II*\0", 4, "a TIFF file"},
    {0, "MM\0*", 4, "a TIFF file"},
    {0, "II+\0", 4, "a BigTIFF file"},
    {0, "MM\0+", 4, "a BigTIFF file"},
    {4, "ftypavif", 8, "an AVIF file"},
    {4, "ftypavis", 8, "an AVIF file"},
    {4, "ftyphei", 7, "a HEIC file"},
    {4, "ftyphev", 7, "a HEIC file"},
    {4, "ftypmif1", 8, "a HEIC or AVIF file"},
    {4, "ftypmsf1", 8, "a HEIC or AVIF file"},
    {4, "ftyp", 4, "an MP4 video"},
    {4, "JXL \r\n\x87\n", 8, "a JPEG XL file"},
    {0, "\xFF\x0A", 2, "a JPEG XL file"},
    {4, "jP  \r\n\x87\n", 8, "a JPEG 2000 file"},
    {0, "\xFF\x4F\xFF\x51", 4, "a JPEG 2000 file"},
    {0, "8BPS", 4, "a Photoshop file"},
    {0, "\0\0\1\0", 4, "an ICO file"},
    {0, "%PDF", 4, "a PDF file"},
    {0, "<", 1, "a text such as HTML or SVG"},
};

static bool has_signature(const uint8_t *bytes, size_t n, const signature *s)
{
    return n >= s->at + s->n && memcmp(bytes + s->at, s->start, s->n) == 0;
}

static const char *other_format(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (has_signature(bytes, n, &others[i])) {
            return others[i].name;
        }
    }
    return n == 0 ? "an empty file" : "something else";
}

const char *lv_image_format_name(int format)
{
    static const char *const names[LV_N_IMAGE_FORMATS] = {"RGB", "JPEG", "PNG", "WebP"};
    return format >= 0 && format < LV_N_IMAGE_FORMATS ? names[format] : "unknown";
}

const char *lv_aspect_name(lv_aspect aspect)
{
    return aspect == LV_ASPECT_PAD ? "pad" : "square";
}

int lv_image_format_of(lv_image_format *out, const uint8_t *bytes, size_t n)
{
    static const signature jpeg = {0, "\xFF\xD8\xFF", 3, ""};
    static const signature png = {0, "\x89PNG\r\n\x1A\n", 8, ""};
    static const signature riff = {0, "RIFF", 4, ""}, webp = {8, "WEBP", 4, ""};
    if (has_signature(bytes, n, &jpeg)) {
        *out = LV_IMAGE_JPEG;
    } else if (has_signature(bytes, n, &png)) {
        *out = LV_IMAGE_PNG;
    } else if (has_signature(bytes, n, &riff) && has_signature(bytes, n, &webp)) {
        *out = LV_IMAGE_WEBP;
    } else {
        return lv_fail(LV_ERR_FORMAT,
                       "found %s; JPEG, PNG and WebP are read: convert it to one of them",
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
    return format == LV_IMAGE_JPEG  ? lv_image_decode_jpeg(out, bytes, n)
           : format == LV_IMAGE_PNG ? lv_image_decode_png(out, bytes, n)
                                    : lv_image_decode_webp(out, bytes, n);
}

int lv_image_check(int *width, int *height, const uint8_t *bytes, size_t n)
{
    lv_image_format format;
    lv_image image = {0};
    int rc = lv_image_format_of(&format, bytes, n);
    if (rc == LV_OK && format == LV_IMAGE_JPEG) {
        return lv_image_check_jpeg(width, height, bytes, n);
    }
    if (rc == LV_OK) rc = lv_image_decode(&image, bytes, n);
    if (rc == LV_OK) {
        *width = image.width;
        *height = image.height;
        lv_image_free(&image);
    }
    return rc;
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
