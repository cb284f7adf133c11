/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_tokenizer_decode: the decoders of a tokenizer.json, and sentencepiece's.
 */
#include "autograd/error.h"
#include "data/base/text.h"
#include "data/tokenizer/pipeline.h"
#include "data/tokenizer/spm.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    char *bytes;
    size_t n, capacity;
    size_t settled; /* bytes that no further id changes */
} text_buffer;

static int add_bytes(text_buffer *b, const char *bytes, size_t n)
{
    if (b->capacity - b->n <= n) { /* room for a terminator, too */
        size_t capacity = 2 * b->capacity + n + 64;
        char *grown = realloc(b->bytes, capacity);
        if (!grown) {
            return lv_fail(LV_ERR_MEMORY, "no memory for a text of %zu bytes", capacity);
        }
        b->bytes = grown;
        b->capacity = capacity;
    }
    memcpy(b->bytes + b->n, bytes, n);
    b->n += n;
    b->bytes[b->n] = '\0';
    return LV_OK;
}

/* A run of byte pieces is text if all of it is valid UTF-8, otherwise U+FFFD a byte. */
static int add_byte_run(text_buffer *out, text_buffer *run)
{
    bool valid = true;
    int rc = LV_OK;
    for (size_t at = 0; valid && at < run->n;) {
        at += lv_utf8_step(run->bytes + at, run->n - at, &valid);
    }
    if (valid) {
        rc = add_bytes(out, run->n ? run->bytes : "", run->n);
    } else {
        for (size_t i = 0; rc == LV_OK && i < run->n; i++) {
            rc = add_bytes(out, LV_REPLACEMENT_CHARACTER, 3);
        }
    }
    run->n = 0;
    return rc;
}

static int add_text(text_buffer *b, const char *text)
{
    return add_bytes(b, text, strlen(text));
}

/* A piece with spaces for its markers, or with nothing for them. */
static int add_spaced(text_buffer *out, const char *piece, bool drops_markers)
{
    int rc = LV_OK;
    while (rc == LV_OK && *piece) {
        const char *marker = strstr(piece, LV_SPACE_MARKER);
        size_t before = marker ? (size_t)(marker - piece) : strlen(piece);
        rc = add_bytes(out, piece, before);
        if (rc == LV_OK && marker && !drops_markers) rc = add_bytes(out, " ", 1);
        piece += before + (marker ? LV_SPACE_MARKER_BYTES : 0);
    }
    return rc;
}

static int byte_of(const lv_vocab *v, int32_t id)
{
    if (v->pieces[id].name[0] != '<') {
        return -1;
    }
    int b = 255;
    while (b >= 0 && v->byte_ids[b] != id) {
        b--;
    }
    return b;
}

static bool is_left_out(const lv_tokenizer *t, int32_t id)
{
    return t->vocab.pieces[id].special || id == t->bos || id == t->eos;
}

/* ---- a tokenizer.json's ---- */

static int decode_markers(const lv_tokenizer *t, const int32_t *ids, size_t n, bool raw,
                          text_buffer *text)
{
    text_buffer run = {0};
    const lv_decoder *d = &t->pipeline->decoder;
    bool first = !raw;
    size_t skip = 0;
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        int32_t id = ids[i];
        if (is_left_out(t, id)) {
            rc = raw ? add_byte_run(text, &run) : LV_OK;
            if (raw && rc == LV_OK) rc = add_text(text, t->vocab.pieces[id].name);
            continue;
        }
        int byte = d->joins_bytes ? byte_of(&t->vocab, id) : -1;
        if (byte >= 0) {
            rc = add_bytes(&run, &(char){(char)byte}, 1);
        } else if ((rc = add_byte_run(text, &run)) == LV_OK) {
            if (d->joins_with_spaces && !first) rc = add_bytes(text, " ", 1);
            const char *name = t->vocab.pieces[id].name;
            if (rc == LV_OK) {
                rc = d->restores_spaces ? add_spaced(text, name, first && d->drops_markers)
                                        : add_text(text, name);
            }
        }
        first = false;
    }
    text->settled = text->n;
    if (rc == LV_OK) rc = add_byte_run(text, &run);
    free(run.bytes);
    while (rc == LV_OK && !raw && (int64_t)skip < d->strip_start && text->bytes[skip] == ' ') {
        skip++;
    }
    memmove(text->bytes, text->bytes + skip, text->n - skip + 1);
    text->n -= skip;
    text->settled -= skip < text->settled ? skip : text->settled;
    return rc;
}

/* A piece with a character that stands for no byte (an added token may have one) is its text. */
static int add_bytes_of(text_buffer *out, const char *piece)
{
    size_t start = out->n, n = strlen(piece), n_bytes = 0;
    int rc = add_bytes(out, piece, n);
    if (rc == LV_OK && lv_bytes_of_name(out->bytes + start, &n_bytes, piece, n)) {
        out->n = start + n_bytes;
    } else if (rc == LV_OK) {
        memcpy(out->bytes + start, piece, n);
    }
    return rc;
}

/* U+FFFD for what is not UTF-8: one a broken character, or one a byte of it. Bytes after the last
 * whole character may be the beginning of one. */
static int add_mended(text_buffer *out, const text_buffer *bytes, bool one_a_byte)
{
    int rc = LV_OK;
    out->settled = out->n;
    for (size_t at = 0, step; rc == LV_OK && at < bytes->n; at += step) {
        bool valid = false;
        step = lv_utf8_step(bytes->bytes + at, bytes->n - at, &valid);
        step = !valid && one_a_byte ? 1 : step;
        rc = valid ? add_bytes(out, bytes->bytes + at, step)
                   : add_bytes(out, LV_REPLACEMENT_CHARACTER, 3);
        out->settled = valid ? out->n : out->settled;
    }
    return rc;
}

