/* SPDX-License-Identifier: Apache-2.0
 *
 * WebP through libwebp, lossy and lossless. Alpha is dropped, not blended; of an animation the
 * first frame is taken, on a black canvas where it is smaller: as Pillow, which goes through
 * libwebp's animation decoder and convert("RGB").
 */
#include "data/image/decoders.h"

#include "autograd/error.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

/* Alpha is decoded too, so that damage to it is found. */
static int decode_frame(lv_image *canvas, const WebPIterator *frame)
{
    size_t width = (size_t)frame->width, height = (size_t)frame->height;
    size_t n_bytes = width * height * 4;
    uint8_t *rgba = malloc(n_bytes);
    if (!rgba) {
        return lv_fail(LV_ERR_MEMORY, "no memory for %zu x %zu pixels", width, height);
    }
    if (!WebPDecodeRGBAInto(frame->fragment.bytes, frame->fragment.size, rgba, n_bytes,
                            frame->width * 4)) {
        free(rgba);
        return lv_fail(LV_ERR_FORMAT, "WebP: the picture's data are damaged");
    }
    for (size_t y = 0; y < height; y++) {
        size_t at = ((size_t)frame->y_offset + y) * (size_t)canvas->width + (size_t)frame->x_offset;
        uint8_t *to = canvas->rgb + 3 * at;
        const uint8_t *from = rgba + 4 * y * width;
        for (size_t x = 0; x < width; x++, to += 3, from += 4) {
            to[0] = from[0];
            to[1] = from[1];
            to[2] = from[2];
        }
    }
    free(rgba);
    return LV_OK;
}

int lv_image_decode_webp(lv_image *out, const uint8_t *bytes, size_t n)
{
    WebPData data = {.bytes = bytes, .size = n};
    WebPIterator frame = {0};
    lv_image canvas = {0};
    int rc;
    WebPDemuxer *demuxer = WebPDemux(&data);
    if (!demuxer || !WebPDemuxGetFrame(demuxer, 1, &frame)) {
        rc = lv_fail(LV_ERR_FORMAT, "WebP: the file is cut short or its chunks are damaged");
        goto done;
    }
    int64_t width = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH);
    int64_t height = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT);
    if (frame.width <= 0 || frame.height <= 0 || frame.x_offset < 0 || frame.y_offset < 0 ||
        frame.x_offset + (int64_t)frame.width > width ||
        frame.y_offset + (int64_t)frame.height > height) {
        rc = lv_fail(LV_ERR_FORMAT,
                     "WebP: a frame of %d x %d at (%d, %d) outside the %" PRId64 " x %" PRId64
                     " canvas",
                     frame.width, frame.height, frame.x_offset, frame.y_offset, width, height);
        goto done;
    }
    rc = lv_image_alloc(&canvas, width, height);
    if (rc < 0) {
        goto done;
    }
    if (frame.width < width || frame.height < height) {
        memset(canvas.rgb, 0, 3 * (size_t)width * (size_t)height);
    }
    rc = decode_frame(&canvas, &frame);
    if (rc < 0) {
        goto done;
    }
    *out = canvas;
    canvas = (lv_image){0};
done:
    lv_image_free(&canvas);
    WebPDemuxReleaseIterator(&frame);
    WebPDemuxDelete(demuxer);
    return rc;
}
