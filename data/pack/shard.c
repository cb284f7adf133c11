/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pack/shard.h"

#include "autograd/error.h"
#include "data/base/fail_point.h"
#include "data/base/file.h"
#include "data/base/hdf5.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { PIECE_BYTES = 1 << 20, MAX_COLUMN_BYTES = 16 << 20 };

/* Columns are kept in memory as they lie in the file, so that checksums are of both. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a pack is little-endian");

void lv_pack_shard_free(lv_pack_shard *shard)
{
    for (int i = 0; i < LV_PACK_MAX_FIELDS; i++) {
        free(shard->columns[i].data);
        if (shard->columns[i].spool) {
            fclose(shard->columns[i].spool);
        }
        shard->columns[i] = (lv_pack_column){0};
    }
}

static uint32_t crc_of_column(uint32_t crc, const void *data, size_t n)
{
    return (uint32_t)crc32_z(crc, data, n);
}

static hid_t file_type(const lv_pack_field *field)
{
    return field->type == LV_PACK_U8    ? H5T_STD_U8LE
           : field->type == LV_PACK_I32 ? H5T_STD_I32LE
           : field->type == LV_PACK_U32 ? H5T_STD_U32LE
                                        : H5T_STD_I64LE;
}

/* Moves the rows in memory to a file without a name beside the shard's. */
static int open_spool(lv_pack_shard *shard, int field)
{
    lv_pack_column *c = &shard->columns[field];
    size_t n_bytes = (size_t)c->n * lv_pack_row_bytes(&shard->kind->fields[field]);
    char *beside = lv_file_beside(shard->path);
    FILE *spool = fopen(beside, "w+b");
    int rc =
        spool && unlink(beside) == 0 && fwrite(c->data ? c->data : "", 1, n_bytes, spool) == n_bytes
            ? LV_OK
            : lv_fail_errno(LV_ERR_IO, "%s", beside);
    free(beside);
    if (rc < 0) {
        if (spool) {
            fclose(spool);
        }
        return rc;
    }
    c->spool = spool;
    c->spool_crc = crc_of_column(0, c->data ? c->data : "", n_bytes);
    free(c->data);
    c->data = NULL;
    c->capacity = 0;
    return LV_OK;
}

static int append_to_spool(lv_pack_shard *shard, int field, const void *rows, int64_t n)
{
    lv_pack_column *c = &shard->columns[field];
    size_t row_bytes = lv_pack_row_bytes(&shard->kind->fields[field]);
    if (fwrite(rows, row_bytes, (size_t)n, c->spool) != (size_t)n) {
        return lv_fail_errno(LV_ERR_IO, "%s: writing beside it", shard->path);
    }
    c->spool_crc = crc_of_column(c->spool_crc, rows, (size_t)n * row_bytes);
    c->n += n;
    return LV_OK;
}

int lv_pack_append(lv_pack_shard *shard, int field, const void *rows, int64_t n)
{
    lv_pack_column *c = &shard->columns[field];
    int64_t row_bytes = (int64_t)lv_pack_row_bytes(&shard->kind->fields[field]);
    if (n == 0) {
        return LV_OK;
    }
    if (!c->spool && n > MAX_COLUMN_BYTES / row_bytes - c->n) {
        int rc = open_spool(shard, field);
        if (rc < 0) {
            return rc;
        }
    }
    if (c->spool) {
        return append_to_spool(shard, field, rows, n);
    }
    if (n > c->capacity - c->n) {
        int64_t capacity = 2 * (c->n + n);
        void *data = realloc(c->data, (size_t)(capacity * row_bytes));
        if (!data) {
            return lv_fail(LV_ERR_MEMORY, "no memory for a shard's \"%s\"",
                           shard->kind->fields[field].name);
        }
        c->data = data;
        c->capacity = capacity;
    }
    memcpy((char *)c->data + c->n * row_bytes, rows, (size_t)(n * row_bytes));
    c->n += n;
    return LV_OK;
}

int lv_pack_append_int64(lv_pack_shard *shard, int field, int64_t value)
{
    return lv_pack_append(shard, field, &value, 1);
}

/* ---- writing (under the lock) ---- */

static int write_spooled(hid_t dataset, const lv_pack_field *field, const lv_pack_column *c)
{
    size_t row_bytes = lv_pack_row_bytes(field);
    int64_t piece_rows = PIECE_BYTES / (int64_t)row_bytes;
    char *piece = malloc(PIECE_BYTES);
    int rc = piece ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory");
    if (rc == LV_OK && fseeko(c->spool, 0, SEEK_SET) != 0) {
        rc = lv_fail_errno(LV_ERR_IO, "writing beside the pack");
    }
    for (int64_t at = 0; rc == LV_OK && at < c->n; at += piece_rows) {
        int64_t n = c->n - at < piece_rows ? c->n - at : piece_rows;
        rc = fread(piece, row_bytes, (size_t)n, c->spool) == (size_t)n
                 ? lv_h5_dataset_write(dataset, file_type(field), at, n, piece)
                 : lv_fail_errno(LV_ERR_IO, "reading back what was written beside the pack");
    }
    free(piece);
    return rc;
}

