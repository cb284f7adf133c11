/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_image_square: padding, antialiased bicubic resizing and centre crop in one pass over the
 * source rows. Only what survives the crop is computed, and no padded or resized picture is ever
 * stored: beside the pictures it takes the weights of one row, about 16 bytes a pixel of width, and
 * the narrowed rows that one output row needs. Work grows with the number of source pixels alone,
 * also for the most elongated image.
 *
 * The numbers are Pillow's 8-bit resampling (facts from its Resample.c and documentation): along an
 * axis of `in` pixels that becomes `out`, with scale = in/out and width = max(scale, 1), the output
 * pixel i is
 *     sum_x w((x + 0.5 - (i + 0.5) * scale) / width) * pixel[x] / sum_x w(...)
 *     over x in [floor(centre - 2*width + 0.5), floor(centre + 2*width + 0.5)), cut to the image,
 * w the cubic of Keys (1981) with a = -0.5. Weights are rounded to 22 fractional bits; the
 * horizontal result is rounded and clipped to 8 bits before the vertical pass.
 */
#include "data/image/decoders.h"

#include "autograd/error.h"
#include "data/image/kernels.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t PAD_COLOR[3] = {122, 116, 104}; /* CLIP's mean * 255 */

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

/* The taps of one output pixel: n_taps pixels of the image from first on. Those on padding are not
 * kept one by one, as all of them have the same colour. */
typedef struct {
    int64_t first, n_taps;
    int32_t pad_weight; /* sum of the weights on padding */
    int32_t all_weight; /* of all */
} window;

typedef struct {
    axis in;
    int64_t skip; /* pixels cut off before the crop */
    double scale; /* canvas / pixels that it becomes */
    size_t max_window;
    double *exact; /* work space, (max_window) */
} filter;

static int filter_create(filter *f, const axis *in, int64_t out, int64_t n)
{
    double scale = (double)in->canvas / (double)out;
    double support = 2.0 * (scale > 1.0 ? scale : 1.0);
    *f = (filter){.in = *in, .skip = (out - n) / 2, .scale = scale};
    f->max_window = (size_t)ceil(support) * 2 + 1;
    f->exact = malloc(f->max_window * sizeof *f->exact);
    if (!f->exact) {
        return lv_fail(LV_ERR_MEMORY, "no memory to resize from %" PRId64 " pixels", in->canvas);
    }
    return LV_OK;
}

static size_t max_taps(const filter *f)
{
    return f->max_window < (size_t)f->in.length ? f->max_window : (size_t)f->in.length;
}

/* The window and weights (max_taps) of output pixel i, counted from the crop's first. */
static window filter_at(const filter *f, int32_t *weights, int64_t i)
{
    const axis *in = &f->in;
    double width = f->scale > 1.0 ? f->scale : 1.0;
    double centre = ((double)(f->skip + i) + 0.5) * f->scale;
    int64_t begin = (int64_t)(centre - 2.0 * width + 0.5);
    int64_t end = (int64_t)(centre + 2.0 * width + 0.5);
    begin = begin < 0 ? 0 : begin;
    end = end > in->canvas ? in->canvas : end;
    double sum = 0.0;
    for (int64_t x = begin; x < end; x++) {
        double w = cubic(((double)x - centre + 0.5) * (1.0 / width));
        f->exact[x - begin] = w;
        sum += w;
    }
    int64_t first = begin - in->offset;
    window out = {.first = first < 0 ? 0 : first > in->length ? in->length : first};
    for (int64_t x = begin; x < end; x++) {
        double exact = f->exact[x - begin];
        double w = (sum != 0.0 ? exact / sum : exact) * (1 << LV_IMAGE_WEIGHT_BITS);
        int32_t rounded = (int32_t)(w < 0.0 ? w - 0.5 : w + 0.5);
        out.all_weight += rounded;
        if (x >= in->offset && x < in->offset + in->length) {
            weights[out.n_taps++] = rounded;
        } else {
            out.pad_weight += rounded;
        }
    }
    return out;
}

/* The horizontal pass. Columns that depend on padding alone are the same in all rows:
 * only those from begin on, columns.n of them, are computed from pixels. */
typedef struct {
    lv_image_columns columns;
    size_t begin;
    uint8_t *pad_row; /* (n, 3) a row of padding, narrowed */
} row_filter;

static void row_filter_free(row_filter *f)
{
    free(f->columns.first);
    free(f->columns.n_taps);
    free(f->columns.weights);
    free(f->columns.start);
    free(f->pad_row);
    *f = (row_filter){0};
}

