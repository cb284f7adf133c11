/* SPDX-License-Identifier: Apache-2.0
 *
 * JPEG through libjpeg, with the settings that Pillow leaves at libjpeg's defaults (slow integer
 * DCT, smooth chroma upsampling).
 */
#include "data/image/decoders.h"

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

/* libjpeg warns and continues with invented pixels where data is damaged. Only warnings after
 * which every pixel is still the file's own are accepted (NOT_SEQUENTIAL: a baseline file whose
 * scan header has zeros for the numbers that only progressive ones use). */
static bool is_harmless(int warning)
{
    return warning == JWRN_EXTRANEOUS_DATA || warning == JWRN_JFIF_MAJOR ||
           warning == JWRN_ADOBE_XFORM || warning == JWRN_NOT_SEQUENTIAL;
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

/* What decoding holds; on the heap, so that it keeps its values over a longjmp. */
typedef struct {
    struct jpeg_decompress_struct info;
    struct jpeg_progress_mgr progress;
    error_state errors;
    lv_image image;
    uint8_t *row;
} decoder;

/* A function that may longjmp. */
typedef int decode_step(decoder *d, const uint8_t *bytes, size_t n);

static int read_jpeg_header(decoder *d, const uint8_t *bytes, size_t n)
{
    jpeg_mem_src(&d->info, bytes, (unsigned long)n);
    jpeg_read_header(&d->info, TRUE);
    int n_components = d->info.num_components;
    if (d->info.data_precision != 8 ||
        (n_components != 1 && n_components != 3 && n_components != 4)) {
        return lv_fail(LV_ERR_FORMAT, "JPEG: %d components of %d bits (1, 3 or 4 of 8 are read)",
                       n_components, d->info.data_precision);
    }
    return LV_OK;
}

static int read_jpeg_pixels(decoder *d, const uint8_t *bytes, size_t n)
{
    struct jpeg_decompress_struct *info = &d->info;
    int rc = read_jpeg_header(d, bytes, n);
    if (rc < 0) {
        return rc;
    }
    bool cmyk = info->num_components == 4;
    info->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    rc = lv_image_alloc(&d->image, info->image_width, info->image_height);
    if (rc < 0) {
        return rc;
    }
    jpeg_start_decompress(info);
    size_t width = info->output_width;
    LV_CHECK(info->output_components == (cmyk ? 4 : 3) && (int)width == d->image.width,
             "libjpeg gives another layout than it was asked for");
    if (cmyk && !(d->row = malloc(width * 4))) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a row of pixels");
    }
    while (info->output_scanline < info->output_height) {
        uint8_t *rgb = d->image.rgb + (size_t)info->output_scanline * width * 3;
        JSAMPROW target = cmyk ? d->row : rgb;
        jpeg_read_scanlines(info, &target, 1);
        if (cmyk) {
            row_from_cmyk(rgb, d->row, width);
        }
    }
    jpeg_finish_decompress(info); /* reads up to the end mark, and so finds a cut after the rows */
    return LV_OK;
}

/* At an eighth of the size libjpeg decodes every code, but transforms only each block's mean. */
static int read_codes(decoder *d, const uint8_t *bytes, size_t n)
{
    struct jpeg_decompress_struct *info = &d->info;
    int rc = read_jpeg_header(d, bytes, n);
    if (rc == LV_OK) rc = lv_image_check_size(info->image_width, info->image_height);
    if (rc < 0) {
        return rc;
    }
    info->scale_num = 1;
    info->scale_denom = 8;
    info->out_color_space = info->jpeg_color_space;
    info->do_fancy_upsampling = FALSE;
    jpeg_start_decompress(info);
    d->row = malloc((size_t)info->output_width * (size_t)info->output_components);
    if (!d->row) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a row of pixels");
    }
    while (info->output_scanline < info->output_height) {
        jpeg_read_scanlines(info, &d->row, 1);
    }
    jpeg_finish_decompress(info);
    return LV_OK;
}

static int run_step(decoder *d, decode_step *step, const uint8_t *bytes, size_t n)
{
    int rc;
    d->progress.progress_monitor = on_progress;
    d->info.err = jpeg_std_error(&d->errors.manager);
    d->errors.manager.error_exit = leave;
    d->errors.manager.emit_message = on_message;
    d->errors.manager.output_message = print_nothing;
    if (setjmp(d->errors.leave) == 0) {
        jpeg_create_decompress(&d->info);
        d->info.progress = &d->progress;
        rc = step(d, bytes, n);
    } else {
        bool no_memory = d->errors.manager.msg_code == JERR_OUT_OF_MEMORY;
        rc = lv_fail(no_memory ? LV_ERR_MEMORY : LV_ERR_FORMAT, "JPEG: %s", d->errors.reason);
    }
    jpeg_destroy_decompress(&d->info);
    return rc;
}

int lv_image_decode_jpeg(lv_image *out, const uint8_t *bytes, size_t n)
{
    decoder *d = calloc(1, sizeof *d);
    if (!d) {
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    int rc = run_step(d, read_jpeg_pixels, bytes, n);
    if (rc == LV_OK) {
        *out = d->image;
    } else {
        lv_image_free(&d->image);
    }
    free(d->row);
    free(d);
    return rc;
}

int lv_image_check_jpeg(int *width, int *height, const uint8_t *bytes, size_t n)
{
    decoder *d = calloc(1, sizeof *d);
    if (!d) {
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    int rc = run_step(d, read_codes, bytes, n);
    if (rc == LV_OK) {
        *width = (int)d->info.image_width;
        *height = (int)d->info.image_height;
    }
    free(d->row);
    free(d);
    return rc;
}