static int decode_bytes(const lv_tokenizer *t, const int32_t *ids, size_t n, bool raw,
                        text_buffer *text)
{
    text_buffer bytes = {0};
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        const char *piece = t->vocab.pieces[ids[i]].name;
        if (!is_left_out(t, ids[i])) {
            rc = add_bytes_of(&bytes, piece);
        } else if (raw) {
            rc = add_text(&bytes, piece);
        }
    }
    if (rc == LV_OK) rc = add_mended(text, &bytes, false);
    free(bytes.bytes);
    return rc;
}

/* ---- a tokenizer.model's ---- */

typedef struct {
    text_buffer bytes; /* of byte pieces that are not in the text yet */
    size_t begin;      /* in the text: each run between added tokens is decoded by itself */
    bool may_strip;    /* no text yet: a leading marker is no space */
    bool stripped;     /* the last piece's was left out */
} spm_run;

static int end_spm_bytes(text_buffer *text, spm_run *run)
{
    int rc = add_mended(text, &run->bytes, true);
    run->bytes.n = 0;
    return rc;
}

/* A piece that is neither byte nor added token; piece is what of it is shown. */
static int add_spm_piece(text_buffer *text, const lv_tokenizer *t, spm_run *run, const char *piece)
{
    const lv_spm *spm = t->spm;
    int rc = end_spm_bytes(text, run);
    if (run->stripped || text->n > run->begin) {
        run->may_strip = false;
    }
    run->stripped = false;
    if (run->may_strip && (spm->add_dummy_prefix || spm->remove_extra_whitespaces) &&
        strncmp(piece, LV_SPACE_MARKER, LV_SPACE_MARKER_BYTES) == 0) {
        piece += LV_SPACE_MARKER_BYTES;
        run->stripped = !spm->remove_extra_whitespaces; /* those lose all of them */
    }
    return rc == LV_OK ? add_spaced(text, piece, false) : rc;
}

static int decode_spm(const lv_tokenizer *t, const int32_t *ids, size_t n, bool raw,
                      text_buffer *text)
{
    spm_run run = {.may_strip = !raw};
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        int32_t id = ids[i];
        bool is_added = id >= t->spm->n_pieces, is_unk = id == t->vocab.unk && !raw;
        int byte = byte_of(&t->vocab, id);
        if (byte >= 0) {
            rc = add_bytes(&run.bytes, &(char){(char)byte}, 1);
        } else if (is_unk) {
            rc = add_spm_piece(text, t, &run, "");
            if (rc == LV_OK) rc = add_text(text, t->spm->unk_surface);
        } else if (!is_added && !is_left_out(t, id)) {
            rc = add_spm_piece(text, t, &run, t->vocab.pieces[id].name);
        } else if (raw || (is_added && !is_left_out(t, id))) {
            rc = end_spm_bytes(text, &run);
            if (rc == LV_OK) rc = add_text(text, t->vocab.pieces[id].name);
            run.begin = text->n;
            run.may_strip = !raw;
            run.stripped = false;
        } else {
            rc = add_spm_piece(text, t, &run, "");
        }
    }
    if (rc == LV_OK) rc = end_spm_bytes(text, &run);
    free(run.bytes.bytes);
    return rc;
}

/* ---- all ---- */

bool lv_tokenizer_has(const lv_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->vocab.n_ids && t->vocab.pieces[id].name;
}

/* raw: special pieces by name, nothing stripped. */
static int decode(text_buffer *out, const lv_tokenizer *t, const int32_t *ids, size_t n, bool raw)
{
    text_buffer text = {0};
    int rc = add_bytes(&text, "", 0);
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        if (!lv_tokenizer_has(t, ids[i])) {
            rc = lv_fail(LV_ERR_FORMAT, "the tokenizer has no piece with the id %d", ids[i]);
        }
    }
    if (rc == LV_OK) {
        rc = t->spm                            ? decode_spm(t, ids, n, raw, &text)
             : t->pipeline->decoder.byte_level ? decode_bytes(t, ids, n, raw, &text)
                                               : decode_markers(t, ids, n, raw, &text);
    }
    if (rc < 0) {
        free(text.bytes);
        return rc;
    }
    *out = text;
    return LV_OK;
}

int lv_tokenizer_decode(const lv_tokenizer *t, const int32_t *ids, size_t n, char **out)
{
    text_buffer text;
    int rc = decode(&text, t, ids, n, false);
    if (rc == LV_OK) {
        *out = text.bytes;
    }
    return rc;
}

int lv_tokenizer_decode_begun(const lv_tokenizer *t, const int32_t *ids, size_t n, char **out,
                              size_t *n_bytes, size_t *settled)
{
    text_buffer text;
    int rc = decode(&text, t, ids, n, false);
    if (rc == LV_OK) {
        *out = text.bytes;
        *n_bytes = text.n;
        *settled = text.settled;
    }
    return rc;
}

int lv_tokenizer_decode_raw(const lv_tokenizer *t, const int32_t *ids, size_t n, char **out)
{
    text_buffer text;
    int rc = decode(&text, t, ids, n, true);
    if (rc == LV_OK) {
        *out = text.bytes;
    }
    return rc;
}
