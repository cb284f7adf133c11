/* SPDX-License-Identifier: Apache-2.0
 *
 * The header of a safetensors file:
 *   8 bytes n, little endian; n bytes of JSON {"name": {"dtype", "shape", "data_offsets"}, ...};
 *   the tensors' bytes, without holes.
 * source github.com/huggingface/safetensors, README: Format
 */
#include "train/model/weights/formats.h"

#include "autograd/error.h"
#include "data/json/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };
static const uint64_t MAX_HEADER_BYTES = 100000000; /* the format's own limit */
static const double MAX_EXACT_INTEGER = 9007199254740992.0;

/* Every dtype of the format: lengths are checked also of tensors that are not read. */
static const struct {
    const char *name;
    int bits;
    bool readable;
    lv_dtype dtype;
} dtypes[] = {
    {"F32", 32, true, LV_F32},     {"BF16", 16, true, LV_BF16},   {"F16", 16, true, LV_F16},
    {"F64", 64, false, LV_F32},    {"I64", 64, false, LV_F32},    {"U64", 64, false, LV_F32},
    {"I32", 32, false, LV_F32},    {"U32", 32, false, LV_F32},    {"I16", 16, false, LV_F32},
    {"U16", 16, false, LV_F32},    {"I8", 8, false, LV_F32},      {"U8", 8, false, LV_F32},
    {"BOOL", 8, false, LV_F32},    {"F8_E4M3", 8, false, LV_F32}, {"F8_E5M2", 8, false, LV_F32},
    {"F8_E8M0", 8, false, LV_F32}, {"F6_E2M3", 6, false, LV_F32}, {"F6_E3M2", 6, false, LV_F32},
    {"F4", 4, false, LV_F32},      {"C64", 64, false, LV_F32},
};
enum { N_DTYPES = sizeof dtypes / sizeof dtypes[0] };

const char *lv_header_dtype_name(lv_dtype dtype)
{
    size_t i = 0;
    while (!dtypes[i].readable || dtypes[i].dtype != dtype) {
        i++;
    }
    return dtypes[i].name;
}

/* The item as a whole number that is not negative; false if it is something else. */
static bool whole_number(const cJSON *item, int64_t *value)
{
    double number = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!(number >= 0 && number <= MAX_EXACT_INTEGER) || number != floor(number)) {
        return false;
    }
    *value = (int64_t)number;
    return true;
}

static int parse_shape(lv_weight *weight, const cJSON *shape)
{
    const cJSON *dim;
    if (!cJSON_IsArray(shape)) {
        return lv_fail(LV_ERR_FORMAT, "\"shape\": expected an array, found %s",
                       lv_json_kind(shape));
    }
    int n_dims = cJSON_GetArraySize(shape);
    if (n_dims > LV_MAX_DIMS) {
        return lv_fail(LV_ERR_UNSUPPORTED, "%d dims; tensors of at most %d are read", n_dims,
                       LV_MAX_DIMS);
    }
    weight->n_dims = 0;
    for (int i = 0; i < LV_MAX_DIMS; i++) {
        weight->shape[i] = 1;
    }
    cJSON_ArrayForEach (dim, shape) {
        if (!whole_number(dim, &weight->shape[weight->n_dims])) {
            return lv_fail(LV_ERR_FORMAT, "\"shape\": dim %d is not a size", weight->n_dims);
        }
        weight->n_dims++;
    }
    return LV_OK;
}

/* Bytes of a tensor; an error if they are no whole number of bytes or beyond counting. */
static int shape_bytes(int64_t *n_bytes, const lv_weight *weight, int bits)
{
    int64_t total = bits;
    for (int i = 0; i < weight->n_dims; i++) {
        if (__builtin_mul_overflow(total, weight->shape[i], &total)) {
            return lv_fail(LV_ERR_FORMAT, "\"shape\": more elements than can be counted");
        }
    }
    if (total % 8 != 0) {
        return lv_fail(LV_ERR_FORMAT, "\"shape\": its bits fill no whole number of bytes");
    }
    *n_bytes = total / 8;
    return LV_OK;
}

