/* SPDX-License-Identifier: Apache-2.0
 *
 * The records of LLaVA's data, one after another: a JSON array or JSONL (see data/json/stream.h).
 * Takes the memory of one record, whatever the file's size; reading can restart at any record.
 */
#ifndef LV_DATA_PACK_WRITE_SOURCE_H
#define LV_DATA_PACK_WRITE_SOURCE_H

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lv_pack_source lv_pack_source;

/* lv_pack_source_open: reads the whole file once.
 * fails  LV_ERR_IO, LV_ERR_MEMORY; LV_ERR_FORMAT with line and column if it is neither, or is cut
 *        short */
int lv_pack_source_open(lv_pack_source **out, const char *path);
void lv_pack_source_close(lv_pack_source **source);

int64_t lv_pack_source_n_records(const lv_pack_source *source);
int64_t lv_pack_source_n_bytes(const lv_pack_source *source);
uint32_t lv_pack_source_crc32(const lv_pack_source *source);

/* lv_pack_source_seek: the next record is that of this index, which may be n_records. */
void lv_pack_source_seek(lv_pack_source *source, int64_t index);

/* lv_pack_source_next: the record and its index; borrowed until the next call. A record that
 * lv_json_parse would refuse, or that is larger than LV_JSON_MAX_RECORD_BYTES, is NULL, and
 * lv_error_message() has the reason, after line and column; the next call continues after it.
 * returns 1, or 0 after the last record, or LV_ERR_IO (the file was changed), LV_ERR_MEMORY */
int lv_pack_source_next(lv_pack_source *source, int64_t *index, const cJSON **record);

/* lv_pack_source_next_images: as lv_pack_source_next, but only the names of the record's images, at
 * the speed of a scan: the rest is not parsed.
 * out    names[n]: those that lv_record_parse gives of a record that it accepts, in its order; of
 *        another record there may be names or none. Borrowed until the next call. */
int lv_pack_source_next_images(lv_pack_source *source, int64_t *index, size_t *n,
                               const char *const **names);

#endif
