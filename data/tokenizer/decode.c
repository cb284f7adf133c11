/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_tokenizer_decode: the decoders of a tokenizer.json, and sentencepiece's.
 */
#include "data/tokenizer/internal.h"

#include "autograd/error.h"
#include "data/base/text.h"
#include "data/tokenizer/spm.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    char *bytes;
    size_t n, capacity;
} buffer;

static int append(buffer *b, const char *bytes, size_t n)
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
static int append_byte_run(buffer *out, buffer *run)
{
    bool valid = true;
    int rc = LV_OK;
    for (size_t at = 0; valid && at < run->n;) {
        at += lv_utf8_step(run->bytes + at, run->n - at, &valid);
    }
    if (valid) {
        rc = append(out, run->n ? run->bytes : "", run->n);
    } else {
        for (size_t i = 0; rc == LV_OK && i < run->n; i++) {
            rc = append(out, "\xEF\xBF\xBD", 3);
        }
    }
    run->n = 0;
    return rc;
}

static int append_piece(buffer *out, const lv_tokenizer *t, const char *piece, bool first)
{
    size_t marker_bytes = strlen(LV_SPACE_MARKER);
    int rc = LV_OK;
    if (!t->decoder.restores_spaces) {
        return append(out, piece, strlen(piece));
    }
    while (rc == LV_OK && *piece) {
        const char *marker = strstr(piece, LV_SPACE_MARKER);
        size_t before = marker ? (size_t)(marker - piece) : strlen(piece);
        rc = append(out, piece, before);
        if (rc == LV_OK && marker && !(first && t->decoder.drops_markers)) {
            rc = append(out, " ", 1);
        }
        piece += before + (marker ? marker_bytes : 0);
    }
    return rc;
}

static int byte_of(const lv_tokenizer *t, int32_t id)
{
    for (int b = 0; t->pieces[id][0] == '<' && b < 256; b++) {
        if (t->byte_ids[b] == id) {
            return b;
        }
    }
    return -1;
}

static bool is_left_out(const lv_tokenizer *t, int32_t id)
{
    return t->special[id] || id == t->bos || id == t->eos;
}

/* ---- LV_KIND_MARKER ---- */

static int decode_markers(const lv_tokenizer *t, const int32_t *ids, size_t n, bool raw,
                          buffer *text)
{
    buffer run = {0};
    bool first = !raw;
    size_t skip = 0;
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        int32_t id = ids[i];
        if (is_left_out(t, id)) {
            rc = raw ? append_byte_run(text, &run) : LV_OK;
            if (raw && rc == LV_OK) rc = append(text, t->pieces[id], strlen(t->pieces[id]));
            continue;
        }
        int byte = t->decoder.joins_bytes ? byte_of(t, id) : -1;
        if (byte >= 0) {
            rc = append(&run, &(char){(char)byte}, 1);
        } else if ((rc = append_byte_run(text, &run)) == LV_OK) {
            if (t->decoder.joins_with_spaces && !first) {
                rc = append(text, " ", 1);
            }
            if (rc == LV_OK) rc = append_piece(text, t, t->pieces[id], first);
        }
        first = false;
    }
    if (rc == LV_OK) rc = append_byte_run(text, &run);
    free(run.bytes);
    while (rc == LV_OK && !raw && (int64_t)skip < t->decoder.strip_start &&
           text->bytes[skip] == ' ') {
        skip++;
    }
    memmove(text->bytes, text->bytes + skip, text->n - skip + 1);
    text->n -= skip;
    return rc;
}

/* ---- LV_KIND_BYTES ---- */

/* A piece with a character that stands for no byte (an added token may have one) is its text. */
static int append_bytes_of(buffer *out, const char *piece)
{
    size_t start = out->n, n = strlen(piece);
    for (size_t at = 0; at < n;) {
        bool valid = false;
        size_t step = lv_utf8_step(piece + at, n - at, &valid);
        int byte = valid ? lv_byte_of_character(lv_utf8_code(piece + at, step)) : -1;
        int rc = byte >= 0 ? append(out, &(char){(char)byte}, 1) : LV_OK;
        if (rc < 0 || byte < 0) {
            out->n = start;
            return rc < 0 ? rc : append(out, piece, n);
        }
        at += step;
    }
    return LV_OK;
}

