/* SPDX-License-Identifier: Apache-2.0 */
#include "train/checkpoint/file.h"

#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "data/base/fail_point.h"
#include "data/base/file.h"
#include "data/base/hdf5.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { BLOCK_ELEMENTS = 1 << 20, RANGE_COLUMNS = 2 };

static const char *const NAMES[LV_RANK_BUFFERS] = {"param", "exp_avg", "exp_avg_sq"};
static const char RANGES[] = "pieces";

static hid_t memory_type(lv_dtype dtype)
{
    return dtype == LV_BF16                   ? H5T_NATIVE_UINT16
           : sizeof(lv_real) == sizeof(float) ? H5T_NATIVE_FLOAT
                                              : H5T_NATIVE_DOUBLE;
}

static hid_t file_type(lv_dtype dtype)
{
    return dtype == LV_BF16 ? H5T_STD_U16LE : H5T_IEEE_F32LE;
}

lv_rank_values lv_rank_values_of(lv_params *params, const lv_moments *moments)
{
    lv_rank_values values = {.params = params};
    if (moments) {
        values.moments = moments->dtype;
        values.buffers[LV_RANK_EXP_AVG] = moments->exp_avg;
        values.buffers[LV_RANK_EXP_AVG_SQ] = moments->exp_avg_sq;
    }
    return values;
}

lv_dtype lv_rank_values_dtype(const lv_rank_values *values, int buffer)
{
    return buffer == LV_RANK_PARAM ? LV_F32 : values->moments;
}

int64_t lv_rank_values_element_bytes(const lv_rank_values *values)
{
    int64_t bytes = 0;
    for (int i = 0; i < LV_RANK_BUFFERS; i++) {
        bytes += (int64_t)lv_dtype_bytes(lv_rank_values_dtype(values, i));
    }
    return bytes;
}

void *lv_rank_values_at(const lv_rank_values *values, int buffer, const lv_bucket_shard *own)
{
    return values->buffers[buffer]
               ? lv_element(values->buffers[buffer], lv_rank_values_dtype(values, buffer), own->at)
               : lv_params_master(values->params, own);
}

/* The ranges that the rank owns, as rows of begin and end; none is empty. */
static int64_t (*list_own(const lv_shard *shard, int64_t *n))[RANGE_COLUMNS]
{
    int64_t(*rows)[RANGE_COLUMNS] = calloc((size_t)shard->n_buckets + 1, sizeof *rows);
    LV_CHECK(rows, "out of memory for a list of ranges");
    *n = 0;
    for (int64_t k = 0; k < shard->n_buckets; k++) {
        if (shard->own[k].end > shard->own[k].begin) {
            rows[*n][0] = shard->own[k].begin;
            rows[(*n)++][1] = shard->own[k].end;
        }
    }
    return rows;
}

/* ---- writing ---- */

static int write_ranges(hid_t file, const lv_shard *shard)
{
    hid_t set = H5I_INVALID_HID;
    int64_t n;
    int64_t(*rows)[RANGE_COLUMNS] = list_own(shard, &n);
    int rc = lv_h5_dataset_create(&set, file, RANGES, H5T_STD_I64LE, n, RANGE_COLUMNS);
    if (rc == LV_OK) rc = lv_h5_dataset_write(set, H5T_NATIVE_INT64, 0, n, rows);
    if (set >= 0 && H5Dclose(set) < 0 && rc == LV_OK) {
        rc = lv_h5_fail(LV_ERR_IO, "closing \"%s\"", RANGES);
    }
    free(rows);
    return rc;
}

static int write_rows(hid_t set, int64_t first, int64_t n, const void *data, lv_dtype dtype)
{
    int rc = LV_OK;
    for (int64_t i = 0; rc == LV_OK && i < n; i += BLOCK_ELEMENTS) {
        rc = lv_h5_dataset_write(set, memory_type(dtype), first + i,
                                 n - i < BLOCK_ELEMENTS ? n - i : BLOCK_ELEMENTS,
                                 lv_element_const(data, dtype, i));
        lv_h5_pause();
    }
    return rc;
}

static int write_buffer(hid_t file, const lv_rank_values *values, int buffer)
{
    const lv_shard *shard = lv_params_shard(values->params);
    hid_t set = H5I_INVALID_HID;
    const lv_dtype dtype = lv_rank_values_dtype(values, buffer);
    int rc = lv_h5_dataset_create(&set, file, NAMES[buffer], file_type(dtype), shard->own_count, 1);
    for (int64_t k = 0; rc == LV_OK && k < shard->n_buckets; k++) {
        const lv_bucket_shard *own = &shard->own[k];
        rc = write_rows(set, own->at, own->end - own->begin, lv_rank_values_at(values, buffer, own),
                        dtype);
    }
    if (set >= 0 && H5Dclose(set) < 0 && rc == LV_OK) {
        rc = lv_h5_fail(LV_ERR_IO, "closing");
    }
    if (rc == LV_OK) rc = lv_fail_point("checkpoint.dataset");
    return rc < 0 ? lv_fail_within("\"%s\"", NAMES[buffer]) : LV_OK;
}

