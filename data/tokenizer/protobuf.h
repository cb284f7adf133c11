/* SPDX-License-Identifier: Apache-2.0
 *
 * The fields of a protobuf message, in order; read by hand because the six of them that a
 * tokenizer.model has are no reason for a C++ library.
 */
#ifndef LV_DATA_TOKENIZER_PROTOBUF_H
#define LV_DATA_TOKENIZER_PROTOBUF_H

#include <stddef.h>
#include <stdint.h>

enum { LV_WIRE_VARINT = 0, LV_WIRE_FIXED64 = 1, LV_WIRE_BYTES = 2, LV_WIRE_FIXED32 = 5 };

/* A borrowed message, or bytes of one; at: where the next field begins. */
typedef struct {
    const uint8_t *data;
    size_t n, at;
} lv_protobuf;

typedef struct {
    uint64_t number;
    int wire;
    uint64_t value;    /* of a varint, a fixed32 */
    lv_protobuf bytes; /* of bytes */
} lv_protobuf_field;

/* lv_protobuf_next: the next field.
 * returns 1, 0 at the end of the message; fails LV_ERR_FORMAT */
int lv_protobuf_next(lv_protobuf_field *f, lv_protobuf *m);

/* lv_u32_le: four bytes, little-endian. */
uint32_t lv_u32_le(const void *at);

#endif
