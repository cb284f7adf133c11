/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pack/format.h"

#include "autograd/error.h"
#include "data/base/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#define FIELD(id, name, type, columns, unit) {name, LV_PACK_##type, columns, unit},
static const lv_pack_field SAMPLE_FIELDS[] = {LV_PACK_SAMPLE_FIELDS(FIELD)};
static const lv_pack_field IMAGE_FIELDS[] = {LV_PACK_IMAGE_FIELDS(FIELD)};

const lv_pack_kind LV_PACK_SAMPLES = {"samples", SAMPLE_FIELDS, LV_PACK_N_SAMPLE_FIELDS};
const lv_pack_kind LV_PACK_IMAGES = {"images", IMAGE_FIELDS, LV_PACK_N_IMAGE_FIELDS};

enum { TEXT = true, INT = false };
#define ATTRIBUTE(member, name, kind) {name, kind, offsetof(lv_pack_identity, member)},
const lv_pack_attribute LV_PACK_ATTRIBUTE_TABLE[] = {LV_PACK_ATTRIBUTES(ATTRIBUTE)};
const int LV_PACK_N_ATTRIBUTES =
    (int)(sizeof LV_PACK_ATTRIBUTE_TABLE / sizeof LV_PACK_ATTRIBUTE_TABLE[0]);

_Static_assert((int)LV_PACK_N_SAMPLE_FIELDS <= (int)LV_PACK_MAX_FIELDS,
               "LV_PACK_MAX_FIELDS is too small");
_Static_assert((int)LV_PACK_N_IMAGE_FIELDS <= (int)LV_PACK_MAX_FIELDS,
               "LV_PACK_MAX_FIELDS is too small");

size_t lv_pack_row_bytes(const lv_pack_field *field)
{
    size_t bytes = field->type == LV_PACK_U8 ? 1 : field->type == LV_PACK_I64 ? 8 : 4;
    return bytes * (size_t)field->n_columns;
}

int lv_pack_identity_compare(const lv_pack_identity *found, const lv_pack_identity *wanted)
{
    char list[1024] = "";
    size_t n = 0;
    for (int i = 0; i < LV_PACK_N_ATTRIBUTES; i++) {
        const lv_pack_attribute *a = &LV_PACK_ATTRIBUTE_TABLE[i];
        const void *have = (const char *)found + a->place;
        const void *want = (const char *)wanted + a->place;
        char text[2 * LV_PACK_TEXT_BYTES + 64];
        if (a->is_text ? strcmp(have, want) == 0
                       : *(const int64_t *)have == *(const int64_t *)want) {
            continue;
        }
        if (a->is_text) {
            snprintf(text, sizeof text, "%s%s is %s, not %s", n ? "; " : "", a->name,
                     (const char *)have, (const char *)want);
        } else {
            snprintf(text, sizeof text, "%s%s is %" PRId64 ", not %" PRId64, n ? "; " : "", a->name,
                     *(const int64_t *)have, *(const int64_t *)want);
        }
        snprintf(list + n, sizeof list - n, "%s", text);
        n = strlen(list);
    }
    return n ? lv_fail(LV_ERR_CONFIG, "%s", list) : LV_OK;
}

uint32_t lv_pack_sample_crc(const int32_t *tokens, const uint8_t *supervised, int64_t n_tokens,
                            const int64_t *image_ids, int64_t n_images)
{
    uLong crc = crc32(0, NULL, 0);
    crc = crc32_z(crc, (const unsigned char *)tokens, (size_t)n_tokens * sizeof *tokens);
    crc = crc32_z(crc, supervised, (size_t)n_tokens);
    if (n_images > 0) {
        crc = crc32_z(crc, (const unsigned char *)image_ids, (size_t)n_images * sizeof *image_ids);
    }
    return (uint32_t)crc;
}

char *lv_pack_shard_name(const lv_pack_kind *kind, int64_t shard)
{
    return lv_path("%s-%05" PRId64 ".h5", kind->name, shard);
}

/* The power of two next above n / 128, from low to high. */
static int64_t spread(int64_t n, int64_t low, int64_t high)
{
    int64_t size = low;
    while (size < high && size * 128 < n) {
        size *= 2;
    }
    return size;
}

int64_t lv_pack_shard_records(int64_t n)
{
    return spread(n, 256, LV_PACK_MAX_SHARD_RECORDS);
}

int64_t lv_pack_shard_images(int64_t n)
{
    return spread(n, 8, LV_PACK_MAX_SHARD_IMAGES);
}

int lv_pack_check_version(int64_t version)
{
    return version == LV_PACK_FORMAT_VERSION
               ? LV_OK
               : lv_fail(LV_ERR_UNSUPPORTED,
                         "a pack of format version %" PRId64 ", this program has %d: pack again",
                         version, LV_PACK_FORMAT_VERSION);
}

int64_t lv_pack_n_shards(int64_t n, int64_t per_shard)
{
    return (n + per_shard - 1) / per_shard;
}
