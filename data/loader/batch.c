/* SPDX-License-Identifier: Apache-2.0 */
#include "data/loader/batch.h"

#include "autograd/error.h"
#include "data/base/fail_point.h"
#include "data/chat/template.h"

#include <stdlib.h>

enum { MAX_IMAGE_SIZE = 1 << 14 };

/* An image that has rows in the batch. */
typedef struct {
    lv_pack *pack;
    int64_t image_id, sample; /* the sample's index in the pack */
} image_place;

int64_t lv_batch_length(const lv_sample_counts *counts, int rows_per_image, int64_t max_length)
{
    int64_t length = counts->n_tokens + counts->n_images * (int64_t)(rows_per_image - 1);
    return max_length > 0 && length > max_length ? max_length : length;
}

int lv_batch_labels(int64_t *n_labels, lv_pack *pack, int64_t index, int rows_per_image,
                    int64_t max_length)
{
    const lv_sample_counts *counts = &lv_pack_counts(pack)[index];
    const int64_t length = lv_batch_length(counts, rows_per_image, max_length);
    if (length == lv_batch_length(counts, rows_per_image, 0)) {
        *n_labels = counts->n_supervised;
        return LV_OK;
    }
    int32_t *tokens = calloc((size_t)counts->n_tokens + 1, sizeof *tokens);
    uint8_t *supervised = calloc((size_t)counts->n_tokens + 1, sizeof *supervised);
    int64_t *image_ids = calloc((size_t)counts->n_images + 1, sizeof *image_ids);
    int rc = tokens && supervised && image_ids
                 ? lv_pack_read_sample(pack, index, tokens, supervised, image_ids, NULL)
                 : lv_fail(LV_ERR_MEMORY, "no memory to read a sample");
    *n_labels = 0;
    for (int64_t i = 0, row = 0; rc == LV_OK && i < counts->n_tokens && row < length; i++) {
        *n_labels += row > 0 && supervised[i]; /* no row has the first one as its label */
        row += tokens[i] == LV_IMAGE_TOKEN ? rows_per_image : 1;
    }
    free(image_ids);
    free(supervised);
    free(tokens);
    return rc;
}

lv_pack *lv_batch_locate(lv_pack *const *packs, int n_packs, int64_t sample_id, int64_t *index)
{
    int64_t i = sample_id;
    int p = 0;
    while (p < n_packs && i >= lv_pack_n_samples(packs[p])) {
        i -= lv_pack_n_samples(packs[p++]);
    }
    LV_CHECK(i >= 0 && p < n_packs, "no pack holds sample %lld", (long long)sample_id);
    *index = i;
    return packs[p];
}

int lv_batch_check_pack(const lv_pack *pack, const lv_vision_input *vision)
{
    lv_aspect aspect = LV_ASPECT_SQUARE;
    int size = lv_pack_stored_size(pack, &aspect);
    if (size != 0 && (size != vision->image_size || aspect != vision->aspect)) {
        return lv_fail(LV_ERR_CONFIG,
                       "the pack stores its images as %d x %d pixels, aspect \"%s\", but %d x %d, "
                       "aspect \"%s\" is wanted: pack again with that, or with --store original",
                       size, size, lv_aspect_name(aspect), vision->image_size, vision->image_size,
                       lv_aspect_name(vision->aspect));
    }
    return LV_OK;
}

static void *allocate_array(lv_batch *batch, int64_t n, size_t element_bytes, int *rc)
{
    size_t n_bytes = 0;
    void *data = NULL;
    if (!__builtin_mul_overflow((size_t)n, element_bytes, &n_bytes)) {
        data = malloc(n_bytes > 0 ? n_bytes : 1);
    }
    if (!data) {
        *rc = lv_fail(LV_ERR_MEMORY, "no memory for a batch (%lld elements of %zu bytes)",
                      (long long)n, element_bytes);
        return NULL;
    }
    batch->n_bytes += n_bytes;
    return data;
}

