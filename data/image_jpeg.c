/* SPDX-License-Identifier: Apache-2.0
 *
 * JPEG through libjpeg, with the settings that Pillow leaves at libjpeg's defaults (slow integer
 * DCT, smooth chroma upsampling).
 */
#include "data/image_decoders.h"

#include "autograd/error.h"

/* jpeglib.h needs stdio.h before it. */
#include <stdio.h>

#include <jerror.h>
#include <jpeglib.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>

/* Each scan of a progressive file costs a pass over the whole picture; encoders write 10 to 20. */
enum { MAX_SCANS = 100 };

typedef struct {
    struct jpeg_error_mgr manager; /* first: libjpeg hands out its address */
    jmp_buf leave;
    char reason[JMSG_LENGTH_MAX];
} error_state;

_Noreturn static void leave(j_common_ptr info)
{
    error_state *state = (error_state *)info->err;
    state->manager.format_message(info, state->reason);
    longjmp(state->leave, 1);
}

/* libjpeg warns and goes on with invented pixels where data is damaged. Of its warnings only those
 * are let pass after which every pixel is still the file's own. */
static bool is_harmless(int warning)
{
    return warning == JWRN_EXTRANEOUS_DATA || warning == JWRN_JFIF_MAJOR ||
           warning == JWRN_ADOBE_XFORM;
}

static void on_message(j_common_ptr info, int level)
{
    if (level < 0 && !is_harmless(info->err->msg_code)) {
        leave(info);
    }
}

static void print_nothing(j_common_ptr info)
{
    (void)info;
}

static void on_progress(j_common_ptr info)
{
    if (info->is_decompressor && ((j_decompress_ptr)info)->input_scan_number > MAX_SCANS) {
        error_state *state = (error_state *)info->err;
        snprintf(state->reason, sizeof state->reason, "more than %d scans", MAX_SCANS);
        longjmp(state->leave, 1);
    }
}

/* One row of inverted CMYK, the convention that Adobe began, to RGB as Pillow does it:
 * white - ink of the plate and of black, multiplied in 8 bits. */
static void row_from_cmyk(uint8_t *rgb, const uint8_t *cmyk, size_t n_pixels)
{
    for (size_t i = 0; i < n_pixels; i++) {
        int white = cmyk[4 * i + 3];
        for (size_t c = 0; c < 3; c++) {
            int product = (255 - cmyk[4 * i + c]) * white + 128;
            int level = white - (((product >> 8) + product) >> 8);
            rgb[3 * i + c] = (uint8_t)(level < 0 ? 0 : level);
        }
    }
}

/* Everything that may longjmp; image and row are the caller's, so that they outlive the jump. */
static int decode(j_decompress_ptr info, lv_image *image, uint8_t **row, const uint8_t *bytes,
                  size_t n)
{
    jpeg_mem_src(info, bytes, (unsigned long)n);
    jpeg_read_header(info, TRUE);
    int n_components = info->num_components;
    if (info->data_precision != 8 ||
        (n_components != 1 && n_components != 3 && n_components != 4)) {
        return lv_fail(LV_ERR_FORMAT, "%d components of %d bits (1, 3 or 4 of 8 are read)",
                       n_components, info->data_precision);
    }
    bool cmyk = n_components == 4;
    info->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    int rc = lv_image_alloc(image, info->image_width, info->image_height);
    if (rc < 0) {
        return rc;
    }
    jpeg_start_decompress(info);
    size_t width = info->output_width;
    LV_CHECK(info->output_components == (cmyk ? 4 : 3) && (int)width == image->width,
             "libjpeg gives another layout than it was asked for");
    if (cmyk && !(*row = malloc(width * 4))) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a row of pixels");
    }
    while (info->output_scanline < info->output_height) {
        uint8_t *rgb = image->rgb + (size_t)info->output_scanline * width * 3;
        JSAMPROW target = cmyk ? *row : rgb;
        jpeg_read_scanlines(info, &target, 1);
        if (cmyk) {
            row_from_cmyk(rgb, *row, width);
        }
    }
    jpeg_finish_decompress(info); /* reads on to the end mark, and so finds a cut behind the rows */
    return LV_OK;
}

int lv_image_decode_jpeg(lv_image *out, const uint8_t *bytes, size_t n)
{
    struct jpeg_decompress_struct info = {0};
    struct jpeg_progress_mgr progress = {.progress_monitor = on_progress};
    error_state state = {0};
    struct {
        lv_image image;
        uint8_t *row;
    } *held = calloc(1, sizeof *held); /* keeps its values over a longjmp */
    int rc;
    if (!held) {
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    info.err = jpeg_std_error(&state.manager);
    state.manager.error_exit = leave;
    state.manager.emit_message = on_message;
    state.manager.output_message = print_nothing;
    if (setjmp(state.leave) == 0) {
        jpeg_create_decompress(&info);
        info.progress = &progress;
        rc = decode(&info, &held->image, &held->row, bytes, n);
    } else {
        rc = lv_fail(state.manager.msg_code == JERR_OUT_OF_MEMORY ? LV_ERR_MEMORY : LV_ERR_FORMAT,
                     "JPEG: %s", state.reason);
    }
    jpeg_destroy_decompress(&info);
    if (rc == LV_OK) {
        *out = held->image;
    } else {
        lv_image_free(&held->image);
    }
    free(held->row);
    free(held);
    return rc;
}