/* U+FFFD for what is not UTF-8: one a broken character, or one a byte of it. */
static int append_mended(buffer *out, const buffer *bytes, bool one_a_byte)
{
    int rc = LV_OK;
    for (size_t at = 0, step; rc == LV_OK && at < bytes->n; at += step) {
        bool valid = false;
        step = lv_utf8_step(bytes->bytes + at, bytes->n - at, &valid);
        step = !valid && one_a_byte ? 1 : step;
        rc =
            valid ? append(out, bytes->bytes + at, step) : append(out, LV_REPLACEMENT_CHARACTER, 3);
    }
    return rc;
}

static int decode_bytes(const lv_tokenizer *t, const int32_t *ids, size_t n, bool raw, buffer *text)
{
    buffer bytes = {0};
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        const char *piece = t->pieces[ids[i]];
        if (!is_left_out(t, ids[i])) {
            rc = append_bytes_of(&bytes, piece);
        } else if (raw) {
            rc = append(&bytes, piece, strlen(piece));
        }
    }
    if (rc == LV_OK) rc = append_mended(text, &bytes, false);
    free(bytes.bytes);
    return rc;
}

/* ---- LV_KIND_SPM ---- */

typedef struct {
    buffer bytes;   /* of byte pieces that are not in the text yet */
    size_t begin;   /* in the text: each run between added tokens is decoded by itself */
    bool may_strip; /* no text yet: a leading marker is no space */
    bool stripped;  /* the last piece's was left out */
} spm_run;

static int end_spm_bytes(buffer *text, spm_run *run)
{
    int rc = append_mended(text, &run->bytes, true);
    run->bytes.n = 0;
    return rc;
}

/* A piece that is neither byte nor added token; piece is what of it is shown. */
static int append_spm_piece(buffer *text, const lv_tokenizer *t, spm_run *run, const char *piece)
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
    while (rc == LV_OK && *piece) {
        const char *marker = strstr(piece, LV_SPACE_MARKER);
        size_t n = marker ? (size_t)(marker - piece) : strlen(piece);
        rc = append(text, piece, n);
        rc = rc < 0 || !marker ? rc : append(text, " ", 1);
        piece += n + (marker ? LV_SPACE_MARKER_BYTES : 0);
    }
    return rc;
}

static int decode_spm(const lv_tokenizer *t, const int32_t *ids, size_t n, bool raw, buffer *text)
{
    spm_run run = {.may_strip = !raw};
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        int32_t id = ids[i];
        bool is_added = id >= t->spm->n_pieces, is_unk = id == t->unk && !raw;
        int byte = byte_of(t, id);
        if (byte >= 0) {
            rc = append(&run.bytes, &(char){(char)byte}, 1);
        } else if (is_unk) {
            rc = append_spm_piece(text, t, &run, "");
            if (rc == LV_OK) rc = append(text, t->spm->unk_surface, strlen(t->spm->unk_surface));
        } else if (!is_added && !is_left_out(t, id)) {
            rc = append_spm_piece(text, t, &run, t->pieces[id]);
        } else if (raw || (is_added && !is_left_out(t, id))) {
            rc = end_spm_bytes(text, &run);
            if (rc == LV_OK) rc = append(text, t->pieces[id], strlen(t->pieces[id]));
            run.begin = text->n;
            run.may_strip = !raw;
            run.stripped = false;
        } else {
            rc = append_spm_piece(text, t, &run, "");
        }
    }
    if (rc == LV_OK) rc = end_spm_bytes(text, &run);
    free(run.bytes.bytes);
    return rc;
}

/* ---- all ---- */

/* raw: special pieces by name, nothing stripped. */
static int decode(const lv_tokenizer *t, const int32_t *ids, size_t n, bool raw, char **out)
{
    buffer text = {0};
    int rc = append(&text, "", 0);
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        if (ids[i] < 0 || ids[i] >= t->n_ids || !t->pieces[ids[i]]) {
            rc = lv_fail(LV_ERR_FORMAT, "the tokenizer has no piece with the id %d", ids[i]);
        }
    }
    if (rc == LV_OK) {
        rc = t->kind == LV_KIND_SPM  ? decode_spm(t, ids, n, raw, &text)
             : t->decoder.byte_level ? decode_bytes(t, ids, n, raw, &text)
                                     : decode_markers(t, ids, n, raw, &text);
    }
    if (rc < 0) {
        free(text.bytes);
        return rc;
    }
    *out = text.bytes;
    return LV_OK;
}

int lv_tokenizer_decode(const lv_tokenizer *t, const int32_t *ids, size_t n, char **out)
{
    return decode(t, ids, n, false, out);
}

int lv_tokenizer_decode_raw(const lv_tokenizer *t, const int32_t *ids, size_t n, char **out)
{
    return decode(t, ids, n, true, out);
}
