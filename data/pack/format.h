/* SPDX-License-Identifier: Apache-2.0
 *
 * The pack's files: the contents of a shard, written and read by one table.
 *
 *   samples-00000.h5  records [k*n, (k+1)*n) of the source, less the rejected ones
 *   images-00000.h5   distinct images [k*m, (k+1)*m), in the order of their first use
 *   rejects.jsonl     a line a rejected record
 *   tokenizer/        a copy of the files that the tokenizer was read from
 *   manifest.json     options, totals, every file with its size and CRC-32; written last
 *
 * n is the attribute "shard_records", m is "shard_images"; both follow from the source alone. An
 * HDF5 file begins with a seal, in the user block (below).
 *
 * All datasets lie flat at the root of the file, contiguous, little-endian; each has an attribute
 * "unit" and the "crc32" of its bytes as they lie in the file. An offset array has one entry more
 * than there are things, begins with 0 and never falls; thing i owns [offset[i], offset[i+1]).
 */
#ifndef LV_DATA_PACK_FORMAT_H
#define LV_DATA_PACK_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LV_PACK_FORMAT_VERSION = 2,
    LV_PACK_MAX_SHARD_RECORDS = 4096,
    LV_PACK_MAX_SHARD_IMAGES = 512,
    LV_PACK_MAX_IMAGE_SIZE = 4096, /* of rgb, pixels */
};

/* X(name, type, columns, unit) in the order in which a shard holds them. */
#define LV_PACK_SAMPLE_FIELDS(X)                                                                   \
    X(TOKENS, "tokens", I32, 1, "token id, -200 where an image stands")                            \
    X(SUPERVISED, "supervised", U8, 1, "1 if the token is a label, otherwise 0; one a token")      \
    X(SAMPLE_OFFSET, "sample_offset", I64, 1, "tokens")                                            \
    X(SAMPLE_IMAGE, "sample_image", I64, 1, "image id, counted over all image shards")             \
    X(SAMPLE_IMAGE_OFFSET, "sample_image_offset", I64, 1, "entries of sample_image")               \
    X(ID_BYTES, "id_bytes", U8, 1, "UTF-8 byte of the sample's id")                                \
    X(ID_OFFSET, "id_offset", I64, 1, "entries of id_bytes")                                       \
    X(SOURCE_INDEX, "source_index", I64, 1, "place in the source, from 0; one a sample")           \
    X(COUNTS, "counts", I32, 4, "tokens, supervised tokens, images, words; one row a sample")      \
    X(SAMPLE_CRC, "sample_crc32", U32, 1, "CRC-32 of the sample's tokens, mask and image ids")     \
    X(REJECT_BYTES, "reject_bytes", U8, 1, "byte of JSON lines, one a rejected record")            \
    X(REJECT_OFFSET, "reject_offset", I64, 1, "entries of reject_bytes")

#define LV_PACK_IMAGE_FIELDS(X)                                                                    \
    X(BYTES, "bytes", U8, 1, "byte of the file as found, or RGB level (height, width, 3)")         \
    X(IMAGE_OFFSET, "image_offset", I64, 1, "entries of bytes")                                    \
    X(FORMAT, "format", U8, 1, "0 RGB, 1 JPEG, 2 PNG, 3 WebP; one an image")                       \
    X(WIDTH, "width", I32, 1, "pixels, 0 if the image cannot be used; one an image")               \
    X(HEIGHT, "height", I32, 1, "pixels; one an image")                                            \
    X(IMAGE_CRC, "crc32", U32, 1, "CRC-32 of the image's bytes; one an image")                     \
    X(NAME_BYTES, "name_bytes", U8, 1, "UTF-8 byte of the image's name in the source")             \
    X(NAME_OFFSET, "name_offset", I64, 1, "entries of name_bytes")                                 \
    X(REASON_BYTES, "reason_bytes", U8, 1, "byte of why an image cannot be used")                  \
    X(REASON_OFFSET, "reason_offset", I64, 1, "entries of reason_bytes")

/* Attributes of every shard's root beside "format_version", "kind" and "shard": what the pack is
 * of. Two packs with the same values hold the same. X(member, name, kind) */