static int allocate_rows(lv_batch *batch, int n_samples, int64_t n_rows)
{
    int rc = LV_OK;
    if (n_rows > INT32_MAX) { /* positions are 32 bits */
        return lv_fail(LV_ERR_FORMAT, "%lld rows in one micro-batch", (long long)n_rows);
    }
    batch->n_samples = n_samples;
    batch->sample_ids = allocate_array(batch, n_samples, sizeof *batch->sample_ids, &rc);
    batch->seq_start = allocate_array(batch, n_samples + (int64_t)1, sizeof *batch->seq_start, &rc);
    batch->source = allocate_array(batch, n_rows, sizeof *batch->source, &rc);
    batch->position = allocate_array(batch, n_rows, sizeof *batch->position, &rc);
    batch->label = allocate_array(batch, n_rows, sizeof *batch->label, &rc);
    if (rc == LV_OK) {
        batch->seq_start[0] = 0;
    }
    return rc;
}

static size_t image_floats(const lv_vision_input *vision)
{
    return 3 * (size_t)vision->image_size * (size_t)vision->image_size;
}

static int allocate_pixels(lv_batch *batch, const lv_vision_input *vision)
{
    int rc = LV_OK;
    if (batch->n_images > 0) {
        batch->pixels = allocate_array(batch, batch->n_images,
                                       image_floats(vision) * sizeof *batch->pixels, &rc);
    }
    return rc;
}

/* lay_sequence: append the rows of sequence s, at most max_rows. A row's label is the next row's
 * token, so it is set one row later.
 * in     supervised may be NULL
 * out    batch->n_images counts the marks that got a row
 * fails  LV_ERR_FORMAT on a token that is neither an id nor a mark, and on too many image rows */
static int lay_sequence(lv_batch *batch, int s, int64_t max_rows, const int32_t *tokens,
                        const uint8_t *supervised, int64_t n, int rows_per_image)
{
    const int64_t begin = batch->seq_start[s], end = begin + max_rows;
    int64_t t = begin;
    for (int64_t i = 0; i < n && t < end; i++) {
        bool image = tokens[i] == LV_IMAGE_TOKEN;
        if (tokens[i] < 0 && !image) {
            return lv_fail(LV_ERR_FORMAT, "token %lld is %d: neither an id nor an image",
                           (long long)i, tokens[i]);
        }
        if (image && (batch->n_images + 1) * rows_per_image > INT32_MAX) {
            return lv_fail(LV_ERR_FORMAT, "%lld images in one micro-batch",
                           (long long)batch->n_images);
        }
        if (t > begin && supervised && supervised[i] && !image) {
            batch->label[t - 1] = tokens[i];
            batch->n_supervised++;
        }
        int n_rows = image ? rows_per_image : 1;
        for (int r = 0; r < n_rows && t < end; r++, t++) {
            int32_t feature = (int32_t)(batch->n_images * rows_per_image) + r;
            batch->source[t] = image ? -1 - feature : tokens[i];
            batch->position[t] = (int32_t)(t - begin);
            batch->label[t] = LV_NO_LABEL;
        }
        batch->n_images += image;
    }
    batch->seq_start[s + 1] = t;
    return LV_OK;
}

/* Buffers for one sample at a time, and the images of all. */
typedef struct {
    int32_t *tokens;
    uint8_t *supervised;
    int64_t *image_ids;
    image_place *places; /* of all images of the batch, in order */
    int64_t n_rows;      /* of the batch */
} sample_buffer;

static void buffer_free(sample_buffer *buffer)
{
    free(buffer->tokens);
    free(buffer->supervised);
    free(buffer->image_ids);
    free(buffer->places);
}

/* buffer_create: room for the longest of the samples, and for all images. */
static int buffer_create(sample_buffer *out, lv_pack *const *packs, int n_packs,
                         const int64_t *sample_ids, int n_samples, int rows_per_image,
                         int64_t max_length)
{
    sample_buffer buffer = {0};
    size_t most_tokens = 0, most_images = 0, all_images = 0;
    for (int s = 0; s < n_samples; s++) {
        int64_t index;
        lv_pack *pack = lv_batch_locate(packs, n_packs, sample_ids[s], &index);
        const lv_sample_counts *counts = &lv_pack_counts(pack)[index];
        if (counts->n_tokens < 1 || counts->n_images < 0) {
            return lv_fail(LV_ERR_FORMAT, "pack %s, sample %lld: %d tokens and %d images",
                           lv_pack_dir(pack), (long long)index, counts->n_tokens, counts->n_images);
        }
        size_t n_tokens = (size_t)counts->n_tokens, n_images = (size_t)counts->n_images;
        most_tokens = n_tokens > most_tokens ? n_tokens : most_tokens;
        most_images = n_images > most_images ? n_images : most_images;
        all_images += n_images;
        buffer.n_rows += lv_batch_length(counts, rows_per_image, max_length);
    }
    buffer.tokens = calloc(most_tokens + 1, sizeof *buffer.tokens);
    buffer.supervised = calloc(most_tokens + 1, sizeof *buffer.supervised);
    buffer.image_ids = calloc(most_images + 1, sizeof *buffer.image_ids);
    buffer.places = calloc(all_images + 1, sizeof *buffer.places);
    if (!buffer.tokens || !buffer.supervised || !buffer.image_ids || !buffer.places) {
        buffer_free(&buffer);
        return lv_fail(LV_ERR_MEMORY, "no memory to read %d samples", n_samples);
    }
    *out = buffer;
    return LV_OK;
}

