/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_image_square: padding, antialiased bicubic resizing and centre crop in one pass over the
 * source rows. Only what survives the crop is computed, and no padded or resized picture is ever
 * stored, so that memory stays small for the most elongated image.
 *
 * The numbers are Pillow's 8-bit resampling (facts from its Resample.c and documentation): along an
 * axis of `in` pixels that becomes `out`, with scale = in/out and width = max(scale, 1), the output
 * pixel i is
 *     sum_x w((x + 0.5 - (i + 0.5) * scale) / width) * pixel[x] / sum_x w(...)
 *     over x in [floor(centre - 2*width + 0.5), floor(centre + 2*width + 0.5)), cut to the image,
 * w the cubic of Keys (1981) with a = -0.5. Weights are rounded to 22 fractional bits; the
 * horizontal result is rounded and clipped to 8 bits before the vertical pass.
 */
#include "data/image_decoders.h"

#include "autograd/error.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { WEIGHT_BITS = 22 };

static const uint8_t PAD_COLOR[3] = {122, 116, 104}; /* CLIP's mean * 255 */

/* One axis: for each of n kept output pixels, its first source pixel, how many, their weights. */
typedef struct {
    size_t n, max_taps;
    int64_t *first;
    int32_t *n_taps;
    int32_t *weights; /* [n][max_taps] */
} filter;

static void filter_free(filter *f)
{
    free(f->first);
    free(f->n_taps);
    free(f->weights);
    *f = (filter){0};
}

static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    }
    return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : 0.0;
}

/* The weights of output pixel i of an axis of `in` pixels, exact[] as work space. */
static void weights_of(filter *f, size_t at, int64_t i, int64_t in, double scale, double *exact)
{
    double width = scale > 1.0 ? scale : 1.0;
    double centre = ((double)i + 0.5) * scale;
    int64_t first = (int64_t)(centre - 2.0 * width + 0.5);
    int64_t end = (int64_t)(centre + 2.0 * width + 0.5);
    first = first < 0 ? 0 : first;
    end = end > in ? in : end;
    double sum = 0.0;
    for (int64_t x = first; x < end; x++) {
        double w = cubic(((double)x - centre + 0.5) * (1.0 / width));
        exact[x - first] = w;
        sum += w;
    }
    f->first[at] = first;
    f->n_taps[at] = (int32_t)(end - first);
    for (int64_t x = 0; x < end - first; x++) {
        double w = (sum != 0.0 ? exact[x] / sum : exact[x]) * (double)(1 << WEIGHT_BITS);
        f->weights[at * f->max_taps + (size_t)x] = (int32_t)(w < 0.0 ? w - 0.5 : w + 0.5);
    }
}

/* Weights for the output pixels [skip, skip + n) of an axis that goes from in to out pixels. */
static int filter_create(filter *f, int64_t in, int64_t out, int64_t skip, size_t n)
{
    double scale = (double)in / (double)out;
    double support = 2.0 * (scale > 1.0 ? scale : 1.0);
    *f = (filter){.n = n, .max_taps = (size_t)ceil(support) * 2 + 1};
    f->first = malloc(n * sizeof *f->first);
    f->n_taps = malloc(n * sizeof *f->n_taps);
    f->weights = malloc(n * f->max_taps * sizeof *f->weights);
    double *exact = malloc(f->max_taps * sizeof *exact);
    if (!f->first || !f->n_taps || !f->weights || !exact) {
        free(exact);
        filter_free(f);
        return lv_fail(LV_ERR_MEMORY, "no memory to resize from %" PRId64 " pixels", in);
    }
    for (size_t i = 0; i < n; i++) {
        weights_of(f, i, skip + (int64_t)i, in, scale, exact);
    }
    free(exact);
    return LV_OK;
}