/* Sets column i of the crop, or skips it if it depends on no pixel of the image. */
static void row_filter_set(row_filter *f, const filter *across, size_t i)
{
    const int32_t half = 1 << (LV_IMAGE_WEIGHT_BITS - 1);
    lv_image_columns *columns = &f->columns;
    size_t at = columns->n;
    int32_t *weights = columns->weights + at * columns->max_taps;
    window seen = filter_at(across, weights, (int64_t)i);
    for (size_t c = 0; c < 3; c++) {
        int32_t level = (seen.all_weight * PAD_COLOR[c] + half) >> LV_IMAGE_WEIGHT_BITS;
        f->pad_row[3 * i + c] = (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
        columns->start[4 * at + c] = seen.pad_weight * PAD_COLOR[c] + half;
    }
    if (seen.n_taps == 0) {
        return;
    }
    f->begin = at == 0 ? i : f->begin;
    columns->first[at] = (int32_t)seen.first;
    columns->n_taps[at] = (int32_t)seen.n_taps;
    memset(weights + seen.n_taps, 0,
           (columns->max_taps - (size_t)seen.n_taps) * sizeof *columns->weights);
    columns->n++;
}

static int row_filter_create(row_filter *f, const filter *across, size_t n)
{
    size_t taps = (max_taps(across) + LV_IMAGE_TAP_GROUP - 1) / LV_IMAGE_TAP_GROUP;
    lv_image_columns *columns = &f->columns;
    *f = (row_filter){.columns.max_taps = taps * LV_IMAGE_TAP_GROUP};
    columns->first = malloc(n * sizeof *columns->first);
    columns->n_taps = malloc(n * sizeof *columns->n_taps);
    columns->weights = malloc(n * columns->max_taps * sizeof *columns->weights);
    columns->start = calloc(n, 4 * sizeof *columns->start);
    f->pad_row = malloc(n * 3);
    if (!columns->first || !columns->n_taps || !columns->weights || !columns->start ||
        !f->pad_row) {
        row_filter_free(f);
        return lv_fail(LV_ERR_MEMORY, "no memory to resize from %" PRId64 " pixels",
                       across->in.canvas);
    }
    for (size_t i = 0; i < n; i++) {
        row_filter_set(f, across, i);
    }
    return LV_OK;
}

/* The narrowed rows first..end of the image, as many as an output row can need, and room for as
 * many again, so that each is moved at most once on average. */
typedef struct {
    const lv_image *in;
    size_t row_bytes, n_rows;
    int64_t first, end;
    uint8_t *rows;
    uint8_t *last; /* a source row with LV_IMAGE_SLACK after it */
} row_store;

static int row_store_create(row_store *store, const lv_image *in, size_t row_bytes, size_t n_taps)
{
    *store = (row_store){.in = in, .row_bytes = row_bytes, .n_rows = 2 * n_taps};
    store->rows = malloc(store->n_rows * row_bytes + 1); /* narrow_row spoils a byte */
    store->last = calloc(1, 3 * (size_t)in->width + LV_IMAGE_SLACK);
    return store->rows && store->last
               ? LV_OK
               : lv_fail(LV_ERR_MEMORY, "no memory to resize from %d x %d pixels", in->width,
                         in->height);
}

static void row_store_free(row_store *store)
{
    free(store->rows);
    free(store->last);
    *store = (row_store){0};
}

/* Row y, with bytes after it that may be read. */
static const uint8_t *source_row(row_store *store, int64_t y)
{
    const lv_image *in = store->in;
    size_t row_bytes = 3 * (size_t)in->width;
    const uint8_t *row = in->rgb + (size_t)y * row_bytes;
    if ((size_t)(in->height - 1 - y) * row_bytes >= LV_IMAGE_SLACK) {
        return row;
    }
    return memcpy(store->last, row, row_bytes);
}

/* The narrowed rows of a window; windows come in order. */
static const uint8_t *row_store_get(row_store *store, const window *seen,
                                    const lv_image_columns *columns, const lv_image_kernels *kernel)
{
    int64_t end = seen->first + seen->n_taps;
    if (store->end < seen->first) {
        store->first = store->end = seen->first;
    } else if (end - store->first > (int64_t)store->n_rows) {
        memmove(store->rows, store->rows + (size_t)(seen->first - store->first) * store->row_bytes,
                (size_t)(store->end - seen->first) * store->row_bytes);
        store->first = seen->first;
    }
    for (; store->end < end; store->end++) {
        kernel->narrow_row(store->rows + (size_t)(store->end - store->first) * store->row_bytes,
                           source_row(store, store->end), columns);
    }
    return store->rows + (size_t)(seen->first - store->first) * store->row_bytes;
}

/* weights: work space for one output row's. */
static void resample(lv_image *out, const filter *down, const row_filter *across, row_store *store,
                     int32_t *weights)
{
    const lv_image_kernels *kernel = lv_image_kernels_at(lv_cpu());
    size_t n = (size_t)out->width, at = 3 * across->begin;
    for (size_t i = 0; i < n; i++) {
        uint8_t *row = out->rgb + i * n * 3;
        window seen = filter_at(down, weights, (int64_t)i);
        if (across->columns.n < n) {
            kernel->blend_rows(row, across->pad_row, NULL, 0, across->pad_row, seen.all_weight,
                               n * 3);
        }
        const uint8_t *rows = row_store_get(store, &seen, &across->columns, kernel);
        kernel->blend_rows(row + at, rows, weights, (size_t)seen.n_taps, across->pad_row + at,
                           seen.pad_weight, store->row_bytes);
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
    row_filter columns = {0};
    row_store store = {0};
    int32_t *weights = NULL;
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
    rc = filter_create(&fx, &across, out_width, size);
    if (rc == LV_OK) rc = filter_create(&fy, &down, out_height, size);
    if (rc == LV_OK) rc = row_filter_create(&columns, &fx, n);
    if (rc == LV_OK) rc = row_store_create(&store, in, 3 * columns.columns.n, max_taps(&fy));
    if (rc < 0) {
        goto done;
    }
    weights = malloc(max_taps(&fy) * sizeof *weights);
    if (!weights) {
        rc = lv_fail(LV_ERR_MEMORY, "no memory to resize to %d x %d", size, size);
        goto done;
    }
    resample(&square, &fy, &columns, &store, weights);
    *out = square;
    square = (lv_image){0};
done:
    free(weights);
    row_store_free(&store);
    row_filter_free(&columns);
    free(fx.exact);
    free(fy.exact);
    lv_image_free(&square);
    return rc;
}
