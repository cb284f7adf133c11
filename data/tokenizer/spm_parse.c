/* SPDX-License-Identifier: Apache-2.0
 *
 * A tokenizer.model: the protobuf message ModelProto, read by hand because the six fields of it that
 * count are no reason for a C++ library.
 */
#include "data/tokenizer/spm.h"

#include "autograd/error.h"
#include "data/base/file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PIECE_BYTES = 1024 };

/* ---- protobuf ---- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

/* A borrowed message, or bytes of one; at: where the next field begins. */
typedef struct {
    const uint8_t *data;
    size_t n, at;
} proto_bytes;

typedef struct {
    uint64_t number;
    int wire;
    uint64_t value;    /* of a varint, a fixed32 */
    proto_bytes bytes; /* of bytes */
} proto_field;

static bool read_varint(uint64_t *out, proto_bytes *m)
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

static uint32_t read_u32(const void *at)
{
    const uint8_t *b = at;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* The next field of a message: 1, 0 at its end. */
static int next_field(proto_field *f, proto_bytes *m)
{
    uint64_t tag = 0, length = 0;
    if (m->at == m->n) {
        return 0;
    }
    size_t at = m->at;
    bool ok = read_varint(&tag, m) && tag >> 3 != 0;
    *f = (proto_field){.number = tag >> 3, .wire = (int)(tag & 7)};
    switch (f->wire) {
    case VARINT:
        ok = ok && read_varint(&f->value, m);
        break;
    case BYTES:
        ok = ok && read_varint(&length, m);
        break;
    case FIXED32:
    case FIXED64:
        length = f->wire == FIXED32 ? 4 : 8;
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
    if (f->wire == BYTES) {
        f->bytes = (proto_bytes){.data = m->data + m->at, .n = (size_t)length};
    } else if (f->wire == FIXED32) {
        f->value = read_u32(m->data + m->at);
    }
    m->at += (size_t)length;
    return 1;
}

/* ---- the messages ---- */

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

typedef struct {
    proto_bytes text;
    float score;
    uint64_t type;
} spm_piece;

typedef struct {
    proto_bytes model;
    int32_t n_pieces;
    uint64_t model_type;
    int64_t bos, eos;
    bool byte_fallback;
    proto_bytes rules, unk_surface;
    bool has_unk_surface, has_rules_for_decoding;
} model_proto;

static int read_piece(spm_piece *p, proto_bytes m)
{
    proto_field f;
    int rc;
    *p = (spm_piece){.type = NORMAL};
    while ((rc = next_field(&f, &m)) > 0) {
        if (f.number == 1 && f.wire == BYTES) {
            p->text = f.bytes;
        } else if (f.number == 2 && f.wire == FIXED32) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&p->score, &bits, sizeof bits);
        } else if (f.number == 3 && f.wire == VARINT) {
            p->type = f.value;
        }
    }
    return rc;
}

/* A field of the message that is field `message` of ModelProto, 0: of ModelProto itself. */
#define KEY(message, number, wire) ((message) << 16 | (number) << 3 | (wire))
enum { MODEL, PIECE, TRAINER, NORMALIZER, DENORMALIZER = 5, MAX_FIELD = 999 };

/* All but the pieces, which are counted. */
static int read_message(model_proto *p, lv_spm *spm, proto_bytes m, int message)
{
    proto_field f;
    int rc;
    while ((rc = next_field(&f, &m)) > 0) {
        switch (f.number <= MAX_FIELD ? KEY(message, (int)f.number, f.wire) : 0) {
        case KEY(MODEL, PIECE, BYTES):
            rc = ++p->n_pieces < LV_TOKENIZER_MAX_IDS
                     ? LV_OK
                     : lv_fail(LV_ERR_FORMAT, "more than %d pieces", LV_TOKENIZER_MAX_IDS);
            break;
        case KEY(MODEL, TRAINER, BYTES):
        case KEY(MODEL, NORMALIZER, BYTES):
        case KEY(MODEL, DENORMALIZER, BYTES):
            rc = read_message(p, spm, f.bytes, (int)f.number);
            break;
        case KEY(TRAINER, 3, VARINT):
            p->model_type = f.value;
            break;
        case KEY(TRAINER, 24, VARINT):
            spm->whitespace_as_suffix = f.value != 0;
            break;
        case KEY(TRAINER, 35, VARINT):
            p->byte_fallback = f.value != 0;
            break;
        case KEY(TRAINER, 41, VARINT):
            p->bos = (int32_t)(uint32_t)f.value;
            break;
        case KEY(TRAINER, 42, VARINT):
            p->eos = (int32_t)(uint32_t)f.value;
            break;
        case KEY(TRAINER, 44, BYTES):
            p->unk_surface = f.bytes;
            p->has_unk_surface = true;
            break;
        case KEY(NORMALIZER, 2, BYTES):
            p->rules = f.bytes;
            break;
        case KEY(NORMALIZER, 3, VARINT):
            spm->add_dummy_prefix = f.value != 0;
            break;
        case KEY(NORMALIZER, 4, VARINT):
            spm->remove_extra_whitespaces = f.value != 0;
            break;
        case KEY(NORMALIZER, 5, VARINT):
            spm->escape_whitespaces = f.value != 0;
            break;
        case KEY(DENORMALIZER, 2, BYTES):
            p->has_rules_for_decoding |= f.bytes.n > 0;
            break;
        default:
            break;
        }
        if (rc < 0) {
            break;
        }
    }
    return rc;
}

