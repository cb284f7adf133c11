/* SPDX-License-Identifier: Apache-2.0
 *
 * A shard's seal: HDF5 leaves the first LV_PACK_SEAL_BYTES of a file to its user (the "user
 * block"); there stand a line with the size and the CRC-32 of all that follows, and zero bytes. So
 * every shard can tell alone whether a single one of its bytes was changed.
 */
#ifndef LV_DATA_PACK_SEAL_H
#define LV_DATA_PACK_SEAL_H

#include <stdint.h>

enum { LV_PACK_SEAL_BYTES = 512 };

/* lv_pack_seal_write: read the closed file behind the user block, write the seal; not synced.
 * out    size and CRC-32 of the whole file
 * fails  LV_ERR_IO, LV_ERR_MEMORY */
int lv_pack_seal_write(const char *path, int64_t *n_bytes, int64_t *crc32);

/* lv_pack_seal_check: read the whole file.
 * out    as above
 * fails  LV_ERR_FORMAT if it is damaged; LV_ERR_IO, LV_ERR_MEMORY */
int lv_pack_seal_check(const char *path, int64_t *n_bytes, int64_t *crc32);

#endif