static int write_column(hid_t file, const lv_pack_field *field, const lv_pack_column *c)
{
    hid_t dataset;
    int rc =
        lv_h5_dataset_create(&dataset, file, field->name, file_type(field), c->n, field->n_columns);
    if (rc < 0) {
        return rc;
    }
    uint32_t crc =
        c->spool ? c->spool_crc
                 : crc_of_column(0, c->n ? c->data : "", (size_t)c->n * lv_pack_row_bytes(field));
    rc = c->spool ? write_spooled(dataset, field, c)
                  : lv_h5_dataset_write(dataset, file_type(field), 0, c->n, c->data);
    if (rc == LV_OK) {
        rc = lv_h5_write_text(dataset, "unit", field->unit);
    }
    if (rc == LV_OK) {
        rc = lv_h5_write_int(dataset, "crc32", crc);
    }
    if (H5Dclose(dataset) < 0 && rc == LV_OK) {
        rc = lv_h5_fail(LV_ERR_IO, "closing \"%s\"", field->name);
    }
    return rc;
}

static int write_attributes(hid_t file, const lv_pack_kind *kind, int64_t index,
                            const lv_pack_identity *identity)
{
    int rc = lv_h5_write_int(file, "format_version", LV_PACK_FORMAT_VERSION);
    if (rc == LV_OK) {
        rc = lv_h5_write_text(file, "kind", kind->name);
    }
    if (rc == LV_OK) {
        rc = lv_h5_write_int(file, "shard", index);
    }
    for (int i = 0; rc == LV_OK && i < LV_PACK_N_ATTRIBUTES; i++) {
        const lv_pack_attribute *a = &LV_PACK_ATTRIBUTE_TABLE[i];
        const void *value = (const char *)identity + a->place;
        rc = a->is_text ? lv_h5_write_text(file, a->name, value)
                        : lv_h5_write_int(file, a->name, *(const int64_t *)value);
    }
    return rc;
}

static int write_hdf5(const char *beside, const lv_pack_shard *shard, int64_t index,
                      const lv_pack_identity *identity)
{
    hid_t file = H5I_INVALID_HID;
    lv_h5_lock();
    int rc = lv_h5_create_after(&file, beside, LV_PACK_SEAL_BYTES);
    if (rc == LV_OK && write_attributes(file, shard->kind, index, identity) < 0) {
        rc = lv_fail_within("%s", beside);
    }
    for (int i = 0; rc == LV_OK && i < shard->kind->n_fields; i++) {
        rc = write_column(file, &shard->kind->fields[i], &shard->columns[i]);
        if (rc == LV_OK) rc = lv_fail_point("pack.shard.dataset");
        rc = rc < 0 ? lv_fail_within("%s", beside) : rc;
    }
    if (rc == LV_OK) rc = lv_h5_close(&file, beside);
    if (rc < 0) {
        lv_h5_discard(&file, beside);
    }
    lv_h5_unlock();
    return rc;
}

/* A fail point whose message names the shard. */
static int pass(const char *point, const char *path)
{
    int rc = lv_fail_point(point);
    return rc < 0 ? lv_fail_within("%s", path) : rc;
}

int lv_pack_shard_write(int64_t *n_bytes, int64_t *crc32, const lv_pack_shard *shard, int64_t index,
                        const lv_pack_identity *identity)
{
    char *beside = lv_file_beside(shard->path);
    int rc = write_hdf5(beside, shard, index, identity);
    if (rc == LV_OK) rc = pass("pack.shard.closed", beside);
    if (rc == LV_OK) rc = lv_pack_seal_write(beside, n_bytes, crc32);
    if (rc == LV_OK) rc = pass("pack.shard.sealed", beside);
    if (rc == LV_OK) rc = lv_file_sync(beside);
    if (rc == LV_OK) rc = pass("pack.shard.synced", beside);
    if (rc == LV_OK) rc = lv_file_rename(beside, shard->path);
    if (rc == LV_OK) rc = pass("pack.shard.renamed", shard->path);
    if (rc < 0) {
        unlink(beside);
    }
    free(beside);
    return rc;
}

/* ---- reading ---- */

static int read_attributes(hid_t file, lv_pack_identity *identity, const lv_pack_kind *kind,
                           int64_t index)
{
    int64_t version = 0, shard = 0;
    char name[LV_PACK_TEXT_BYTES];
    if (lv_h5_read_int(file, "format_version", &version) < 0 ||
        lv_h5_read_text(file, "kind", name, sizeof name) < 0 ||
        lv_h5_read_int(file, "shard", &shard) < 0) {
        return lv_fail_within("not a shard of a pack");
    }
    int checked = lv_pack_check_version(version);
    if (checked < 0) {
        return checked;
    }
    if (strcmp(name, kind->name) != 0 || shard != index) {
        return lv_fail(LV_ERR_FORMAT,
                       "holds shard %" PRId64 " of the %s, not %" PRId64 " of the %s", shard, name,
                       index, kind->name);
    }
    for (int i = 0; i < LV_PACK_N_ATTRIBUTES; i++) {
        const lv_pack_attribute *a = &LV_PACK_ATTRIBUTE_TABLE[i];
        void *value = (char *)identity + a->place;
        int rc = a->is_text ? lv_h5_read_text(file, a->name, value, LV_PACK_TEXT_BYTES)
                            : lv_h5_read_int(file, a->name, value);
        if (rc < 0) {
            return rc;
        }
    }
    return LV_OK;
}