/* ---- the pieces ---- */

static int check_piece(const spm_piece *p, int32_t id)
{
    if (p->text.n == 0 || p->text.n > MAX_PIECE_BYTES || memchr(p->text.data, 0, p->text.n)) {
        return lv_fail(LV_ERR_FORMAT, "piece %d is empty, longer than %d bytes, or has a zero byte",
                       id, MAX_PIECE_BYTES);
    }
    if (p->type < NORMAL || p->type > BYTE) {
        return lv_fail(LV_ERR_UNSUPPORTED, "piece %d is of the unknown type %" PRIu64, id, p->type);
    }
    return isnan(p->score) ? lv_fail(LV_ERR_FORMAT, "piece %d has no number for a score", id)
                           : LV_OK;
}

static int byte_named(const char *name)
{
    for (int b = 0; b < 256; b++) {
        char wanted[8];
        snprintf(wanted, sizeof wanted, "<0x%02X>", b);
        if (strcmp(wanted, name) == 0) {
            return b;
        }
    }
    return -1;
}

/* What a piece's type means beyond its text. */
static int apply_type(lv_tokenizer *t, const spm_piece *p, int32_t id, const char *name)
{
    int byte = p->type == BYTE ? byte_named(name) : -1;
    switch (p->type) {
    case UNKNOWN:
        if (t->vocab.unk >= 0) {
            return lv_fail(LV_ERR_FORMAT, "the pieces %d and %d are both unknown", t->vocab.unk,
                           id);
        }
        t->vocab.unk = id;
        t->vocab.pieces[id].special = true;
        return LV_OK;
    case CONTROL:
        t->vocab.pieces[id].special = true;
        return LV_OK;
    case USER_DEFINED:
        return lv_matcher_add(&t->spm->user_defined, name, strlen(name), id);
    case UNUSED:
        if (!t->merges.unused) {
            t->merges.unused = calloc((size_t)t->vocab.n_ids, sizeof *t->merges.unused);
        }
        if (!t->merges.unused) {
            return lv_fail(LV_ERR_MEMORY, "out of memory for the pieces");
        }
        t->merges.unused[id] = true;
        return LV_OK;
    case BYTE:
        if (byte < 0 || t->vocab.byte_ids[byte] >= 0) {
            return lv_fail(LV_ERR_FORMAT, "the byte piece %d, \"%s\", is none or a second one", id,
                           name);
        }
        t->vocab.byte_ids[byte] = id;
        return LV_OK;
    default:
        return LV_OK;
    }
}

static int add_piece(lv_tokenizer *t, const spm_piece *p, int32_t id)
{
    char name[MAX_PIECE_BYTES + 1];
    int rc = check_piece(p, id);
    if (rc < 0) {
        return rc;
    }
    memcpy(name, p->text.data, p->text.n);
    name[p->text.n] = '\0';
    t->spm->scores[id] = p->score;
    bool in_model = p->type == NORMAL || p->type == USER_DEFINED || p->type == UNUSED;
    rc = lv_vocab_add(&t->vocab, id, name, in_model);
    return rc < 0 ? rc : apply_type(t, p, id, name);
}