static int write_datasets(hid_t file, const lv_rank_values *values)
{
    int rc = write_ranges(file, lv_params_shard(values->params));
    for (int i = 0; rc == LV_OK && i < LV_RANK_BUFFERS; i++) {
        rc = write_buffer(file, values, i);
    }
    return rc;
}

int lv_rank_file_write(const char *path, const lv_rank_values *values)
{
    hid_t file = H5I_INVALID_HID;
    lv_h5_lock();
    int rc = lv_h5_create(&file, path);
    if (rc == LV_OK && (rc = write_datasets(file, values)) < 0) {
        lv_fail_within("%s", path);
    }
    if (rc == LV_OK) rc = lv_h5_close(&file, path);
    if (rc < 0) {
        lv_h5_discard(&file, path);
    }
    lv_h5_unlock();
    return rc;
}

/* ---- reading ---- */

static int check_ranges(const lv_range *ranges, int64_t n, int64_t count)
{
    int64_t end = 0;
    for (int64_t i = 0; i < n; i++) {
        if (ranges[i].begin < end || ranges[i].end <= ranges[i].begin || ranges[i].end > count) {
            return lv_fail(LV_ERR_FORMAT,
                           "\"%s\": row %" PRId64 " is [%" PRId64 ", %" PRId64
                           "), expected ascending parts of %" PRId64 " elements",
                           RANGES, i, ranges[i].begin, ranges[i].end, count);
        }
        end = ranges[i].end;
    }
    return LV_OK;
}

static int read_ranges(lv_range **out, int64_t *n, hid_t file, int64_t count)
{
    hid_t set = H5I_INVALID_HID;
    lv_range *ranges = NULL;
    _Static_assert(sizeof(lv_range) == RANGE_COLUMNS * sizeof(int64_t), "a row is an lv_range");
    int rc = lv_h5_dataset_open(&set, n, file, RANGES, H5T_STD_I64LE, RANGE_COLUMNS);
    if (rc == LV_OK && *n > count) {
        rc = lv_fail(LV_ERR_FORMAT, "\"%s\" has %" PRId64 " rows for %" PRId64 " elements", RANGES,
                     *n, count);
    }
    if (rc == LV_OK && !(ranges = calloc((size_t)*n + 1, sizeof *ranges))) {
        rc = lv_fail(LV_ERR_MEMORY, "no memory for %" PRId64 " ranges", *n);
    }
    if (rc == LV_OK) rc = lv_h5_dataset_read(set, H5T_NATIVE_INT64, 0, *n, ranges);
    if (rc == LV_OK) rc = check_ranges(ranges, *n, count);
    if (set >= 0) {
        H5Dclose(set);
    }
    if (rc < 0) {
        free(ranges);
        return rc;
    }
    *out = ranges;
    return LV_OK;
}

int lv_rank_file_ranges(lv_range **out, int64_t *n, const char *path, int64_t count)
{
    hid_t file = H5I_INVALID_HID;
    lv_h5_lock();
    int rc = lv_h5_open(&file, path);
    if (rc == LV_OK) {
        rc = read_ranges(out, n, file, count);
        rc = rc < 0 ? lv_fail_within("%s", path) : rc;
        H5Fclose(file);
    }
    lv_h5_unlock();
    return rc;
}

/* Called for flat elements [begin, end) that are in the file, from row `first` on, and in `owned`.
 * returns LV_OK; another value ends the walk, which returns it */
typedef int own_visitor(void *context, int64_t first, int64_t begin, int64_t end,
                        const lv_bucket_shard *owned);

static int visit_owned(const lv_shard *shard, int64_t first, int64_t begin, int64_t end,
                       own_visitor *visit, void *context)
{
    int rc = LV_OK;
    for (int64_t k = lv_shard_bucket_of(shard, begin);
         rc == LV_OK && k < shard->n_buckets && shard->buckets[k].begin < end; k++) {
        const lv_bucket_shard *own = &shard->own[k];
        int64_t from = own->begin > begin ? own->begin : begin;
        int64_t to = own->end < end ? own->end : end;
        rc = from < to ? visit(context, first + (from - begin), from, to, own) : LV_OK;
    }
    return rc;
}