static int parse_entry(lv_header_entry *entry, const cJSON *item, const uint8_t *data,
                       int64_t data_bytes)
{
    lv_weight *weight = &entry->weight;
    const char *dtype = NULL;
    int64_t begin, end, n_bytes = 0;
    size_t d = 0;
    if (!cJSON_IsObject(item)) {
        return lv_fail(LV_ERR_FORMAT, "expected an object, found %s", lv_json_kind(item));
    }
    int rc = lv_json_string(item, "dtype", true, &dtype);
    if (rc < 0) {
        return rc;
    }
    while (d < N_DTYPES && strcmp(dtypes[d].name, dtype) != 0) {
        d++;
    }
    if (d == N_DTYPES) {
        return lv_fail(LV_ERR_FORMAT, "\"dtype\": \"%s\" is none of the format's", dtype);
    }
    rc = parse_shape(weight, lv_json_find(item, "shape"));
    if (rc == LV_OK) rc = shape_bytes(&n_bytes, weight, dtypes[d].bits);
    if (rc < 0) {
        return rc;
    }
    const cJSON *offsets = lv_json_find(item, "data_offsets");
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !whole_number(cJSON_GetArrayItem(offsets, 0), &begin) ||
        !whole_number(cJSON_GetArrayItem(offsets, 1), &end) || begin > end) {
        return lv_fail(LV_ERR_FORMAT, "\"data_offsets\": expected [begin, end]");
    }
    if (end > data_bytes) {
        return lv_fail(LV_ERR_FORMAT,
                       "its bytes end at %" PRId64 ", the file has %" PRId64
                       " after the header: cut short?",
                       end, data_bytes);
    }
    if (end - begin != n_bytes) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"data_offsets\" span %" PRId64 " bytes, dtype and shape need %" PRId64,
                       end - begin, n_bytes);
    }
    weight->dtype = dtypes[d].dtype;
    weight->data = data + begin;
    weight->n_bytes = n_bytes;
    entry->dtype_name = dtypes[d].name;
    entry->readable = dtypes[d].readable;
    return LV_OK;
}

static int compare_offsets(const void *a, const void *b)
{
    const lv_weight *x = &((const lv_header_entry *)a)->weight;
    const lv_weight *y = &((const lv_header_entry *)b)->weight;
    if (x->data != y->data) {
        return x->data < y->data ? -1 : 1;
    }
    return x->n_bytes < y->n_bytes ? -1 : x->n_bytes > y->n_bytes;
}

/* Entries in order of place: each byte after the header belongs to exactly one tensor. */
static int check_cover(const lv_header_entry *entries, size_t n, const uint8_t *data,
                       const uint8_t *end)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *begin = entries[i].weight.data;
        if (begin != at) {
            return lv_fail(LV_ERR_FORMAT, "tensor \"%s\": its bytes %s", entries[i].name,
                           begin < at ? "overlap another tensor's" : "follow a hole");
        }
        at = begin + entries[i].weight.n_bytes;
    }
    return at == end ? LV_OK
                     : lv_fail(LV_ERR_FORMAT, "%td bytes at the end belong to no tensor", end - at);
}

static int parse_tensors(lv_header_entry **out, size_t *n, const cJSON *root, const uint8_t *data,
                         int64_t data_bytes)
{
    const cJSON *item;
    lv_header_entry *entries = calloc((size_t)cJSON_GetArraySize(root) + 1, sizeof *entries);
    if (!entries) {
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    *out = entries;
    cJSON_ArrayForEach (item, root) {
        if (strcmp(item->string, "__metadata__") == 0) {
            if (!cJSON_IsObject(item)) {
                return lv_fail(LV_ERR_FORMAT, "\"__metadata__\": expected an object, found %s",
                               lv_json_kind(item));
            }
            continue;
        }
        lv_header_entry *entry = &entries[(*n)++];
        entry->name = strdup(item->string);
        int rc = entry->name ? parse_entry(entry, item, data, data_bytes)
                             : lv_fail(LV_ERR_MEMORY, "out of memory");
        if (rc < 0) {
            return lv_fail_within("tensor \"%s\"", item->string);
        }
        entry->weight.name = entry->name;
    }
    qsort(entries, *n, sizeof *entries, compare_offsets);
    return check_cover(entries, *n, data, data + data_bytes);
}

static int parse_file(lv_header_entry **entries, size_t *n, size_t *header_bytes,
                      const lv_file_map *map)
{
    uint64_t length = 0;
    cJSON *root = NULL;
    if (map->n_bytes < LENGTH_BYTES) {
        return lv_fail(LV_ERR_FORMAT, "%zu bytes: not a safetensors file", map->n_bytes);
    }
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) {
        length = length << 8 | map->data[i];
    }
    uint64_t room = map->n_bytes - LENGTH_BYTES;
    if (length > room || length > MAX_HEADER_BYTES) {
        return lv_fail(LV_ERR_FORMAT,
                       "a header of %" PRIu64 " bytes, the file has %" PRIu64
                       " and the limit is %" PRIu64 ": not a safetensors file, or cut short",
                       length, room, MAX_HEADER_BYTES);
    }
    const char *text = (const char *)map->data + LENGTH_BYTES;
    int rc = lv_json_parse(&root, text, (size_t)length);
    if (rc < 0) {
        return lv_fail_within("header");
    }
    if (!cJSON_IsObject(root)) {
        rc = lv_fail(LV_ERR_FORMAT, "header: expected an object, found %s", lv_json_kind(root));
    } else {
        *header_bytes = LENGTH_BYTES + (size_t)length;
        rc = parse_tensors(entries, n, root, map->data + *header_bytes, (int64_t)(room - length));
    }
    cJSON_Delete(root);
    return rc;
}

static const char *const suffixes[] = {".safetensors", NULL};
static const char *const files[] = {"model.safetensors", "projector.safetensors", NULL};

const lv_weights_format lv_weights_format_safetensors = {
    .name = "safetensors",
    .suffixes = suffixes,
    .files = files,
    .index = "model.safetensors.index.json",
    .parse = parse_file,
};
