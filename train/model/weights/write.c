/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "data/base/fail_point.h"
#include "data/base/file.h"
#include "train/model/weights/formats.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_VALUES = 1 << 16, HEADER_ALIGNMENT = 8 };

/* The file being written, the progress over all files, and buffers to convert a piece. */
typedef struct {
    FILE *file;
    const char *path;
    lv_weights_progress progress; /* may be NULL */
    int64_t done_bytes, all_bytes;
    lv_real values[PIECE_VALUES];
    char bytes[PIECE_VALUES * sizeof(float)];
} weights_writer;

static int64_t extra_values(const lv_weight_source *source)
{
    const lv_tensor *x = source->tensor;
    return source->extra_rows ? source->extra_rows * (lv_tensor_count(x) / x->shape[0]) : 0;
}

static int64_t source_bytes(const lv_weight_source *source)
{
    return source->as_is ? source->as_is->n_bytes
                         : (lv_tensor_count(source->tensor) + extra_values(source)) *
                               (int64_t)lv_dtype_bytes(source->dtype);
}

static void print_entry(FILE *out, const lv_weight_source *source, int64_t begin)
{
    const lv_weight *as_is = source->as_is;
    const int64_t *shape = as_is ? as_is->shape : source->tensor->shape;
    int n_dims = as_is ? as_is->n_dims : source->tensor->n_dims;
    fprintf(out, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", source->name,
            as_is ? source->as_is_dtype : lv_header_dtype_name(source->dtype));
    for (const char *c = source->name; *c; c++) {
        LV_CHECK((unsigned char)*c >= ' ' && *c != '"' && *c != '\\',
                 "a tensor's name that JSON would escape");
    }
    for (int i = 0; i < n_dims; i++) {
        fprintf(out, "%s%" PRId64, i ? "," : "", shape[i] + (i == 0 ? source->extra_rows : 0));
    }
    fprintf(out, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", begin,
            begin + source_bytes(source));
}

/* The JSON header, padded with spaces so that the data begins at a multiple of 8. */
static int print_header(char **text, size_t *n_bytes, const lv_weight_source *sources, size_t n)
{
    int64_t at = 0;
    FILE *out = open_memstream(text, n_bytes);
    if (!out) {
        return lv_fail_errno(LV_ERR_MEMORY, "safetensors header");
    }
    fprintf(out, "{\"__metadata__\":{\"format\":\"pt\"}"); /* transformers requires it */
    for (size_t i = 0; i < n; i++) {
        print_entry(out, &sources[i], at);
        at += source_bytes(&sources[i]);
    }
    fprintf(out, "}");
    while (fflush(out) == 0 && *n_bytes % HEADER_ALIGNMENT != 0) {
        fputc(' ', out);
    }
    if (fclose(out) != 0) {
        free(*text);
        return lv_fail_errno(LV_ERR_MEMORY, "safetensors header");
    }
    return LV_OK;
}

static int write_bytes(weights_writer *w, const void *data, size_t n)
{
    return fwrite(data, 1, n, w->file) == n ? LV_OK
                                            : lv_fail_errno(LV_ERR_IO, "%s: writing", w->path);
}

/* A piece of the tensors. */
static int put_piece(weights_writer *w, const void *data, int64_t n_bytes)
{
    int rc = write_bytes(w, data, (size_t)n_bytes);
    if (rc == LV_OK && (rc = lv_fail_point("model.piece")) < 0) {
        return lv_fail_within("%s: writing", w->path);
    }
    w->done_bytes += n_bytes;
    if (rc == LV_OK && w->progress) {
        w->progress(w->done_bytes, w->all_bytes);
    }
    return rc;
}

static int put_bytes(weights_writer *w, const char *data, int64_t n_bytes)
{
    int rc = LV_OK;
    for (int64_t at = 0, n; rc == LV_OK && at < n_bytes; at += n) {
        n = n_bytes - at < (int64_t)sizeof w->bytes ? n_bytes - at : (int64_t)sizeof w->bytes;
        rc = put_piece(w, data + at, n);
    }
    return rc;
}

/* n values of src_dtype, at any alignment, as dtype. */
static int put_values(weights_writer *w, const void *src, lv_dtype src_dtype, int64_t n,
                      lv_dtype dtype)
{
    int rc = LV_OK;
    if (src_dtype == dtype) {
        return put_bytes(w, src, n * (int64_t)lv_dtype_bytes(dtype));
    }
    for (int64_t i = 0; rc == LV_OK && i < n; i += PIECE_VALUES) {
        int64_t m = n - i < PIECE_VALUES ? n - i : PIECE_VALUES;
        lv_convert_to_real(w->values, lv_element_const(src, src_dtype, i), src_dtype, m);
        lv_convert_from_real(w->bytes, dtype, w->values, m);
        rc = put_piece(w, w->bytes, m * (int64_t)lv_dtype_bytes(dtype));
    }
    return rc;
}

static int put_source(weights_writer *w, const lv_weight_source *source)
{
    const lv_tensor *x = source->tensor;
    if (source->as_is) {
        return put_bytes(w, source->as_is->data, source->as_is->n_bytes);
    }
    LV_CHECK(x->data, "%s: no values to write", source->name);
    int rc = put_values(w, x->data, x->dtype, lv_tensor_count(x), source->dtype);
    for (int64_t i = 0; rc == LV_OK && i < source->extra_rows; i++) {
        rc = put_values(w, source->extra_row, LV_F32, extra_values(source) / source->extra_rows,
                        source->dtype);
    }
    return rc;
}

