/* SPDX-License-Identifier: Apache-2.0
 *
 * A tokenizer.model: the protobuf message ModelProto, read by hand because six fields of it are no
 * reason for a C++ library.
 */
#include "data/tokenizer/spm.h"

#include "autograd/error.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PIECE_BYTES = 1024 };

/* ---- protobuf ---- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

typedef struct {
    const uint8_t *data;
    size_t n, at;
} message;

typedef struct {
    uint64_t number;
    int wire;
    uint64_t value; /* VARINT, FIXED32 */
    message bytes;  /* BYTES */
} field;

static bool read_varint(uint64_t *out, message *m)
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

/* The next field: 1, or 0 at the end of the message. */
static int next_field(field *f, message *m)
{
    uint64_t tag = 0, length = 0;
    if (m->at == m->n) {
        return 0;
    }
    size_t at = m->at;
    bool ok = read_varint(&tag, m) && tag >> 3 != 0;
    *f = (field){.number = tag >> 3, .wire = (int)(tag & 7)};
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
        f->bytes = (message){.data = m->data + m->at, .n = (size_t)length};
    } else if (f->wire == FIXED32) {
        f->value = read_u32(m->data + m->at);
    }
    m->at += (size_t)length;
    return 1;
}

/* ---- the messages ---- */

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

typedef struct {
    message text;
    float score;
    uint64_t type;
} piece;

typedef struct {
    message model;
    int32_t n_pieces;
    uint64_t model_type;
    int64_t bos, eos;
    bool byte_fallback;
    message rules, unk_surface;
    bool has_unk_surface, has_rules_for_decoding;
} proto;

static int read_piece(piece *p, message m)
{
    field f;
    int rc;
    *p = (piece){.type = NORMAL};
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

static int read_trainer_spec(proto *p, lv_spm *spm, message m)
{
    field f;
    int rc;
    while ((rc = next_field(&f, &m)) > 0) {
        switch (f.wire == VARINT ? f.number : 0) {
        case 3:
            p->model_type = f.value;
            break;
        case 24:
            spm->whitespace_as_suffix = f.value != 0;
            break;
        case 35:
            p->byte_fallback = f.value != 0;
            break;
        case 41:
            p->bos = (int32_t)(uint32_t)f.value;
            break;
        case 42:
            p->eos = (int32_t)(uint32_t)f.value;
            break;
        default:
            break;
        }
        if (f.number == 44 && f.wire == BYTES) {
            p->unk_surface = f.bytes;
            p->has_unk_surface = true;
        }
    }
    return rc;
}

static int read_normalizer_spec(proto *p, lv_spm *spm, message m)
{
    field f;
    int rc;
    while ((rc = next_field(&f, &m)) > 0) {
        if (f.number == 2 && f.wire == BYTES) {
            p->rules = f.bytes;
        } else if (f.number == 3 && f.wire == VARINT) {
            spm->add_dummy_prefix = f.value != 0;
        } else if (f.number == 4 && f.wire == VARINT) {
            spm->remove_extra_whitespaces = f.value != 0;
        } else if (f.number == 5 && f.wire == VARINT) {
            spm->escape_whitespaces = f.value != 0;
        }
    }
    return rc;
}

static int read_denormalizer_spec(proto *p, message m)
{
    field f;
    int rc;
    while ((rc = next_field(&f, &m)) > 0) {
        p->has_rules_for_decoding |= f.number == 2 && f.wire == BYTES && f.bytes.n > 0;
    }
    return rc;
}

/* All but the pieces, which are counted. */
static int read_model(proto *p, lv_spm *spm)
{
    message m = p->model;
    field f;
    int rc;
    while ((rc = next_field(&f, &m)) > 0) {
        int inner = LV_OK;
        if (f.wire != BYTES) {
            continue;
        }
        if (f.number == 1) {
            p->n_pieces++;
        } else if (f.number == 2) {
            inner = read_trainer_spec(p, spm, f.bytes);
        } else if (f.number == 3) {
            inner = read_normalizer_spec(p, spm, f.bytes);
        } else if (f.number == 5) {
            inner = read_denormalizer_spec(p, f.bytes);
        }
        if (inner < 0) {
            return inner;
        }
        if (p->n_pieces >= LV_TOKENIZER_MAX_IDS) {
            return lv_fail(LV_ERR_FORMAT, "more than %d pieces", LV_TOKENIZER_MAX_IDS);
        }
    }
    return rc;
}

/* ---- the pieces ---- */

static int check_piece(const piece *p, int32_t id)
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
static int apply_type(lv_tokenizer *t, const piece *p, int32_t id, const char *name)
{
    int byte = p->type == BYTE ? byte_named(name) : -1;
    switch (p->type) {
    case UNKNOWN:
        if (t->unk >= 0) {
            return lv_fail(LV_ERR_FORMAT, "the pieces %d and %d are both unknown", t->unk, id);
        }
        t->unk = id;
        t->special[id] = true;
        return LV_OK;
    case CONTROL:
        t->special[id] = true;
        return LV_OK;
    case USER_DEFINED:
        return lv_matcher_add(&t->spm->user_defined, name, strlen(name), id);
    case UNUSED:
        t->spm->unused[id] = t->spm->has_unused = true;
        return LV_OK;
    case BYTE:
        if (byte < 0 || t->byte_ids[byte] >= 0) {
            return lv_fail(LV_ERR_FORMAT, "the byte piece %d, \"%s\", is none or a second one", id,
                           name);
        }
        t->byte_ids[byte] = id;
        return LV_OK;
    default:
        return LV_OK;
    }
}

static int add_piece(lv_tokenizer *t, const piece *p, int32_t id)
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
    rc = lv_vocab_add(t, id, name, in_model);
    return rc < 0 ? rc : apply_type(t, p, id, name);
}

