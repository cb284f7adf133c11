/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_tokenizer_decode: the decoders of a tokenizer.json, in one pass over the pieces.
 */
#include "data/tokenizer_internal.h"

#include "autograd/error.h"
#include "data/text.h"

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
    for (int b = 0; t->decoder.joins_bytes && b < 256; b++) {
        if (t->byte_ids[b] == id) {
            return b;
        }
    }
    return -1;
}

/* raw: special pieces by name, nothing stripped. */
static int decode(const lv_tokenizer *t, const int32_t *ids, size_t n, bool raw, char **out)
{
    buffer text = {0}, run = {0};
    bool first = !raw;
    size_t skip = 0;
    int rc = append(&text, "", 0);
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        int32_t id = ids[i];
        if (id < 0 || id >= t->n_ids || !t->pieces[id]) {
            rc = lv_fail(LV_ERR_FORMAT, "the tokenizer has no piece with the id %d", id);
            break;
        }
        if (t->special[id] || id == t->bos || id == t->eos) {
            rc = raw ? append_byte_run(&text, &run) : LV_OK;
            rc = raw && rc == LV_OK ? append(&text, t->pieces[id], strlen(t->pieces[id])) : rc;
            continue;
        }
        int byte = byte_of(t, id);
        if (byte >= 0) {
            char c = (char)byte;
            rc = append(&run, &c, 1);
        } else if ((rc = append_byte_run(&text, &run)) == LV_OK) {
            if (t->decoder.joins_with_spaces && !first) {
                rc = append(&text, " ", 1);
            }
            rc = rc < 0 ? rc : append_piece(&text, t, t->pieces[id], first);
        }
        first = false;
    }
    rc = rc < 0 ? rc : append_byte_run(&text, &run);
    free(run.bytes);
    if (rc < 0) {
        free(text.bytes);
        return rc;
    }
    while (!raw && (int64_t)skip < t->decoder.strip_start && text.bytes[skip] == ' ') {
        skip++;
    }
    memmove(text.bytes, text.bytes + skip, text.n - skip + 1);
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
