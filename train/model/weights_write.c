/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "data/file.h"
#include "train/model/weights.h"
#include "train/model/weights_header.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_VALUES = 1 << 16, HEADER_ALIGNMENT = 8 };

/* Room to convert a piece in. */
typedef struct {
    lv_real values[PIECE_VALUES];
    char bytes[PIECE_VALUES * sizeof(float)];
} piece;

static int64_t row_values(const lv_weight_source *source)
{
    return lv_tensor_count(source->tensor) / source->tensor->shape[0];
}

static int64_t source_bytes(const lv_weight_source *source)
{
    int64_t values = lv_tensor_count(source->tensor) + source->extra_rows * row_values(source);
    return values * (int64_t)lv_dtype_bytes(source->dtype);
}

static void print_entry(FILE *out, const lv_weight_source *source, int64_t begin)
{
    const lv_tensor *x = source->tensor;
    LV_CHECK(!strpbrk(source->name, "\"\\\n\r\t"), "a tensor's name that JSON would escape");
    fprintf(out, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", source->name,
            lv_header_dtype_name(source->dtype));
    for (int i = 0; i < x->n_dims; i++) {
        int64_t dim = x->shape[i] + (i == 0 ? source->extra_rows : 0);
        fprintf(out, "%s%" PRId64, i ? "," : "", dim);
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
    fprintf(out, "{\"__metadata__\":{\"format\":\"pt\"}"); /* transformers asks for it */
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

static bool put(FILE *out, const void *data, size_t n)
{
    return fwrite(data, 1, n, out) == n;
}

/* n values of src_dtype, at any alignment, as dtype. */
static bool put_values(FILE *out, const void *src, lv_dtype src_dtype, int64_t n, lv_dtype dtype,
                       piece *room)
{
    size_t value_bytes = lv_dtype_bytes(dtype);
    if (src_dtype == dtype) {
        return put(out, src, (size_t)n * value_bytes);
    }
    for (int64_t i = 0; i < n; i += PIECE_VALUES) {
        int64_t m = n - i < PIECE_VALUES ? n - i : PIECE_VALUES;
        lv_convert_to_real(room->values, lv_element_const(src, src_dtype, i), src_dtype, m);
        lv_convert_from_real(room->bytes, dtype, room->values, m);
        if (!put(out, room->bytes, (size_t)m * value_bytes)) {
            return false;
        }
    }
    return true;
}

static bool put_source(FILE *out, const lv_weight_source *source, piece *room)
{
    const lv_tensor *x = source->tensor;
    LV_CHECK(x->data && x->n_dims > 0, "%s: no values to write", source->name);
    bool ok = put_values(out, x->data, x->dtype, lv_tensor_count(x), source->dtype, room);
    for (int64_t i = 0; ok && i < source->extra_rows; i++) {
        ok = put_values(out, source->extra_row, LV_F32, row_values(source), source->dtype, room);
    }
    return ok;
}

static int write_contents(FILE *out, const char *path, const lv_weight_source *sources, size_t n)
{
    char *header = NULL;
    size_t header_bytes = 0;
    uint8_t length[8];
    int rc = print_header(&header, &header_bytes, sources, n);
    if (rc < 0) {
        return lv_fail_within("%s", path);
    }
    for (int i = 0; i < 8; i++) {
        length[i] = (uint8_t)((uint64_t)header_bytes >> 8 * i);
    }
    bool ok = put(out, length, sizeof length) && put(out, header, header_bytes);
    free(header);
    piece *room = malloc(sizeof *room);
    if (!room) {
        return lv_fail(LV_ERR_MEMORY, "%s: no memory to write", path);
    }
    for (size_t i = 0; ok && i < n; i++) {
        ok = put_source(out, &sources[i], room);
    }
    rc = ok ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: writing", path);
    free(room);
    return rc;
}

int lv_weights_write_file(const char *path, const lv_weight_source *sources, size_t n)
{
    lv_new_file out = {0};
    int rc = lv_new_file_open(&out, path);
    rc = rc < 0 ? rc : write_contents(out.file, out.beside, sources, n);
    return lv_new_file_close(&out, rc);
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
    int rc = LV_OK;
    char *index = lv_path("%s/model.safetensors.index.json", dir);
    size_t *first = malloc((n + 2) * sizeof *first);
    if (!first) {
        rc = lv_fail(LV_ERR_MEMORY, "%s: out of memory", dir);
        goto fail;
    }
    LV_CHECK(n > 0, "%s: no tensors to write", dir);
    size_t n_files = split_files(first, sources, n, max_file_bytes);
    for (size_t k = 0; k < n_files && rc == LV_OK; k++) {
        char *name = shard_name(k, n_files);
        char *path = lv_path("%s/%s", dir, name);
        rc = lv_weights_write_file(path, sources + first[k], first[k + 1] - first[k]);
        free(name);
        free(path);
    }
    if (rc < 0) {
        goto fail;
    }
    if (n_files > 1) {
        rc = write_index(index, sources, first, n_files);
    }
    char *single = lv_path("%s/model.safetensors", dir);
    unlink(n_files > 1 ? single : index); /* of an earlier model; most often not there */
    free(single);
fail:
    free(first);
    free(index);
    return rc;
}
