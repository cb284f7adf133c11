/* SPDX-License-Identifier: Apache-2.0 */
#include "data/tokenizer.h"

#include "autograd/error.h"
#include "data/file.h"
#include "data/tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What tells tokenizers apart beyond pieces and merges. */
static void set_fingerprint(lv_tokenizer *t)
{
    static const char *const markers[] = {
        [LV_MARKER_LEGACY] = "legacy",
        [LV_MARKER_ALWAYS] = "always",
        [LV_MARKER_FIRST] = "first",
        [LV_MARKER_NEVER] = "never",
    };
    char rules[128];
    snprintf(rules, sizeof rules, "%d %d %d %d %d %d %d %d", t->unk, t->fuse_unk, t->byte_fallback,
             t->ignore_merges, t->replaces_spaces, t->template_bos, t->bos, t->eos);
    snprintf(t->fingerprint, sizeof t->fingerprint, "crc32:%08x marker:%s",
             lv_tokenizer_crc_add(t->crc, rules, strlen(rules)), markers[t->marker]);
}

int lv_tokenizer_open(lv_tokenizer **out, const char *path)
{
    static const char name[] = "tokenizer.json";
    bool is_dir = lv_dir_exists(path);
    char *file = is_dir ? lv_path("%s/%s", path, name) : lv_path("%s", path);
    char *dir = lv_path_dir(file);
    const char *slash = strrchr(file, '/');
    bool has_company = strcmp(slash ? slash + 1 : file, name) == 0;
    lv_tokenizer *t = calloc(1, sizeof *t);
    int rc = t ? LV_OK : lv_fail(LV_ERR_MEMORY, "%s: out of memory", path);
    if (rc == LV_OK && is_dir && !lv_file_exists(file)) {
        rc = lv_fail(LV_ERR_IO,
                     "%s: there is no tokenizer.json in it (a tokenizer.model alone is not read: "
                     "save the tokenizer once with transformers)",
                     path);
    }
    rc = rc < 0 ? rc : lv_tokenizer_file_read(t, file);
    rc = rc < 0 ? rc : lv_tokenizer_special_read(t, has_company ? dir : NULL);
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

void lv_tokenizer_add_file(lv_tokenizer *t, const char *path)
{
    LV_CHECK(t->n_files < LV_TOKENIZER_MAX_FILES, "a tokenizer of too many files");
    t->files[t->n_files++] = lv_path("%s", path);
}

int lv_tokenizer_copy_files(const lv_tokenizer *t, const char *dir)
{
    int rc = lv_dir_create(dir);
    for (int i = 0; rc == LV_OK && i < t->n_files; i++) {
        const char *slash = strrchr(t->files[i], '/');
        /* The first is the tokenizer itself, whatever its name was. */
        char *to = lv_path("%s/%s", dir, i == 0 ? "tokenizer.json" : slash + 1);
        rc = lv_file_copy(to, t->files[i]);
        free(to);
    }
    return rc;
}

void lv_tokenizer_close(lv_tokenizer **tokenizer)
{
    if (*tokenizer) {
        for (int i = 0; i < (*tokenizer)->n_files; i++) {
            free((*tokenizer)->files[i]);
        }
        lv_vocab_destroy(*tokenizer);
        free(*tokenizer);
        *tokenizer = NULL;
    }
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
    return t->n_ids;
}

bool lv_tokenizer_adds_bos(const lv_tokenizer *t)
{
    return t->template_bos >= 0;
}

int32_t lv_tokenizer_id(const lv_tokenizer *t, const char *piece)
{
    int32_t id = lv_vocab_find(t, piece, strlen(piece));
    for (int32_t i = 0; id < 0 && i < t->n_ids; i++) {
        if (t->pieces[i] && !t->in_model[i] && strcmp(t->pieces[i], piece) == 0) {
            id = i;
        }
    }
    return id;
}

const char *lv_tokenizer_fingerprint(const lv_tokenizer *t)
{
    return t->fingerprint;
}