#define LV_PACK_ATTRIBUTES(X)                                                                      \
    X(template_name, "template", TEXT)                                                             \
    X(fingerprint, "tokenizer_fingerprint", TEXT)                                                  \
    X(store, "store", TEXT)          /* original | rgb */                                          \
    X(aspect, "aspect", TEXT)        /* square | pad; none for original */                         \
    X(image_size, "image_size", INT) /* pixels; 0 for original */                                  \
    X(has_images, "has_images", INT) /* 0: made without a folder of images, or has none */         \
    X(shard_records, "shard_records", INT)                                                         \
    X(shard_images, "shard_images", INT)                                                           \
    X(source_bytes, "source_bytes", INT)                                                           \
    X(source_crc32, "source_crc32", INT)

enum { LV_PACK_TEXT_BYTES = 128 };

typedef struct {
    char template_name[LV_PACK_TEXT_BYTES];
    char fingerprint[LV_PACK_TEXT_BYTES];
    char store[LV_PACK_TEXT_BYTES];
    char aspect[LV_PACK_TEXT_BYTES];
    int64_t image_size;
    int64_t has_images;
    int64_t shard_records;
    int64_t shard_images;
    int64_t source_bytes;
    int64_t source_crc32;
} lv_pack_identity;

/* ---- the tables as data ---- */

typedef enum { LV_PACK_U8, LV_PACK_I32, LV_PACK_U32, LV_PACK_I64 } lv_pack_type;

typedef struct {
    const char *name;
    lv_pack_type type;
    int n_columns;
    const char *unit;
} lv_pack_field;

#define LV_PACK_ENUM(id, name, type, columns, unit) LV_PACK_##id,
enum { LV_PACK_SAMPLE_FIELDS(LV_PACK_ENUM) LV_PACK_N_SAMPLE_FIELDS };
enum { LV_PACK_IMAGE_FIELDS(LV_PACK_ENUM) LV_PACK_N_IMAGE_FIELDS };
#undef LV_PACK_ENUM
enum { LV_PACK_MAX_FIELDS = 12 };

typedef struct {
    const char *name; /* "samples": of the files, and the attribute "kind" */
    const lv_pack_field *fields;
    int n_fields;
} lv_pack_kind;
extern const lv_pack_kind LV_PACK_SAMPLES, LV_PACK_IMAGES;

typedef struct {
    const char *name;
    bool is_text;
    size_t place; /* in lv_pack_identity */
} lv_pack_attribute;
extern const lv_pack_attribute LV_PACK_ATTRIBUTE_TABLE[];
extern const int LV_PACK_N_ATTRIBUTES;

size_t lv_pack_row_bytes(const lv_pack_field *field);

/* lv_pack_identity_compare: LV_OK if equal.
 * fails  LV_ERR_CONFIG naming each attribute that differs, with the value found and the one
 *        needed */
int lv_pack_identity_compare(const lv_pack_identity *found, const lv_pack_identity *wanted);

/* lv_pack_sample_crc: "sample_crc32" of one sample. */
uint32_t lv_pack_sample_crc(const int32_t *tokens, const uint8_t *supervised, int64_t n_tokens,
                            const int64_t *image_ids, int64_t n_images);

/* lv_pack_shard_name: "samples-00000.h5"; free() it. */
char *lv_pack_shard_name(const lv_pack_kind *kind, int64_t shard);

/* lv_pack_shard_records, lv_pack_shard_images: how many of n records or images a shard holds: a
 * power of two, so that there are some 64 to 128 shards to deal to the ranks, but neither tiny nor
 * huge ones: 256 to 4096 records, 8 to 512 images. */
int64_t lv_pack_shard_records(int64_t n);
int64_t lv_pack_shard_images(int64_t n);

/* lv_pack_check_version: of a manifest or shard.
 * fails  LV_ERR_UNSUPPORTED: it must be packed again */
int lv_pack_check_version(int64_t version);

/* lv_pack_n_shards: of n things, per_shard in each. */
int64_t lv_pack_n_shards(int64_t n, int64_t per_shard);

#endif
