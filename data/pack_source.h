/* SPDX-License-Identifier: Apache-2.0
 *
 * The records of a LLaVA JSON file, one after another. How they are read is known here alone.
 */
#ifndef LV_DATA_PACK_SOURCE_H
#define LV_DATA_PACK_SOURCE_H

#include <cjson/cJSON.h>
#include <stdint.h>

typedef struct lv_pack_source lv_pack_source;

/* lv_pack_source_open: fails  LV_ERR_IO, LV_ERR_MEMORY, LV_ERR_FORMAT if it is not a JSON array */
int lv_pack_source_open(lv_pack_source **out, const char *path);
void lv_pack_source_close(lv_pack_source **source);

int64_t lv_pack_source_n_records(const lv_pack_source *source);
int64_t lv_pack_source_n_bytes(const lv_pack_source *source);
uint32_t lv_pack_source_crc32(const lv_pack_source *source);

/* lv_pack_source_seek: the next record is that of this index, which may be n_records. */
void lv_pack_source_seek(lv_pack_source *source, int64_t index);

/* lv_pack_source_next: the record and its index; borrowed until the next call.
 * returns 1, or 0 behind the last record, or an error */
int lv_pack_source_next(lv_pack_source *source, int64_t *index, const cJSON **record);

#endif