static int visit_all_owned(const lv_shard *shard, const lv_layout *layout, const lv_range *ranges,
                           int64_t n, own_visitor *visit, void *context)
{
    int rc = LV_OK;
    int64_t row = 0;
    size_t k = 0;
    for (int64_t i = 0; rc == LV_OK && i < n; i++) {
        const lv_range *p = &ranges[i];
        for (; k < layout->n; k++) {
            const lv_param_layout *q = &layout->params[k];
            const int64_t from = q->saved_begin > p->begin ? q->saved_begin : p->begin;
            const int64_t to =
                q->saved_begin + q->count < p->end ? q->saved_begin + q->count : p->end;
            const int64_t shift = q->begin - q->saved_begin;
            if (from < to) {
                rc = visit_owned(shard, row + (from - p->begin), from + shift, to + shift, visit,
                                 context);
            }
            if (rc != LV_OK || q->saved_begin + q->count > p->end) {
                break; /* the next range may begin in this parameter */
            }
        }
        row += p->end - p->begin;
    }
    return rc;
}

static int stop_at_first(void *context, int64_t first, int64_t begin, int64_t end,
                         const lv_bucket_shard *owned)
{
    (void)context, (void)first, (void)begin, (void)end, (void)owned;
    return 1;
}

typedef struct {
    const lv_rank_values *values;
    int buffer;
    hid_t set;
} buffer_reader;

/* Steps that are not finite are not applied: such values are never saved. */
static int check_values(int buffer, const void *data, lv_dtype dtype, int64_t n)
{
    int64_t n_bad = 0;
    for (int64_t i = 0; i < n; i++) {
        lv_real x;
        lv_convert_to_real(&x, lv_element_const(data, dtype, i), dtype, 1);
        n_bad += buffer == LV_RANK_EXP_AVG_SQ ? !(x >= 0) : !isfinite(x);
    }
    return n_bad == 0
               ? LV_OK
               : lv_fail(LV_ERR_FORMAT, "\"%s\": %" PRId64 " values are not finite%s",
                         NAMES[buffer], n_bad, buffer == LV_RANK_EXP_AVG_SQ ? ", or below 0" : "");
}

static int read_own_range(void *context, int64_t first, int64_t begin, int64_t end,
                          const lv_bucket_shard *owned)
{
    const buffer_reader *r = context;
    const lv_dtype dtype = lv_rank_values_dtype(r->values, r->buffer);
    void *data =
        lv_element(lv_rank_values_at(r->values, r->buffer, owned), dtype, begin - owned->begin);
    int rc = lv_h5_dataset_read(r->set, memory_type(dtype), first, end - begin, data);
    return rc < 0 ? rc : check_values(r->buffer, data, dtype, end - begin);
}

static int read_buffer(hid_t file, const lv_range *ranges, int64_t n, const lv_layout *layout,
                       buffer_reader *r)
{
    int64_t n_rows = 0, n_elements = 0;
    for (int64_t i = 0; i < n; i++) {
        n_elements += ranges[i].end - ranges[i].begin;
    }
    int rc = lv_h5_dataset_open(&r->set, &n_rows, file, NAMES[r->buffer],
                                file_type(lv_rank_values_dtype(r->values, r->buffer)), 1);
    if (rc == LV_OK && n_rows != n_elements) {
        rc = lv_fail(LV_ERR_FORMAT, "\"%s\" holds %" PRId64 " elements, its ranges %" PRId64,
                     NAMES[r->buffer], n_rows, n_elements);
    }
    if (rc == LV_OK) {
        rc = visit_all_owned(lv_params_shard(r->values->params), layout, ranges, n, read_own_range,
                             r);
    }
    if (r->set >= 0) {
        H5Dclose(r->set);
    }
    return rc;
}

int lv_rank_file_read(const char *path, const lv_range *ranges, int64_t n, const lv_layout *layout,
                      const lv_rank_values *values)
{
    hid_t file = H5I_INVALID_HID;
    if (visit_all_owned(lv_params_shard(values->params), layout, ranges, n, stop_at_first, NULL) ==
        LV_OK) {
        return LV_OK;
    }
    lv_h5_lock();
    int rc = lv_h5_open(&file, path);
    for (int i = 0; rc == LV_OK && i < LV_RANK_BUFFERS; i++) {
        buffer_reader r = {.values = values, .buffer = i, .set = H5I_INVALID_HID};
        if (values->buffers[i] || i == LV_RANK_PARAM) {
            rc = read_buffer(file, ranges, n, layout, &r);
            rc = rc < 0 ? lv_fail_within("%s", path) : rc;
        }
    }
    if (file >= 0) {
        H5Fclose(file);
    }
    lv_h5_unlock();
    return rc;
}
