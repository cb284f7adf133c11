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

/* One axis: for each of n kept output pixels its first source pixel, how many there are, and their
 * weights. Taps on padding are not kept one by one: all of them see the same colour. */
typedef struct {
    size_t n, max_taps;
    int64_t *first;
    int64_t *n_taps;
    int32_t *weights;    /* [n][max_taps] */
    int32_t *pad_weight; /* [n] sum of the weights on padding */
} filter;

static void filter_free(filter *f)
{
    free(f->first);
    free(f->n_taps);
    free(f->weights);
    free(f->pad_weight);
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

/* A source axis: length pixels of the image at offset on a canvas, the rest of it padding. */
typedef struct {
    int64_t canvas, offset, length;
} axis;

/* The weights of output pixel i, into place `at`; exact[] is work space. */
static void filter_set(filter *f, size_t at, int64_t i, const axis *in, double scale, double *exact)
{
    double width = scale > 1.0 ? scale : 1.0;
    double centre = ((double)i + 0.5) * scale;
    int64_t begin = (int64_t)(centre - 2.0 * width + 0.5);
    int64_t end = (int64_t)(centre + 2.0 * width + 0.5);
    begin = begin < 0 ? 0 : begin;
    end = end > in->canvas ? in->canvas : end;
    double sum = 0.0;
    for (int64_t x = begin; x < end; x++) {
        double w = cubic(((double)x - centre + 0.5) * (1.0 / width));
        exact[x - begin] = w;
        sum += w;
    }
    int64_t first = begin - in->offset;
    f->first[at] = first < 0 ? 0 : first > in->length ? in->length : first;
    f->n_taps[at] = 0;
    f->pad_weight[at] = 0;
    for (int64_t x = begin; x < end; x++) {
        double w = (sum != 0.0 ? exact[x - begin] / sum : exact[x - begin]) * (1 << WEIGHT_BITS);
        int32_t rounded = (int32_t)(w < 0.0 ? w - 0.5 : w + 0.5);
        if (x >= in->offset && x < in->offset + in->length) {
            f->weights[at * f->max_taps + (size_t)f->n_taps[at]++] = rounded;
        } else {
            f->pad_weight[at] += rounded;
        }
    }
}

/* Weights for the middle n of the out pixels that the canvas becomes. */
static int filter_create(filter *f, const axis *in, int64_t out, size_t n)
{
    double scale = (double)in->canvas / (double)out;
    size_t max_taps = (size_t)ceil(2.0 * (scale > 1.0 ? scale : 1.0)) * 2 + 1;
    int64_t skip = (out - (int64_t)n) / 2;
    *f = (filter){.n = n, .max_taps = max_taps};
    if (f->max_taps > (size_t)in->length) {
        f->max_taps = (size_t)in->length;
    }
    f->first = malloc(n * sizeof *f->first);
    f->n_taps = malloc(n * sizeof *f->n_taps);
    f->weights = malloc(n * f->max_taps * sizeof *f->weights);
    f->pad_weight = malloc(n * sizeof *f->pad_weight);
    double *exact = malloc(max_taps * sizeof *exact);
    if (!f->first || !f->n_taps || !f->weights || !f->pad_weight || !exact) {
        free(exact);
        filter_free(f);
        return lv_fail(LV_ERR_MEMORY, "no memory to resize from %" PRId64 " pixels", in->canvas);
    }
    for (size_t i = 0; i < n; i++) {
        filter_set(f, i, skip + (int64_t)i, in, scale, exact);
    }
    free(exact);
    return LV_OK;
}

static uint8_t round_to_8_bits(int32_t sum)
{
    int32_t level = (sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS;
    return (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
}

/* One row through the horizontal filter; row NULL: a row of padding. */
static void filter_row(uint8_t *out, const uint8_t *row, const filter *f)
{
    for (size_t i = 0; i < f->n; i++) {
        const int32_t *w = f->weights + i * f->max_taps;
        const uint8_t *pixel = row ? row + 3 * f->first[i] : PAD_COLOR;
        int32_t sum[3];
        for (size_t c = 0; c < 3; c++) {
            sum[c] = f->pad_weight[i] * PAD_COLOR[c];
        }
        for (int64_t t = 0; t < f->n_taps[i]; t++, pixel += row ? 3 : 0) {
            sum[0] += w[t] * pixel[0];
            sum[1] += w[t] * pixel[1];
            sum[2] += w[t] * pixel[2];
        }
        for (size_t c = 0; c < 3; c++) {
            out[3 * i + c] = round_to_8_bits(sum[c]);
        }
    }
}

/* Runs down the image's rows; each is filtered once and added to the output rows that use it.
 * sums: n rows of n*3; narrow: one such row. */
static void resample(uint8_t *out, const lv_image *in, const filter *fx, const filter *fy,
                     int32_t *sums, uint8_t *narrow)
{
    size_t row_size = fx->n * 3, n = fy->n;
    filter_row(narrow, NULL, fx);
    for (size_t i = 0; i < n * row_size; i++) {
        sums[i] = fy->pad_weight[i / row_size] * narrow[i % row_size];
    }
    size_t done = 0; /* output rows before it use no more rows */
    int64_t end = fy->first[n - 1] + fy->n_taps[n - 1];
    for (int64_t y = fy->first[0]; y < end; y++) {
        filter_row(narrow, in->rgb + 3 * (size_t)y * (size_t)in->width, fx);
        while (done < n && fy->first[done] + fy->n_taps[done] <= y) {
            done++;
        }
        for (size_t i = done; i < n && fy->first[i] <= y; i++) {
            int32_t w = fy->weights[i * fy->max_taps + (size_t)(y - fy->first[i])];
            for (size_t x = 0; x < row_size; x++) {
                sums[i * row_size + x] += w * narrow[x];
            }
        }
    }
    for (size_t i = 0; i < n * row_size; i++) {
        out[i] = round_to_8_bits(sums[i]);
    }
}

int lv_image_square(lv_image *out, const lv_image *in, int size, lv_aspect aspect)
{
    LV_CHECK(size > 0 && in->width > 0 && in->height > 0, "resizing %d x %d to %d", in->width,
             in->height, size);
    axis across = {.canvas = in->width, .length = in->width};
    axis down = {.canvas = in->height, .length = in->height};
    lv_image square = {0};
    filter fx = {0}, fy = {0};
    int32_t *sums = NULL;
    uint8_t *narrow = NULL;
    size_t n = (size_t)size;
    if (aspect == LV_ASPECT_PAD) {
        across.canvas = down.canvas = in->width > in->height ? in->width : in->height;
        across.offset = (across.canvas - across.length) / 2;
        down.offset = (down.canvas - down.length) / 2;
    }
    bool portrait = across.canvas <= down.canvas;
    int64_t out_width = portrait ? size : (int64_t)size * across.canvas / down.canvas;
    int64_t out_height = portrait ? (int64_t)size * down.canvas / across.canvas : size;
    int rc = lv_image_alloc(&square, size, size);
    if (rc < 0) {
        return rc;
    }
    rc = filter_create(&fx, &across, out_width, n);
    rc = rc < 0 ? rc : filter_create(&fy, &down, out_height, n);
    if (rc < 0) {
        goto fail;
    }
    sums = malloc(n * n * 3 * sizeof *sums);
    narrow = malloc(n * 3);
    if (!sums || !narrow) {
        rc = lv_fail(LV_ERR_MEMORY, "no memory to resize to %d x %d", size, size);
        goto fail;
    }
    resample(square.rgb, in, &fx, &fy, sums, narrow);
    *out = square;
    square = (lv_image){0};
fail:
    free(narrow);
    free(sums);
    filter_free(&fx);
    filter_free(&fy);
    lv_image_free(&square);
    return rc;
}