static uint8_t round_to_8_bits(int32_t sum)
{
    int32_t level = (sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS;
    return (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
}

static void filter_row(uint8_t *out, const uint8_t *row, const filter *f)
{
    for (size_t i = 0; i < f->n; i++) {
        const int32_t *w = f->weights + i * f->max_taps;
        const uint8_t *pixel = row + 3 * f->first[i];
        int32_t sum[3] = {0};
        for (int32_t t = 0; t < f->n_taps[i]; t++, pixel += 3) {
            sum[0] += w[t] * pixel[0];
            sum[1] += w[t] * pixel[1];
            sum[2] += w[t] * pixel[2];
        }
        for (size_t c = 0; c < 3; c++) {
            out[3 * i + c] = round_to_8_bits(sum[c]);
        }
    }
}

/* The source as the filters see it: in->width x in->height pixels at (x, y) of a larger canvas of
 * the pad colour, or alone on a canvas of its own size. */
typedef struct {
    const lv_image *in;
    int64_t width, height, x, y;
    uint8_t *row; /* work space of one canvas row */
} canvas;

static bool canvas_has_row(const canvas *c, int64_t y)
{
    return y >= c->y && y < c->y + c->in->height;
}

/* Row y of the canvas; in c->row unless it lies as it is in the image. */
static const uint8_t *canvas_row(const canvas *c, int64_t y)
{
    if (!canvas_has_row(c, y)) {
        for (int64_t x = 0; x < c->width; x++) {
            memcpy(c->row + 3 * x, PAD_COLOR, 3);
        }
        return c->row;
    }
    const uint8_t *own = c->in->rgb + 3 * (size_t)(y - c->y) * (size_t)c->in->width;
    if (c->width == c->in->width) {
        return own;
    }
    for (int64_t x = 0; x < c->width; x++) {
        memcpy(c->row + 3 * x, PAD_COLOR, 3);
    }
    memcpy(c->row + 3 * c->x, own, 3 * (size_t)c->in->width);
    return c->row;
}

/* Runs down the canvas rows; each is filtered once and added to the output rows that use it.
 * sums: n rows of n*3, zeroed; narrow: one such row. */
static void resample(uint8_t *out, const canvas *c, const filter *fx, const filter *fy,
                     int32_t *sums, uint8_t *narrow)
{
    size_t row_size = fx->n * 3;
    size_t done = 0; /* output rows above are complete */
    bool narrow_is_pad = false;
    for (int64_t y = fy->first[0]; done < fy->n; y++) {
        bool is_pad = !canvas_has_row(c, y);
        if (!is_pad || !narrow_is_pad) {
            filter_row(narrow, canvas_row(c, y), fx);
        }
        narrow_is_pad = is_pad;
        for (size_t i = done; i < fy->n && fy->first[i] <= y; i++) {
            if (y - fy->first[i] >= fy->n_taps[i]) {
                continue;
            }
            int32_t w = fy->weights[i * fy->max_taps + (size_t)(y - fy->first[i])];
            int32_t *sum = sums + i * row_size;
            for (size_t x = 0; x < row_size; x++) {
                sum[x] += w * narrow[x];
            }
        }
        while (done < fy->n && y + 1 >= fy->first[done] + fy->n_taps[done]) {
            for (size_t x = 0; x < row_size; x++) {
                out[done * row_size + x] = round_to_8_bits(sums[done * row_size + x]);
            }
            done++;
        }
    }
}

int lv_image_square(lv_image *out, const lv_image *in, int size, lv_aspect aspect)
{
    LV_CHECK(size > 0 && in->width > 0 && in->height > 0, "resizing %d x %d to %d", in->width,
             in->height, size);
    canvas source = {.in = in, .width = in->width, .height = in->height};
    lv_image square = {0};
    filter fx = {0}, fy = {0};
    int32_t *sums = NULL;
    uint8_t *narrow = NULL;
    size_t n = (size_t)size;
    if (aspect == LV_ASPECT_PAD) {
        source.width = source.height = in->width > in->height ? in->width : in->height;
        source.x = (source.width - in->width) / 2;
        source.y = (source.height - in->height) / 2;
    }
    bool portrait = source.width <= source.height;
    int64_t out_width = portrait ? size : (int64_t)size * source.width / source.height;
    int64_t out_height = portrait ? (int64_t)size * source.height / source.width : size;
    int rc = lv_image_alloc(&square, size, size);
    if (rc < 0) {
        return rc;
    }
    rc = filter_create(&fx, source.width, out_width, (out_width - size) / 2, n);
    if (rc < 0) {
        goto fail;
    }
    rc = filter_create(&fy, source.height, out_height, (out_height - size) / 2, n);
    if (rc < 0) {
        goto fail;
    }
    sums = calloc(n * n * 3, sizeof *sums);
    narrow = malloc(n * 3);
    source.row = malloc((size_t)source.width * 3);
    if (!sums || !narrow || !source.row) {
        rc = lv_fail(LV_ERR_MEMORY, "no memory to resize to %d x %d", size, size);
        goto fail;
    }
    resample(square.rgb, &source, &fx, &fy, sums, narrow);
    *out = square;
    square = (lv_image){0};
fail:
    free(source.row);
    free(narrow);
    free(sums);
    filter_free(&fx);
    filter_free(&fy);
    lv_image_free(&square);
    return rc;
}
