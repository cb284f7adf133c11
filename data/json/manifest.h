/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON files with a checksum: the last line has the CRC-32 of all bytes
 * before it, so that any changed byte, in that line too, is found. Used for a pack's and a
 * checkpoint's manifest.json and a model's digests.json, all of which list files with size and
 * CRC-32 in an object "files": {"name": {"bytes": n, "crc32": "8 hex digits"}}.
 */
#ifndef LV_DATA_JSON_MANIFEST_H
#define LV_DATA_JSON_MANIFEST_H

#include <cjson/cJSON.h>
#include <stdint.h>

/* lv_manifest_write: root printed with its own CRC-32 added as the last member "self_crc32".
 * The file appears whole or not at all. root is left as it was.
 * fails  LV_ERR_IO */
int lv_manifest_write(const char *path, const cJSON *root);

/* lv_manifest_read: check the CRC-32, then parse. out is the caller's: cJSON_Delete.
 * fails  LV_ERR_FORMAT if a byte was changed or the file was cut short, LV_ERR_IO */
int lv_manifest_read(cJSON **out, const char *path);

/* lv_manifest_add_file: note directory/name in root's "files" (made if absent), reading it once.
 * fails  LV_ERR_IO, LV_ERR_MEMORY */
int lv_manifest_add_file(cJSON *root, const char *directory, const char *name);

/* lv_manifest_add_entry: the same with size and CRC-32 known. */
int lv_manifest_add_entry(cJSON *root, const char *name, int64_t n_bytes, uint32_t crc);

/* lv_manifest_check_files: every file that is listed is there with its size and CRC-32.
 * in     progress: called after each file with the bytes done and of all; may be NULL
 * fails  LV_ERR_FORMAT naming the first file that is not */
int lv_manifest_check_files(const cJSON *root, const char *directory,
                            void (*progress)(int64_t done_bytes, int64_t all_bytes));

/* lv_manifest_check_file: the same of one that is listed under that name. */
int lv_manifest_check_file(const cJSON *root, const char *directory, const char *name);

#endif
