/* SPDX-License-Identifier: Apache-2.0 */
#include "data/tokenizer/protobuf.h"

#include "autograd/error.h"

#include <stdbool.h>

static bool read_varint(uint64_t *out, lv_protobuf *m)
{
    *out = 0;
    for (int shift = 0; shift < 64 && m->at < m->n; shift += 7) {
        uint8_t byte = m->data[m->at++];
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) {
            return shift < 63 || byte <= 1;
        }
    }
    return false;
}

uint32_t lv_u32_le(const void *at)
{
    const uint8_t *b = at;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

int lv_protobuf_next(lv_protobuf_field *f, lv_protobuf *m)
{
    uint64_t tag = 0, length = 0;
    if (m->at == m->n) {
        return 0;
    }
    size_t at = m->at;
    bool ok = read_varint(&tag, m) && tag >> 3 != 0;
    *f = (lv_protobuf_field){.number = tag >> 3, .wire = (int)(tag & 7)};
    switch (f->wire) {
    case LV_WIRE_VARINT:
        ok = ok && read_varint(&f->value, m);
        break;
    case LV_WIRE_BYTES:
        ok = ok && read_varint(&length, m);
        break;
    case LV_WIRE_FIXED32:
    case LV_WIRE_FIXED64:
        length = f->wire == LV_WIRE_FIXED32 ? 4 : 8;
        break;
    default:
        ok = false;
    }
    if (!ok || length > m->n - m->at) {
        return lv_fail(LV_ERR_FORMAT,
                       "not a sentencepiece model, or a damaged one: no field of a "
                       "message at byte %zu",
                       at);
    }
    if (f->wire == LV_WIRE_BYTES) {
        f->bytes = (lv_protobuf){.data = m->data + m->at, .n = (size_t)length};
    } else if (f->wire == LV_WIRE_FIXED32) {
        f->value = lv_u32_le(m->data + m->at);
    }
    m->at += (size_t)length;
    return 1;
}