/* lay_sample: read sample s of the batch, append its rows, and note its images that got any. */
static int lay_sample(lv_batch *batch, int s, lv_pack *pack, int64_t index, sample_buffer *buffer,
                      int rows_per_image, int64_t max_length)
{
    const lv_sample_counts *counts = &lv_pack_counts(pack)[index];
    int64_t first_image = batch->n_images, n_marks = 0;
    int rc = lv_pack_read_sample(pack, index, buffer->tokens, buffer->supervised, buffer->image_ids,
                                 NULL);
    if (rc != LV_OK) {
        return rc;
    }
    for (int32_t i = 0; i < counts->n_tokens; i++) {
        n_marks += buffer->tokens[i] == LV_IMAGE_TOKEN;
    }
    if (n_marks != counts->n_images) {
        return lv_fail(LV_ERR_FORMAT, "%lld image marks, but %d images", (long long)n_marks,
                       counts->n_images);
    }
    rc = lay_sequence(batch, s, lv_batch_length(counts, rows_per_image, max_length), buffer->tokens,
                      buffer->supervised, counts->n_tokens, rows_per_image);
    for (int64_t i = first_image; rc == LV_OK && i < batch->n_images; i++) {
        buffer->places[i] = (image_place){pack, buffer->image_ids[i - first_image], index};
    }
    return rc;
}

static int normalize_image(float *pixels, const lv_image *image, const lv_vision_input *vision)
{
    lv_image square = {0};
    int rc = lv_image_square(&square, image, vision->image_size, vision->aspect);
    if (rc == LV_OK) {
        lv_image_normalize(pixels, &square, vision->mean, vision->std);
    }
    lv_image_free(&square);
    return rc;
}

static int read_batch_image(float *pixels, const image_place *place, const lv_vision_input *vision)
{
    lv_image image = {0};
    lv_aspect aspect;
    int rc = lv_batch_check_pack(place->pack, vision);
    if (rc != LV_OK) {
        goto done;
    }
    rc = lv_pack_read_image(place->pack, place->image_id, &image);
    if (rc != LV_OK) {
        goto done;
    }
    if (lv_pack_stored_size(place->pack, &aspect) == 0) {
        rc = normalize_image(pixels, &image, vision);
    } else if (image.width == vision->image_size && image.height == vision->image_size) {
        lv_image_normalize(pixels, &image, vision->mean, vision->std);
    } else {
        rc = lv_fail(LV_ERR_FORMAT, "image %lld has %d x %d pixels, its pack says %d x %d",
                     (long long)place->image_id, image.width, image.height, vision->image_size,
                     vision->image_size);
    }
done:
    lv_image_free(&image);
    return rc;
}

static int read_batch_pixels(lv_batch *batch, const image_place *places,
                             const lv_vision_input *vision)
{
    int rc = allocate_pixels(batch, vision);
    for (int64_t i = 0; rc == LV_OK && i < batch->n_images; i++) {
        rc = read_batch_image(batch->pixels + (size_t)i * image_floats(vision), &places[i], vision);
        if (rc != LV_OK) {
            lv_fail_within("pack %s, sample %lld", lv_pack_dir(places[i].pack),
                           (long long)places[i].sample);
        }
    }
    return rc;
}

static void check_vision(const lv_vision_input *vision)
{
    LV_CHECK(vision->image_size > 0 && vision->image_size <= MAX_IMAGE_SIZE &&
                 vision->rows_per_image > 0,
             "image size %d, %d rows an image", vision->image_size, vision->rows_per_image);
}