int lv_pack_shard_open(hid_t *file, lv_pack_identity *identity, const char *path,
                       const lv_pack_kind *kind, int64_t index)
{
    hid_t opened = H5I_INVALID_HID;
    lv_pack_identity found = {0};
    lv_h5_lock();
    int rc = lv_h5_open(&opened, path);
    if (rc == LV_OK) rc = read_attributes(opened, &found, kind, index);
    if (rc < 0 && opened >= 0) {
        rc = lv_fail_within("%s", path);
        H5Fclose(opened);
    }
    lv_h5_unlock();
    if (rc == LV_OK) {
        *file = opened;
        *identity = found;
    }
    return rc;
}

void lv_pack_shard_close(hid_t *file)
{
    if (*file >= 0) {
        lv_h5_lock();
        H5Fclose(*file);
        lv_h5_unlock();
    }
    *file = H5I_INVALID_HID;
}

static int open_column(hid_t *dataset, int64_t *n, hid_t file, const lv_pack_field *field)
{
    return lv_h5_dataset_open(dataset, n, file, field->name, file_type(field), field->n_columns);
}

/* Reads a whole column and compares its CRC-32. */
static int read_checked(hid_t dataset, const lv_pack_field *field, int64_t n, void *data)
{
    int64_t want = 0;
    int rc = lv_h5_dataset_read(dataset, file_type(field), 0, n, data);
    if (rc == LV_OK) rc = lv_h5_read_int(dataset, "crc32", &want);
    if (rc == LV_OK && crc_of_column(0, data, (size_t)n * lv_pack_row_bytes(field)) != want) {
        rc = lv_fail(LV_ERR_FORMAT, "damaged: its checksum does not fit");
    }
    return rc;
}

int lv_pack_shard_load(lv_pack_shard *shard, hid_t file, const char *path, int field)
{
    const lv_pack_field *f = &shard->kind->fields[field];
    hid_t dataset;
    int64_t n = 0;
    void *data = NULL;
    lv_h5_lock();
    int rc = open_column(&dataset, &n, file, f);
    if (rc == LV_OK) {
        data = malloc((size_t)n * lv_pack_row_bytes(f) + 1);
        rc = data ? read_checked(dataset, f, n, data) : lv_fail(LV_ERR_MEMORY, "out of memory");
        H5Dclose(dataset);
    }
    lv_h5_unlock();
    if (rc < 0) {
        free(data);
        return lv_fail_within("%s: %s", path, f->name);
    }
    shard->columns[field] = (lv_pack_column){.n = n, .capacity = n, .data = data};
    return LV_OK;
}

int lv_pack_shard_n_rows(int64_t *n, hid_t file, const char *path, const lv_pack_kind *kind,
                         int field)
{
    hid_t dataset;
    lv_h5_lock();
    int rc = open_column(&dataset, n, file, &kind->fields[field]);
    if (rc == LV_OK) {
        H5Dclose(dataset);
    }
    lv_h5_unlock();
    return rc < 0 ? lv_fail_within("%s", path) : rc;
}

int lv_pack_shard_read(void *rows, hid_t file, const char *path, const lv_pack_kind *kind,
                       int field, int64_t first, int64_t n)
{
    const lv_pack_field *f = &kind->fields[field];
    hid_t dataset;
    int64_t n_rows = 0;
    lv_h5_lock();
    int rc = open_column(&dataset, &n_rows, file, f);
    if (rc == LV_OK) {
        rc = first + n > n_rows ? lv_fail(LV_ERR_FORMAT, "has fewer rows than it had")
                                : lv_h5_dataset_read(dataset, file_type(f), first, n, rows);
        H5Dclose(dataset);
    }
    lv_h5_unlock();
    return rc < 0 ? lv_fail_within("%s: %s", path, f->name) : rc;
}

int lv_pack_check_offsets(const lv_pack_shard *shard, const char *path, int field, int64_t n_things,
                          int64_t n_owned)
{
    const lv_pack_column *c = &shard->columns[field];
    const int64_t *offset = c->data;
    bool good = c->n == n_things + 1 && offset[0] == 0 && offset[n_things] == n_owned;
    for (int64_t i = 0; good && i < n_things; i++) {
        good = offset[i] <= offset[i + 1];
    }
    return good ? LV_OK
                : lv_fail(LV_ERR_FORMAT,
                          "%s: %s do not run from 0 to %" PRId64 " in %" PRId64 " steps", path,
                          shard->kind->fields[field].name, n_owned, n_things);
}
