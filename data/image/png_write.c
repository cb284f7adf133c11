/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_image_write_png, through libpng's simplified interface: into memory, then to the file at once.
 */
#include "data/image/image.h"

#include "autograd/error.h"
#include "data/base/file.h"

#include <png.h>
#include <stdlib.h>

int lv_image_write_png(const char *path, const lv_image *image)
{
    LV_CHECK(image->width > 0 && image->height > 0, "an image of %d x %d", image->width,
             image->height);
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)image->width,
                     .height = (png_uint_32)image->height,
                     .format = PNG_FORMAT_RGB};
    png_alloc_size_t n_bytes = PNG_IMAGE_PNG_SIZE_MAX(png);
    void *bytes = malloc(n_bytes);
    int rc;
    if (!bytes) {
        return lv_fail(LV_ERR_MEMORY, "%s: no memory for a PNG of %d x %d pixels", path,
                       image->width, image->height);
    }
    if (png_image_write_to_memory(&png, bytes, &n_bytes, 0, image->rgb, 0, NULL)) {
        rc = lv_file_write(path, bytes, n_bytes);
    } else {
        rc = lv_fail(LV_ERR_MEMORY, "%s: libpng: %s", path, png.message);
    }
    free(bytes);
    return rc;
}
