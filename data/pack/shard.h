/* SPDX-License-Identifier: Apache-2.0
 *
 * One shard: its columns in memory, written to a file and read from one, by the tables of
 * format.h. These functions take the HDF5 lock themselves.
 */
#ifndef LV_DATA_PACK_SHARD_H
#define LV_DATA_PACK_SHARD_H

#include "data/pack/format.h"

#include <hdf5.h>
#include <stdio.h>

typedef struct {
    int64_t n, capacity; /* rows */
    void *data;
    FILE *spool; /* if set, the rows are here instead: the column was too big for memory */
    uint32_t spool_crc;
} lv_pack_column;

/* lv_pack_shard: start it with {.kind = ...}, to be written with .path too. */
typedef struct {
    const lv_pack_kind *kind;
    const char *path; /* of the file that it will be; borrowed */
    lv_pack_column columns[LV_PACK_MAX_FIELDS];
} lv_pack_shard;
void lv_pack_shard_free(lv_pack_shard *shard);

/* lv_pack_append: n rows to a column. Rows beyond 16 MiB go to a file without a name beside the
 * shard's.
 * fails  LV_ERR_MEMORY, LV_ERR_IO */
int lv_pack_append(lv_pack_shard *shard, int field, const void *rows, int64_t n);
int lv_pack_append_int64(lv_pack_shard *shard, int field, int64_t value);

/* lv_pack_shard_write: the file appears at shard->path whole and sealed, or not at all.
 * out    *n_bytes, *crc32: of the file
 * fails  LV_ERR_IO */
int lv_pack_shard_write(int64_t *n_bytes, int64_t *crc32, const lv_pack_shard *shard, int64_t index,
                        const lv_pack_identity *identity);

/* lv_pack_shard_open: file is the caller's: lv_pack_shard_close.
 * fails  LV_ERR_FORMAT if it is not a shard of that kind and index, with its name;
 *        LV_ERR_UNSUPPORTED if it is of another format version */
int lv_pack_shard_open(hid_t *file, lv_pack_identity *identity, const char *path,
                       const lv_pack_kind *kind, int64_t index);
void lv_pack_shard_close(hid_t *file);

/* lv_pack_shard_load: a whole column into an empty one, its CRC-32 checked.
 * fails  LV_ERR_FORMAT, LV_ERR_IO, LV_ERR_MEMORY */
int lv_pack_shard_load(lv_pack_shard *shard, hid_t file, const char *path, int field);

/* lv_pack_shard_n_rows: of a column that is not loaded. */
int lv_pack_shard_n_rows(int64_t *n, hid_t file, const char *path, const lv_pack_kind *kind,
                         int field);

/* lv_pack_shard_read: rows [first, first + n) of a column; the caller has checked the range. */
int lv_pack_shard_read(void *rows, hid_t file, const char *path, const lv_pack_kind *kind,
                       int field, int64_t first, int64_t n);

/* lv_pack_check_offsets: field is an offset array of n_things things that own all of n_owned.
 * fails  LV_ERR_FORMAT */
int lv_pack_check_offsets(const lv_pack_shard *shard, const char *path, int field, int64_t n_things,
                          int64_t n_owned);

/* ---- the seal ----
 * HDF5 leaves the first LV_PACK_SEAL_BYTES of a file to its user (the "user block"). The seal there
 * is a line with the size and the CRC-32 of all that follows, and zero bytes, so that a change of a
 * single byte of a shard is found without the manifest. */
enum { LV_PACK_SEAL_BYTES = 512 };

/* lv_pack_seal_write: read the closed file after the user block, write the seal; not synced.
 * out    size and CRC-32 of the whole file
 * fails  LV_ERR_IO, LV_ERR_MEMORY */
int lv_pack_seal_write(const char *path, int64_t *n_bytes, int64_t *crc32);

/* lv_pack_seal_check: read the whole file.
 * out    as above
 * fails  LV_ERR_FORMAT if it is damaged; LV_ERR_IO, LV_ERR_MEMORY */
int lv_pack_seal_check(const char *path, int64_t *n_bytes, int64_t *crc32);

static inline const int64_t *lv_pack_int64(const lv_pack_shard *shard, int field)
{
    return (const int64_t *)shard->columns[field].data;
}

#endif