static int add_pieces(lv_tokenizer *t, const model_proto *p)
{
    proto_bytes m = p->model;
    proto_field f;
    spm_piece one;
    int32_t id = 0;
    int rc;
    while ((rc = next_field(&f, &m)) > 0) {
        if (f.number == PIECE && f.wire == BYTES &&
            ((rc = read_piece(&one, f.bytes)) < 0 || (rc = add_piece(t, &one, id++)) < 0)) {
            return rc;
        }
    }
    if (t->vocab.unk < 0) {
        return lv_fail(LV_ERR_FORMAT, "the model has no piece for what is unknown");
    }
    for (int b = 0; t->vocab.byte_fallback && b < 256; b++) {
        if (t->vocab.byte_ids[b] < 0) {
            return lv_fail(LV_ERR_FORMAT, "byte_fallback, but no piece <0x%02X>", b);
        }
    }
    return rc;
}

/* The merges that transformers' converter writes into the tokenizer.json of a model: each two
 * pieces whose joined text is one, by its score and then their ids. They are in the fingerprint, so
 * that it is that of the tokenizer.json. */
typedef struct {
    float score;
    int32_t left, right;
} listed_merge;

static int by_score_and_ids(const void *a, const void *b)
{
    const listed_merge *x = a, *y = b;
    if (x->score != y->score) {
        return x->score < y->score ? 1 : -1;
    }
    return x->left != y->left ? (x->left > y->left) - (x->left < y->left)
                              : (x->right > y->right) - (x->right < y->right);
}

/* The merges that give one piece; merges has room for its bytes. */
static size_t find_merges(listed_merge *merges, const lv_tokenizer *t, int32_t id)
{
    size_t found = 0, n = t->vocab.pieces[id].text_bytes;
    const char *text = t->vocab.pieces[id].text;
    for (size_t at = 1; at < n; at++) {
        if (((unsigned char)text[at] & 0xC0) == 0x80) {
            continue;
        }
        int32_t left = lv_vocab_find(&t->vocab, text, at);
        int32_t right = left >= 0 ? lv_vocab_find(&t->vocab, text + at, n - at) : -1;
        if (right >= 0) {
            merges[found++] =
                (listed_merge){.score = t->spm->scores[id], .left = left, .right = right};
        }
    }
    return found;
}

static int add_merges_to_crc(lv_tokenizer *t)
{
    size_t room = 1, n = 0;
    for (int32_t id = 0; id < t->spm->n_pieces; id++) {
        room += t->vocab.pieces[id].text_bytes;
    }
    listed_merge *merges = malloc(room * sizeof *merges);
    if (!merges) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the pieces");
    }
    for (int32_t id = 0; id < t->spm->n_pieces; id++) {
        n += find_merges(merges + n, t, id);
    }
    qsort(merges, n, sizeof *merges, by_score_and_ids);
    for (size_t i = 0; i < n; i++) {
        t->crc = lv_crc_add_id(t->crc, merges[i].left);
        t->crc = lv_crc_add_id(t->crc, merges[i].right);
    }
    free(merges);
    return LV_OK;
}

/* Equal scores have equal ranks. */
static int rank_pieces(lv_tokenizer *t)
{
    const lv_spm *spm = t->spm;
    int32_t *ranks = calloc((size_t)t->vocab.n_ids, sizeof *ranks);
    listed_merge *order = malloc((size_t)spm->n_pieces * sizeof *order);
    t->merges.ranks = ranks;
    if (!ranks || !order) {
        free(order);
        return lv_fail(LV_ERR_MEMORY, "out of memory for the pieces");
    }
    for (int32_t id = 0; id < spm->n_pieces; id++) {
        order[id] = (listed_merge){.score = spm->scores[id], .left = id};
    }
    qsort(order, (size_t)spm->n_pieces, sizeof *order, by_score_and_ids);
    for (int32_t i = 0; i < spm->n_pieces; i++) {
        bool tied = i > 0 && order[i].score == order[i - 1].score;
        ranks[order[i].left] = tied ? ranks[order[i - 1].left] : i;
    }
    free(order);
    return LV_OK;
}

