/* SPDX-License-Identifier: Apache-2.0
 *
 * llava inspect PACK --sample K --png FILE: an image as the input of the vision tower, without the
 * normalisation.
 */
#include "tools/inspect/inspect.h"

#include "autograd/error.h"
#include "data/loader/batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static lv_aspect aspect_of(lv_pack *pack, const char *text)
{
    lv_aspect aspect = LV_ASPECT_SQUARE;
    if (text) {
        return strcmp(text, "pad") == 0 ? LV_ASPECT_PAD : LV_ASPECT_SQUARE;
    }
    lv_pack_stored_size(pack, &aspect);
    return aspect;
}

static int write_image(lv_pack *pack, int64_t image_id, const lv_vision_input *vision,
                       const char *path)
{
    lv_aspect stored;
    lv_image image = {0}, square = {0};
    int rc = lv_pack_read_image(pack, image_id, &image);
    if (rc == LV_OK && lv_pack_stored_size(pack, &stored) > 0) {
        rc = lv_image_write_png(path, &image);
    } else if (rc == LV_OK) {
        rc = lv_image_square(&square, &image, vision->image_size, vision->aspect);
        if (rc == LV_OK) rc = lv_image_write_png(path, &square);
    }
    lv_image_free(&image);
    lv_image_free(&square);
    return rc;
}

int lv_inspect_png(lv_pack *pack, const int64_t *image_ids, int n_images,
                   const lv_inspect_options *options)
{
    const int64_t i = options->image == LV_NOT_GIVEN ? 0 : options->image;
    const lv_vision_input vision = {.image_size = lv_inspect_image_size(pack, options),
                                    .aspect = aspect_of(pack, options->aspect)};
    int rc = lv_batch_check_pack(pack, &vision);
    if (rc < 0) {
        return rc;
    }
    if (n_images == 0) {
        return lv_fail(LV_ERR_CONFIG, "--png: this sample has no image");
    }
    if (i < 0 || i >= n_images) {
        return lv_fail(LV_ERR_CONFIG, "--image %" PRId64 ": this sample has %d image%s, from 0", i,
                       n_images, n_images == 1 ? "" : "s");
    }
    rc = write_image(pack, image_ids[i], &vision, options->png);
    if (rc == LV_OK && !options->json) {
        printf("wrote %s: image %" PRId64 " of %d as %d x %d, %s\n", options->png, i, n_images,
               vision.image_size, vision.image_size, lv_aspect_name(vision.aspect));
    }
    return rc;
}
