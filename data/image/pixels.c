/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory of a picture's pixels, and pixels as a tower's input.
 */
#include "data/image/decoders.h"

#include "autograd/error.h"

#include <inttypes.h>
#include <stdlib.h>

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

/* A table: a channel has only 256 levels. Vectors gain nothing here. */
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