/* The normaliser's precompiled_charsmap: bytes of the trie, little-endian; the trie; the strings. */
static int read_rules(lv_spm_rules *rules, const proto_bytes *blob)
{
    size_t n = blob->n, trie_bytes = n >= 4 ? read_u32(blob->data) : 0;
    if (n < 4 || trie_bytes % 4 != 0 || trie_bytes == 0 || trie_bytes >= n - 4 ||
        blob->data[n - 1] != '\0') {
        return lv_fail(LV_ERR_FORMAT, "the normaliser's precompiled_charsmap is damaged");
    }
    rules->n_units = trie_bytes / 4;
    rules->n_texts = n - 4 - trie_bytes;
    rules->units = malloc(trie_bytes);
    rules->texts = malloc(rules->n_texts);
    if (!rules->units || !rules->texts) {
        return lv_fail(LV_ERR_MEMORY, "no memory for the normaliser's rules");
    }
    for (size_t i = 0; i < rules->n_units; i++) {
        rules->units[i] = read_u32(blob->data + 4 + 4 * i);
    }
    memcpy(rules->texts, blob->data + 4 + trie_bytes, rules->n_texts);
    return LV_OK;
}

/* ---- all of it ---- */

static int check_model(const model_proto *p)
{
    static const char *const types[] = {"of no type", "unigram", "BPE", "word", "char"};
    if (p->n_pieces == 0) {
        return lv_fail(LV_ERR_FORMAT, "the model has no pieces");
    }
    if (p->model_type != 2) {
        return lv_fail(LV_ERR_UNSUPPORTED,
                       "the sentencepiece model is %s; only BPE models are implemented",
                       p->model_type < 5 ? types[p->model_type] : "of an unknown type");
    }
    return p->has_rules_for_decoding
               ? lv_fail(LV_ERR_UNSUPPORTED, "denormalizer_spec: rules for decoding are not "
                                             "implemented")
               : LV_OK;
}

static int32_t control_piece(const lv_tokenizer *t, int64_t id)
{
    return id >= 0 && id < t->spm->n_pieces && t->vocab.pieces[id].special && id != t->vocab.unk
               ? (int32_t)id
               : -1;
}

int lv_spm_parse(lv_tokenizer *t, const char *data, size_t n, int32_t min_ids)
{
    lv_spm *spm = t->spm = calloc(1, sizeof *spm);
    model_proto p = {
        .model = {.data = (const uint8_t *)data, .n = n}, .model_type = 1, .bos = 1, .eos = 2};
    if (!spm) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the model");
    }
    spm->add_dummy_prefix = spm->remove_extra_whitespaces = spm->escape_whitespaces = true;
    int rc = read_message(&p, spm, p.model, MODEL);
    if (rc == LV_OK) rc = check_model(&p);
    if (rc < 0) {
        return rc;
    }
    spm->n_pieces = p.n_pieces;
    spm->scores = calloc((size_t)p.n_pieces, sizeof *spm->scores);
    spm->unk_surface = p.has_unk_surface
                           ? strndup((const char *)p.unk_surface.data, p.unk_surface.n)
                           : strdup(" \xE2\x81\x87 ");
    if (!spm->scores || !spm->unk_surface) {
        return lv_fail(LV_ERR_MEMORY, "no memory for %d pieces", p.n_pieces);
    }
    t->vocab.byte_fallback = p.byte_fallback;
    rc =
        lv_vocab_create(&t->vocab, p.n_pieces > min_ids ? p.n_pieces : min_ids, (size_t)p.n_pieces);
    if (rc == LV_OK) rc = add_pieces(t, &p);
    if (rc == LV_OK) rc = rank_pieces(t);
    if (rc == LV_OK) {
        t->crc = lv_crc_add_pieces(t->crc, &t->vocab);
        rc = add_merges_to_crc(t);
    }
    if (rc == LV_OK && p.rules.n > 0) {
        rc = read_rules(&spm->rules, &p.rules);
        t->crc = lv_crc_add(t->crc, p.rules.data, p.rules.n);
    }
    if (rc < 0) {
        return rc;
    }
    lv_matcher_finish(&spm->user_defined);
    spm->bos = control_piece(t, p.bos);
    spm->eos = control_piece(t, p.eos);
    return LV_OK;
}

int lv_tokenizer_count_pieces(int64_t *pieces, const char *path)
{
    char *text = NULL;
    proto_bytes model = {0};
    proto_field f;
    int64_t n = 0;
    int rc = lv_file_read(&text, &model.n, path);
    if (rc < 0) {
        return rc;
    }
    model.data = (const uint8_t *)text;
    while ((rc = next_field(&f, &model)) > 0) {
        n += f.number == PIECE && f.wire == BYTES;
    }
    free(text);
    if (rc < 0 || n == 0) {
        return lv_fail(LV_ERR_FORMAT, "%s: not a sentencepiece model", path);
    }
    *pieces = n;
    return LV_OK;
}