static int write_contents(weights_writer *w, const lv_weight_source *sources, size_t n)
{
    char *header = NULL;
    size_t header_bytes = 0;
    uint8_t length[8];
    int rc = print_header(&header, &header_bytes, sources, n);
    if (rc < 0) {
        return lv_fail_within("%s", w->path);
    }
    for (int i = 0; i < 8; i++) {
        length[i] = (uint8_t)((uint64_t)header_bytes >> 8 * i);
    }
    rc = write_bytes(w, length, sizeof length);
    if (rc == LV_OK) rc = write_bytes(w, header, header_bytes);
    free(header);
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        rc = put_source(w, &sources[i]);
    }
    return rc;
}

static int write_one_file(weights_writer *w, const char *path, const lv_weight_source *sources,
                          size_t n)
{
    lv_new_file out = {0};
    int rc = lv_new_file_open(&out, path);
    if (rc == LV_OK) {
        w->file = out.file;
        w->path = out.beside;
        rc = write_contents(w, sources, n);
    }
    return lv_new_file_close(&out, rc);
}

static int writer_create(weights_writer **out, const char *path, lv_weights_progress progress,
                         const lv_weight_source *sources, size_t n)
{
    weights_writer *w = malloc(sizeof *w);
    if (!w) {
        return lv_fail(LV_ERR_MEMORY, "%s: no memory to write", path);
    }
    w->progress = progress;
    w->done_bytes = w->all_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        w->all_bytes += source_bytes(&sources[i]);
    }
    *out = w;
    return LV_OK;
}

int lv_weights_write_file(const char *path, const lv_weight_source *sources, size_t n)
{
    weights_writer *w = NULL;
    int rc = writer_create(&w, path, NULL, sources, n);
    if (rc == LV_OK) rc = write_one_file(w, path, sources, n);
    free(w);
    return rc;
}

/* first[k] = the source that begins file k, first[n_files] = n. */
static size_t split_files(size_t *first, const lv_weight_source *sources, size_t n,
                          int64_t max_file_bytes)
{
    size_t n_files = 0;
    int64_t filled = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t n_bytes = source_bytes(&sources[i]);
        if (i == 0 || n_bytes > max_file_bytes - filled) {
            first[n_files++] = i;
            filled = 0;
        }
        filled += n_bytes;
    }
    first[n_files] = n;
    return n_files;
}

static char *shard_name(size_t k, size_t n_files)
{
    return n_files == 1 ? lv_path("model.safetensors")
                        : lv_path("model-%05zu-of-%05zu.safetensors", k + 1, n_files);
}

static int write_index(const char *path, const lv_weight_source *sources, const size_t *first,
                       size_t n_files)
{
    char *text = NULL;
    size_t n_bytes = 0;
    int64_t total = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (!out) {
        return lv_fail_errno(LV_ERR_MEMORY, "%s", path);
    }
    for (size_t i = 0; i < first[n_files]; i++) {
        total += source_bytes(&sources[i]);
    }
    fprintf(out, "{\n  \"metadata\": {\"total_size\": %" PRId64 "},\n  \"weight_map\": {", total);
    for (size_t k = 0; k < n_files; k++) {
        char *name = shard_name(k, n_files);
        for (size_t i = first[k]; i < first[k + 1]; i++) {
            fprintf(out, "%s\n    \"%s\": \"%s\"", i ? "," : "", sources[i].name, name);
        }
        free(name);
    }
    fprintf(out, "\n  }\n}\n");
    int rc = fclose(out) == 0 ? lv_file_write(path, text, n_bytes)
                              : lv_fail_errno(LV_ERR_MEMORY, "%s", path);
    free(text);
    return rc;
}

int lv_weights_write(const char *dir, const lv_weight_source *sources, size_t n,
                     int64_t max_file_bytes)
{
    return lv_weights_write_told(dir, sources, n, max_file_bytes, NULL);
}

int lv_weights_write_told(const char *dir, const lv_weight_source *sources, size_t n,
                          int64_t max_file_bytes, lv_weights_progress progress)
{
    weights_writer *w = NULL;
    char *index = lv_path("%s/model.safetensors.index.json", dir);
    size_t *first = malloc((n + 2) * sizeof *first);
    int rc = first ? writer_create(&w, dir, progress, sources, n)
                   : lv_fail(LV_ERR_MEMORY, "%s: out of memory", dir);
    if (rc < 0) {
        goto done;
    }
    LV_CHECK(n > 0, "%s: no tensors to write", dir);
    size_t n_files = split_files(first, sources, n, max_file_bytes);
    for (size_t k = 0; k < n_files && rc == LV_OK; k++) {
        char *name = shard_name(k, n_files);
        char *path = lv_path("%s/%s", dir, name);
        rc = write_one_file(w, path, sources + first[k], first[k + 1] - first[k]);
        free(name);
        free(path);
    }
    if (rc < 0) {
        goto done;
    }
    if (n_files > 1) {
        rc = write_index(index, sources, first, n_files);
    }
    char *single = lv_path("%s/model.safetensors", dir);
    unlink(n_files > 1 ? single : index); /* of an earlier model; most often not there */
    free(single);
done:
    free(w);
    free(first);
    free(index);
    return rc;
}
