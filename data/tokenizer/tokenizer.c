/* SPDX-License-Identifier: Apache-2.0 */
#include "data/tokenizer/tokenizer.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/tokenizer/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char fast_name[] = "tokenizer.json", slow_name[] = "tokenizer.model";

/* What tells tokenizers apart beyond pieces and merges. */
static void set_fingerprint(lv_tokenizer *t)
{
    static const char *const markers[] = {
        [LV_MARKER_LEGACY] = "legacy", [LV_MARKER_ALWAYS] = "always", [LV_MARKER_FIRST] = "first",
        [LV_MARKER_CALL] = "call",     [LV_MARKER_NEVER] = "never",
    };
    char rules[128];
    snprintf(rules, sizeof rules, "%d %d %d %d %d %d %d %d", t->vocab.unk, t->vocab.fuse_unk,
             t->vocab.byte_fallback, t->merges.ignored, t->replaces_spaces, t->template_bos, t->bos,
             t->eos);
    snprintf(t->fingerprint, sizeof t->fingerprint, "crc32:%08x marker:%s",
             lv_crc_add(t->crc, rules, strlen(rules)),
             t->vocab.byte_level ? "bytes" : markers[t->marker]);
}

/* The tokenizer's file: path itself or what a directory has; *in_dir: other files of the directory
 * count, too. */
static int find_file(char **file, bool *in_dir, const char *path)
{
    *in_dir = lv_dir_exists(path);
    if (!*in_dir) {
        *file = lv_path("%s", path);
        const char *slash = strrchr(*file, '/');
        const char *name = slash ? slash + 1 : *file;
        *in_dir = strcmp(name, fast_name) == 0 || strcmp(name, slow_name) == 0;
        return LV_OK;
    }
    *file = lv_path("%s/%s", path, fast_name);
    if (!lv_file_exists(*file)) {
        free(*file);
        *file = lv_path("%s/%s", path, slow_name);
    }
    return lv_file_exists(*file)
               ? LV_OK
               : lv_fail(LV_ERR_IO,
                         "%s: there is no %s and no %s in it (other kinds of tokenizer: save them "
                         "once with transformers, which writes a %s)",
                         path, fast_name, slow_name, fast_name);
}

/* By its content: JSON, or a protobuf message whose first field is a piece. */
static int read_file(lv_tokenizer *t, const char *file, const char *dir)
{
    char *text = NULL;
    size_t n = 0;
    int rc = lv_file_read(&text, &n, file);
    if (rc < 0) {
        return rc;
    }
    lv_tokenizer_add_file(t, file);
    size_t at = strspn(text, " \t\r\n");
    if (text[at] == '{' || text[at] == '[') {
        rc = lv_pipeline_read(t, text, n);
    } else if (n > 0 && text[0] == '\n') {
        rc = lv_spm_read(t, text, n, dir);
    } else {
        rc = lv_fail(LV_ERR_FORMAT, "neither a tokenizer.json (which begins with \"{\") nor a "
                                    "sentencepiece model");
    }
    free(text);
    if (rc == LV_OK) rc = lv_words_find(t);
    if (rc == LV_OK && t->spm) rc = lv_spm_finish(t);
    if (rc == LV_OK) rc = lv_added_finish(t);
    return rc < 0 ? lv_fail_within("%s", file) : LV_OK;
}

int lv_tokenizer_open(lv_tokenizer **out, const char *path)
{
    bool in_dir = false;
    char *file = NULL, *dir = NULL;
    lv_tokenizer *t = calloc(1, sizeof *t);
    int rc = t ? LV_OK : lv_fail(LV_ERR_MEMORY, "%s: out of memory", path);
    if (rc == LV_OK) rc = find_file(&file, &in_dir, path);
    if (rc == LV_OK) {
        dir = in_dir ? lv_path_dir(file) : NULL;
        rc = read_file(t, file, dir);
    }
    if (rc == LV_OK) rc = lv_tokenizer_special_read(t, dir);
    free(file);
    free(dir);
    if (rc < 0) {
        lv_tokenizer_close(&t);
        return rc;
    }
    set_fingerprint(t);
    *out = t;
    return LV_OK;
}

int lv_tokenizer_copy_files(const lv_tokenizer *t, const char *dir)
{
    int rc = lv_dir_create(dir);
    for (int i = 0; rc == LV_OK && i < t->n_files; i++) {
        const char *slash = strrchr(t->files[i], '/');
        /* The first is the tokenizer itself, whatever its name was. */
        char *to = lv_path("%s/%s", dir, i == 0 ? t->kind->file_name : slash + 1);
        rc = lv_file_copy(to, t->files[i]);
        free(to);
    }
    return rc;
}

void lv_tokenizer_close(lv_tokenizer **tokenizer)
{
    lv_tokenizer *t = *tokenizer;
    if (!t) {
        return;
    }
    for (int i = 0; i < t->n_files; i++) {
        free(t->files[i]);
    }
    free(t->note);
    lv_matcher_free(&t->added.in_text);
    lv_matcher_free(&t->added.in_normalized);
    free(t->added.tokens);
    lv_pipeline_destroy(&t->pipeline);
    lv_spm_destroy(&t->spm);
    lv_merges_free(&t->merges);
    lv_vocab_free(&t->vocab);
    free(t);
    *tokenizer = NULL;
}

int32_t lv_tokenizer_bos(const lv_tokenizer *t)
{
    return t->bos;
}

int32_t lv_tokenizer_eos(const lv_tokenizer *t)
{
    return t->eos;
}

int32_t lv_tokenizer_vocab_size(const lv_tokenizer *t)
{
    return t->vocab.n_ids;
}

const int32_t *lv_tokenizer_stops(const lv_tokenizer *t, int *n)
{
    *n = t->n_stops;
    return t->stops;
}

void lv_tokenizer_warn_ids(const lv_tokenizer *t)
{
    if (t->note) {
        lv_warn("%s; the tokenizer's is what texts are encoded with", t->note);
    }
}

bool lv_tokenizer_adds_bos(const lv_tokenizer *t)
{
    return t->template_bos >= 0;
}

bool lv_tokenizer_is_special(const lv_tokenizer *t, int32_t id)
{
    return lv_vocab_has(&t->vocab, id) &&
           (t->vocab.pieces[id].special || id == t->bos || id == t->eos);
}

int32_t lv_tokenizer_id(const lv_tokenizer *t, const char *piece)
{
    return lv_vocab_id(&t->vocab, piece);
}

const char *lv_tokenizer_fingerprint(const lv_tokenizer *t)
{
    return t->fingerprint;
}
