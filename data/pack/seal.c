/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pack/shard.h"

#include "autograd/error.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { PIECE_BYTES = 1 << 20 };

/* The seal of a body of that size and CRC-32. */
static void compose_seal(char seal[LV_PACK_SEAL_BYTES], int64_t n, uint32_t crc)
{
    memset(seal, 0, LV_PACK_SEAL_BYTES);
    snprintf(seal, LV_PACK_SEAL_BYTES,
             "llava.c pack shard, HDF5 from byte %d: %" PRId64 " bytes, CRC-32 %08" PRIx32 "\n",
             (int)LV_PACK_SEAL_BYTES, n, crc);
}

/* Size and CRC-32 of all bytes after the seal. */
static int digest_body(int fd, const char *path, int64_t *n_bytes, uint32_t *crc)
{
    char *piece = malloc(PIECE_BYTES);
    int rc = piece ? LV_OK : lv_fail(LV_ERR_MEMORY, "%s: no memory to read", path);
    *n_bytes = 0;
    *crc = 0;
    while (rc == LV_OK) {
        ssize_t n = pread(fd, piece, PIECE_BYTES, LV_PACK_SEAL_BYTES + *n_bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            rc = lv_fail_errno(LV_ERR_IO, "%s: reading", path);
        }
        if (n <= 0) {
            break;
        }
        *crc = (uint32_t)crc32_z(*crc, (const unsigned char *)piece, (size_t)n);
        *n_bytes += n;
    }
    free(piece);
    return rc;
}

static void digest_whole(const char seal[LV_PACK_SEAL_BYTES], int64_t n_body, uint32_t body_crc,
                         int64_t *n_bytes, int64_t *crc32)
{
    uLong seal_crc = crc32_z(0, (const unsigned char *)seal, LV_PACK_SEAL_BYTES);
    *n_bytes = LV_PACK_SEAL_BYTES + n_body;
    *crc32 = (int64_t)crc32_combine(seal_crc, body_crc, n_body);
}

int lv_pack_seal_write(const char *path, int64_t *n_bytes, int64_t *crc32)
{
    char seal[LV_PACK_SEAL_BYTES];
    int64_t n = 0;
    uint32_t crc = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    }
    int rc = digest_body(fd, path, &n, &crc);
    if (rc == LV_OK) {
        compose_seal(seal, n, crc);
        if (pwrite(fd, seal, sizeof seal, 0) != (ssize_t)sizeof seal) {
            rc = lv_fail_errno(LV_ERR_IO, "%s: writing", path);
        }
    }
    if (close(fd) < 0 && rc == LV_OK) {
        rc = lv_fail_errno(LV_ERR_IO, "%s: closing", path);
    }
    if (rc == LV_OK) {
        digest_whole(seal, n, crc, n_bytes, crc32);
    }
    return rc;
}

int lv_pack_seal_check(const char *path, int64_t *n_bytes, int64_t *crc32)
{
    char seal[LV_PACK_SEAL_BYTES], wanted[LV_PACK_SEAL_BYTES];
    int64_t n = 0;
    uint32_t crc = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    }
    int rc = pread(fd, seal, sizeof seal, 0) == (ssize_t)sizeof seal
                 ? digest_body(fd, path, &n, &crc)
                 : lv_fail(LV_ERR_FORMAT, "%s: too short for a shard", path);
    close(fd);
    compose_seal(wanted, n, crc);
    if (rc == LV_OK && memcmp(seal, wanted, sizeof seal) != 0) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: damaged: its checksum does not fit", path);
    }
    if (rc == LV_OK) {
        digest_whole(seal, n, crc, n_bytes, crc32);
    }
    return rc;
}