int lv_batch_read(lv_batch *out, lv_pack *const *packs, int n_packs, const int64_t *sample_ids,
                  int n_samples, const lv_vision_input *vision, int64_t max_length)
{
    lv_batch batch = {0};
    sample_buffer buffer = {0};
    check_vision(vision);
    int rc = lv_fail_point("batch.begin");
    if (rc == LV_OK) {
        rc = buffer_create(&buffer, packs, n_packs, sample_ids, n_samples, vision->rows_per_image,
                           max_length);
    }
    if (rc != LV_OK) {
        goto done;
    }
    rc = allocate_rows(&batch, n_samples, buffer.n_rows);
    if (rc != LV_OK) {
        goto done;
    }
    for (int s = 0; s < n_samples; s++) {
        int64_t index;
        lv_pack *pack = lv_batch_locate(packs, n_packs, sample_ids[s], &index);
        batch.sample_ids[s] = sample_ids[s];
        rc = lay_sample(&batch, s, pack, index, &buffer, vision->rows_per_image, max_length);
        if (rc != LV_OK) {
            lv_fail_within("pack %s, sample %lld", lv_pack_dir(pack), (long long)index);
            goto done;
        }
    }
    rc = read_batch_pixels(&batch, buffer.places, vision);
    if (rc != LV_OK) {
        goto done;
    }
    *out = batch;
    batch = (lv_batch){0};
done:
    buffer_free(&buffer);
    lv_batch_free(&batch);
    return rc;
}

int lv_batch_from_prompt(lv_batch *out, const int32_t *tokens, size_t n, const lv_image *images,
                         int n_images, const lv_vision_input *vision)
{
    lv_batch batch = {0};
    lv_sample_counts counts = {.n_tokens = (int32_t)n};
    check_vision(vision);
    if (n == 0 || n > INT32_MAX) {
        return lv_fail(LV_ERR_CONFIG, "a prompt of %zu tokens", n);
    }
    for (size_t i = 0; i < n; i++) {
        counts.n_images += tokens[i] == LV_IMAGE_TOKEN;
    }
    if (counts.n_images != n_images) {
        return lv_fail(LV_ERR_CONFIG, "%d image marks in the prompt, but %d images",
                       counts.n_images, n_images);
    }
    int64_t n_rows = lv_batch_length(&counts, vision->rows_per_image, 0);
    int rc = allocate_rows(&batch, 1, n_rows);
    if (rc != LV_OK) {
        goto done;
    }
    batch.sample_ids[0] = 0;
    rc = lay_sequence(&batch, 0, n_rows, tokens, NULL, (int64_t)n, vision->rows_per_image);
    if (rc != LV_OK) {
        goto done;
    }
    rc = allocate_pixels(&batch, vision);
    for (int i = 0; rc == LV_OK && i < n_images; i++) {
        rc = normalize_image(batch.pixels + (size_t)i * image_floats(vision), &images[i], vision);
    }
    if (rc != LV_OK) {
        goto done;
    }
    *out = batch;
    batch = (lv_batch){0};
done:
    lv_batch_free(&batch);
    return rc;
}

void lv_batch_free(lv_batch *batch)
{
    free(batch->sample_ids);
    free(batch->seq_start);
    free(batch->source);
    free(batch->position);
    free(batch->label);
    free(batch->pixels);
    *batch = (lv_batch){0};
}

int lv_batch_check_ids(const lv_batch *batch, lv_pack *const *packs, int n_packs,
                       int64_t vocab_size)
{
    for (int i = 0; i < batch->n_samples; i++) {
        for (int64_t t = batch->seq_start[i]; t < batch->seq_start[i + 1]; t++) {
            int32_t source = batch->source[t], label = batch->label[t];
            int32_t largest = source > label ? source : label;
            if (largest >= vocab_size) {
                int64_t index;
                const lv_pack *pack = lv_batch_locate(packs, n_packs, batch->sample_ids[i], &index);
                return lv_fail(LV_ERR_CONFIG,
                               "pack %s, sample %lld: token id %d, but the model's vocabulary has "
                               "%lld; pack with the model's tokenizer",
                               lv_pack_dir(pack), (long long)index, (int)largest,
                               (long long)vocab_size);
            }
        }
    }
    return LV_OK;
}
