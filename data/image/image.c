/* SPDX-License-Identifier: Apache-2.0 */
#include "data/image/image.h"

#include "autograd/error.h"
#include "data/image/decoders.h"

#include <stdbool.h>
#include <string.h>

typedef struct {
    size_t at;         /* where in the file */
    const char *start; /* the bytes there */
    size_t n;
    const char *name;
} signature;

/* Other formats that are found under names of photographs, for the message. */
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