static int add_pieces(lv_tokenizer *t, const proto *p)
{
    message m = p->model;
    field f;
    piece one;
    int32_t id = 0;
    int rc;
    for (int b = 0; b < 256; b++) {
        t->byte_ids[b] = -1;
    }
    while ((rc = next_field(&f, &m)) > 0) {
        if (f.number == 1 && f.wire == BYTES &&
            ((rc = read_piece(&one, f.bytes)) < 0 || (rc = add_piece(t, &one, id++)) < 0)) {
            return rc;
        }
    }
    if (t->unk < 0) {
        return lv_fail(LV_ERR_FORMAT, "the model has no piece for what is unknown");
    }
    for (int b = 0; t->byte_fallback && b < 256; b++) {
        if (t->byte_ids[b] < 0) {
            return lv_fail(LV_ERR_FORMAT, "byte_fallback, but no piece <0x%02X>", b);
        }
    }
    return rc;
}

typedef struct {
    float score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score) - (x->score > y->score)
                                : (x->id > y->id) - (x->id < y->id);
}

/* The merges that transformers' converter writes into the tokenizer.json of a model: each two
 * pieces whose joined text is one, by its score and then their ids. They are in the fingerprint, so
 * that it is that of the tokenizer.json. */
typedef struct {
    float score;
    int32_t left, right;
} merge;

static int by_score_and_ids(const void *a, const void *b)
{
    const merge *x = a, *y = b;
    if (x->score != y->score) {
        return x->score < y->score ? 1 : -1;
    }
    return x->left != y->left ? (x->left > y->left) - (x->left < y->left)
                              : (x->right > y->right) - (x->right < y->right);
}

/* The merges that give one piece; merges has room for its bytes. */
static size_t find_merges(merge *merges, const lv_tokenizer *t, int32_t id)
{
    size_t found = 0, n = t->text_bytes[id];
    const char *text = t->texts[id];
    for (size_t at = 1; at < n; at++) {
        if (((unsigned char)text[at] & 0xC0) == 0x80) {
            continue;
        }
        int32_t left = lv_vocab_find(t, text, at);
        int32_t right = left >= 0 ? lv_vocab_find(t, text + at, n - at) : -1;
        if (right >= 0) {
            merges[found++] = (merge){.score = t->spm->scores[id], .left = left, .right = right};
        }
    }
    return found;
}

