/* SPDX-License-Identifier: Apache-2.0
 *
 * PNG through libpng. libpng inflates, unfilters and deinterlaces; the step to RGB is taken here,
 * because Pillow's differs from libpng's: alpha is dropped (not blended), tRNS and gAMA have no
 * effect, 16-bit gray is clipped at 255, 16-bit colour keeps its high byte, an index outside the
 * palette is black.
 */
#include "data/image/decoders.h"

#include "autograd/error.h"
#include "data/base/file.h"

#include <png.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    jmp_buf leave;
    char reason[128];
    const uint8_t *bytes;
    size_t n, at;
} reader;

typedef struct {
    lv_image image;
    uint8_t *raw;   /* as libpng gives it: one row of 8 or 16 bits a channel, all if interlaced */
    uint8_t **rows; /* into raw, if interlaced */
} picture;

/* How the rows that libpng gives are laid out. */
typedef struct {
    size_t width, height;
    size_t pixel_bytes, channel_bytes;
    int bit_depth, color_type; /* of the file */
    uint8_t palette[256][3];
} layout;

static void on_error(png_structp png, png_const_charp message)
{
    reader *source = png_get_error_ptr(png);
    snprintf(source->reason, sizeof source->reason, "%s", message);
    longjmp(source->leave, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep to, size_t n)
{
    reader *source = png_get_io_ptr(png);
    if (n > source->n - source->at) {
        png_error(png, "the file ends too early");
    }
    memcpy(to, source->bytes + source->at, n);
    source->at += n;
}

static void set_limits(png_structp png)
{
    /* Only IHDR, PLTE and IDAT matter: the others are skipped, neither inflated nor kept. */
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_chunk_malloc_max(png, 0); /* no limit on their length */
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
}

static void color_to_rgb(uint8_t *rgb, const uint8_t *pixel, const layout *how)
{
    size_t green = how->channel_bytes, blue = 2 * how->channel_bytes;
    for (size_t x = 0; x < how->width; x++, rgb += 3, pixel += how->pixel_bytes) {
        rgb[0] = pixel[0];
        rgb[1] = pixel[green];
        rgb[2] = pixel[blue];
    }
}

static void gray_to_rgb(uint8_t *rgb, const uint8_t *pixel, const layout *how)
{
    bool clips = how->bit_depth == 16 && how->color_type == PNG_COLOR_TYPE_GRAY;
    for (size_t x = 0; x < how->width; x++, rgb += 3, pixel += how->pixel_bytes) {
        uint8_t level = !clips ? pixel[0] : pixel[0] > 0 ? 255 : pixel[1];
        rgb[0] = rgb[1] = rgb[2] = level;
    }
}

static void row_to_rgb(uint8_t *rgb, const uint8_t *row, const layout *how)
{
    if (how->color_type == PNG_COLOR_TYPE_PALETTE) {
        for (size_t x = 0; x < how->width; x++) {
            memcpy(rgb + 3 * x, how->palette[row[x]], 3);
        }
    } else if (how->color_type & PNG_COLOR_MASK_COLOR) {
        color_to_rgb(rgb, row, how);
    } else {
        gray_to_rgb(rgb, row, how);
    }
}

/* From here on functions may longjmp. */
static int read_png_header(png_structp png, png_infop info, layout *how)
{
    png_colorp palette = NULL;
    int n_palette = 0;
    png_read_info(png, info);
    how->width = png_get_image_width(png, info);
    how->height = png_get_image_height(png, info);
    how->bit_depth = png_get_bit_depth(png, info);
    how->color_type = png_get_color_type(png, info);
    int rc = lv_image_check_size((int64_t)how->width, (int64_t)how->height);
    if (rc < 0) {
        return rc;
    }
    if (png_get_PLTE(png, info, &palette, &n_palette)) {
        for (int i = 0; i < n_palette; i++) {
            memcpy(how->palette[i], (uint8_t[3]){palette[i].red, palette[i].green, palette[i].blue},
                   3);
        }
    }
    if (how->color_type == PNG_COLOR_TYPE_GRAY && how->bit_depth < 8) {
        png_set_expand_gray_1_2_4_to_8(png);
    } else if (how->bit_depth < 8) {
        png_set_packing(png);
    }
    return LV_OK;
}

/* An interlaced picture comes in seven passes over all of its rows. */
static int read_interlaced(png_structp png, picture *held, const layout *how)
{
    size_t row_bytes = how->width * how->pixel_bytes;
    held->raw = malloc(row_bytes * how->height);
    held->rows = malloc(sizeof *held->rows * how->height);
    if (!held->raw || !held->rows) {
        return lv_fail(LV_ERR_MEMORY, "no memory for %zu x %zu pixels", how->width, how->height);
    }
    for (size_t y = 0; y < how->height; y++) {
        held->rows[y] = held->raw + y * row_bytes;
    }
    png_read_image(png, held->rows);
    for (size_t y = 0; y < how->height; y++) {
        row_to_rgb(held->image.rgb + 3 * y * how->width, held->rows[y], how);
    }
    return LV_OK;
}

static int read_in_order(png_structp png, picture *held, const layout *how)
{
    held->raw = malloc(how->width * how->pixel_bytes);
    if (!held->raw) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a row of %zu pixels", how->width);
    }
    for (size_t y = 0; y < how->height; y++) {
        png_read_row(png, held->raw, NULL);
        row_to_rgb(held->image.rgb + 3 * y * how->width, held->raw, how);
    }
    return LV_OK;
}

static int read_picture(png_structp png, png_infop info, picture *held, layout *how)
{
    int rc = read_png_header(png, info, how);
    if (rc == LV_OK) rc = lv_image_alloc(&held->image, (int64_t)how->width, (int64_t)how->height);
    if (rc < 0) {
        return rc;
    }
    bool interlaced = png_set_interlace_handling(png) > 1;
    png_read_update_info(png, info);
    how->channel_bytes = how->bit_depth == 16 ? 2 : 1;
    how->pixel_bytes = how->channel_bytes * png_get_channels(png, info);
    LV_CHECK(png_get_rowbytes(png, info) == how->width * how->pixel_bytes,
             "libpng gives another layout than it was asked for");
    rc = interlaced ? read_interlaced(png, held, how) : read_in_order(png, held, how);
    if (rc == LV_OK) {
        png_read_end(png, NULL);
    }
    return rc;
}

int lv_image_decode_png(lv_image *out, const uint8_t *bytes, size_t n)
{
    reader source = {.bytes = bytes, .n = n};
    layout how = {0};
    png_infop info = NULL;
    int rc = LV_ERR_MEMORY;
    picture *held = calloc(1, sizeof *held); /* keeps its values over a longjmp */
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, on_error, on_warning);
    if (png) {
        info = png_create_info_struct(png);
    }
    if (!held || !info) {
        rc = lv_fail(LV_ERR_MEMORY, "out of memory");
        goto done;
    }
    if (setjmp(source.leave) == 0) {
        png_set_read_fn(png, &source, on_read);
        set_limits(png);
        rc = read_picture(png, info, held, &how);
    } else {
        rc = lv_fail(LV_ERR_FORMAT, "PNG: %s", source.reason);
    }
    if (rc == LV_OK) {
        *out = held->image;
        held->image = (lv_image){0};
    }
done:
    png_destroy_read_struct(&png, &info, NULL);
    if (held) {
        lv_image_free(&held->image);
        free(held->raw);
        free(held->rows);
    }
    free(held);
    return rc;
}

/* Through libpng's simplified interface: into memory, then to the file at once. */
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
