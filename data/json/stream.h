/* SPDX-License-Identifier: Apache-2.0
 *
 * The records of a JSON file one after another, in the memory of one record, however many there
 * are. Two kinds of file, told apart by the first character that is not white space:
 *   [   a JSON array: its elements are the records
 *   {   JSONL: each line is a record; lines of white space alone are skipped
 * in UTF-8; a byte order mark at the beginning is skipped.
 *
 * lv_json_stream_open reads the file once, finds where records begin and proves that the file is
 * whole: brackets and quotes closed, commas where they belong, nothing after the end, and the last
 * line of JSONL ended by a newline or a whole record. An error there is a failure of the file,
 * with line and column, so that a file that was cut off never passes for a shorter one. The text
 * within a record is not checked here, but by lv_json_parse_part. (So a line of JSONL that is
 * not JSON spoils that record alone. A first line that breaks off as pretty-printed objects do is
 * refused, as then no line would be a record.)
 *
 * A change of the file's size or time while it is open is a failure.
 */
#ifndef LV_DATA_JSON_STREAM_H
#define LV_DATA_JSON_STREAM_H

#include "data/json/json.h"

#include <stddef.h>
#include <stdint.h>

enum { LV_JSON_MAX_RECORD_BYTES = 64 << 20 }; /* of one record; a larger one is skipped */

typedef struct lv_json_stream lv_json_stream;

/* lv_json_stream_open: piece_bytes are read at a time; 0 for the default (tests set it).
 * fails  LV_ERR_IO: no such file, not a regular file; LV_ERR_FORMAT: broken, see above;
 *        LV_ERR_MEMORY; each with the path */
int lv_json_stream_open(lv_json_stream **out, const char *path, size_t piece_bytes);
void lv_json_stream_close(lv_json_stream **stream);

int64_t lv_json_stream_n_records(const lv_json_stream *stream);
int64_t lv_json_stream_n_bytes(const lv_json_stream *stream); /* of the file */
uint32_t lv_json_stream_crc32(const lv_json_stream *stream);  /* of the file */

/* lv_json_stream_seek: the next record is that of this index, from 0; n_records is the end. Takes
 * at most the time of reading a thousand records. */
void lv_json_stream_seek(lv_json_stream *stream, int64_t index);

/* lv_json_stream_next: the next record's text, borrowed until the next call, and its index; NULL
 * and 0 bytes if it is larger than the limit. returns 1; 0 after the last; LV_ERR_IO,
 * LV_ERR_MEMORY with the path */
int lv_json_stream_next(lv_json_stream *stream, int64_t *index, const char **text, size_t *n);

/* lv_json_stream_place: of byte at of that record, in the file; of a record larger than the limit,
 * of its first byte. */
lv_json_place lv_json_stream_place(const lv_json_stream *stream, size_t at);

#endif
