/* SPDX-License-Identifier: Apache-2.0
 *
 * An image file. What decodes has every pixel set, within the limits, and can be made square.
 * lv_image_alloc is wrapped by the linker: it refuses what would take long, and fills new pixels
 * with another value each time, so that a pixel that the decoder leaves alone differs between two
 * runs.
 */
#include "data/image/decoders.h"
#include "tests/fuzz/support.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PIXELS = 1 << 20, SIZE = 24 };

__typeof__(lv_image_alloc) __real_lv_image_alloc, __wrap_lv_image_alloc;

int __wrap_lv_image_alloc(lv_image *out, int64_t width, int64_t height)
{
    static uint8_t fill;
    if (width > 0 && height > MAX_PIXELS / width) {
        return lv_fail(LV_ERR_MEMORY, "larger than is tried here");
    }
    int rc = __real_lv_image_alloc(out, width, height);
    if (rc == LV_OK) {
        memset(out->rgb, fill, (size_t)width * (size_t)height * 3);
        fill = (uint8_t)~fill;
    }
    return rc;
}

static void check_same(const lv_image *a, const lv_image *b, const char *what)
{
    LV_CHECK(a->width == b->width && a->height == b->height &&
                 memcmp(a->rgb, b->rgb, (size_t)a->width * (size_t)a->height * 3) == 0,
             "%s twice gives two pictures", what);
}

static void check_square(const lv_image *image, lv_aspect aspect)
{
    static float normal[3 * SIZE * SIZE];
    lv_image square = {0}, again = {0};
    fuzz_must(lv_image_square(&square, image, SIZE, aspect), "making it square");
    fuzz_must(lv_image_square(&again, image, SIZE, aspect), "making it square again");
    LV_CHECK(square.width == SIZE && square.height == SIZE, "a square of %d x %d", square.width,
             square.height);
    check_same(&square, &again, "making it square");
    lv_image_normalize(normal, &square, LV_CLIP_MEAN, LV_CLIP_STD);
    lv_image_free(&square);
    lv_image_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    lv_image image = {0}, again = {0};
    lv_image_format format = LV_IMAGE_RGB;
    int known = lv_image_format_of(&format, data, n);
    if (lv_image_decode(&image, data, n) < 0) {
        LV_CHECK(!image.rgb && !image.width && !image.height, "a failure left something behind");
        return 0;
    }
    LV_CHECK(known == LV_OK && format != LV_IMAGE_RGB, "it decodes, but its format is unknown");
    LV_CHECK(image.width > 0 && image.height > 0 && image.height <= MAX_PIXELS / image.width,
             "%d x %d pixels", image.width, image.height);
    fuzz_must(lv_image_decode(&again, data, n), "decoding it again");
    check_same(&image, &again, "decoding");
    lv_image_free(&again);
    check_square(&image, LV_ASPECT_SQUARE);
    check_square(&image, LV_ASPECT_PAD);
    lv_image_free(&image);
    return 0;
}