static int add_merges_to_crc(lv_tokenizer *t)
{
    size_t room = 1, n = 0;
    for (int32_t id = 0; id < t->spm->n_pieces; id++) {
        room += t->text_bytes[id];
    }
    merge *merges = malloc(room * sizeof *merges);
    if (!merges) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the pieces");
    }
    for (int32_t id = 0; id < t->spm->n_pieces; id++) {
        n += find_merges(merges + n, t, id);
    }
    qsort(merges, n, sizeof *merges, by_score_and_ids);
    for (size_t i = 0; i < n; i++) {
        t->crc = lv_tokenizer_crc_add_id(t->crc, merges[i].left);
        t->crc = lv_tokenizer_crc_add_id(t->crc, merges[i].right);
    }
    free(merges);
    return LV_OK;
}

static int rank_pieces(lv_tokenizer *t)
{
    lv_spm *spm = t->spm;
    scored *order = malloc((size_t)spm->n_pieces * sizeof *order);
    if (!order) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the pieces");
    }
    for (int32_t id = 0; id < spm->n_pieces; id++) {
        order[id] = (scored){.score = spm->scores[id], .id = id};
    }
    qsort(order, (size_t)spm->n_pieces, sizeof *order, by_score);
    for (int32_t i = 0; i < spm->n_pieces; i++) {
        bool tied = i > 0 && order[i].score == order[i - 1].score;
        spm->ranks[order[i].id] = tied ? spm->ranks[order[i - 1].id] : i;
    }
    free(order);
    return LV_OK;
}

/* ---- all of it ---- */

static int check(const proto *p)
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
    return id >= 0 && id < t->spm->n_pieces && t->special[id] && id != t->unk ? (int32_t)id : -1;
}

int lv_spm_parse(lv_tokenizer *t, const char *data, size_t n, int32_t min_ids)
{
    lv_spm *spm = calloc(1, sizeof *spm);
    proto p = {
        .model = {.data = (const uint8_t *)data, .n = n}, .model_type = 1, .bos = 1, .eos = 2};
    if (!spm) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the model");
    }
    t->spm = spm;
    t->unk = -1;
    spm->add_dummy_prefix = spm->remove_extra_whitespaces = spm->escape_whitespaces = true;
    int rc = read_model(&p, spm);
    if (rc == LV_OK) rc = check(&p);
    if (rc < 0) {
        return rc;
    }
    size_t n_ids = (size_t)(p.n_pieces > min_ids ? p.n_pieces : min_ids);
    spm->n_pieces = p.n_pieces;
    t->byte_fallback = p.byte_fallback;
    spm->ranks = calloc(n_ids, sizeof *spm->ranks);
    spm->scores = calloc(n_ids, sizeof *spm->scores);
    spm->unused = calloc(n_ids, sizeof *spm->unused);
    spm->unk_surface = p.has_unk_surface
                           ? strndup((const char *)p.unk_surface.data, p.unk_surface.n)
                           : strdup(" \xE2\x81\x87 ");
    if (!spm->ranks || !spm->scores || !spm->unused || !spm->unk_surface) {
        return lv_fail(LV_ERR_MEMORY, "no memory for %zu pieces", n_ids);
    }
    rc = lv_vocab_create(t, (int32_t)n_ids, (size_t)p.n_pieces, 0);
    if (rc == LV_OK) rc = add_pieces(t, &p);
    if (rc == LV_OK) rc = rank_pieces(t);
    if (rc == LV_OK) {
        lv_tokenizer_crc_pieces(t);
        rc = add_merges_to_crc(t);
    }
    if (rc == LV_OK && p.rules.n > 0) {
        rc = lv_spm_rules_read(&spm->rules, (const char *)p.rules.data, p.rules.n);
        t->crc = lv_tokenizer_crc_add(t->crc, p.rules.data, p.rules.n);
    }
    lv_matcher_finish(&spm->user_defined);
    spm->bos = control_piece(t, p.bos);
    spm->eos = control_piece(t, p.eos);
    return rc;
}

void lv_spm_destroy(lv_spm **spm)
{
    if (*spm) {
        free((*spm)->ranks);
        free((*spm)->scores);
        free((*spm)->unused);
        free((*spm)->unk_surface);
        free((*spm)->unk_token);
        free((*spm)->rules.units);
        free((*spm)->rules.texts);
        lv_matcher_free(&(*spm)->user_defined);
        free(*spm);
        *spm = NULL;
    }
}
