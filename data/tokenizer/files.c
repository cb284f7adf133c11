/* SPDX-License-Identifier: Apache-2.0
 *
 * The files beside a tokenizer's, and which pieces are BOS and EOS. The first of these that says
 * so: tokenizer_config.json, config.json, generation_config.json, special_tokens_map.json, the
 * tokenizer's own file.
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/tokenizer/spm.h"

#include <stdlib.h>
#include <string.h>

void lv_tokenizer_add_file(lv_tokenizer *t, const char *path)
{
    for (int i = 0; i < t->n_files; i++) {
        if (strcmp(t->files[i], path) == 0) {
            return;
        }
    }
    LV_CHECK(t->n_files < LV_TOKENIZER_MAX_FILES, "a tokenizer of too many files");
    t->files[t->n_files++] = lv_path("%s", path);
}

int lv_tokenizer_read_beside(cJSON **root, lv_tokenizer *t, const char *dir, const char *name)
{
    char *path = lv_path("%s/%s", dir, name);
    int rc = lv_file_exists(path) ? lv_json_read(root, path) : LV_OK;
    if (*root) {
        lv_tokenizer_add_file(t, path);
    }
    free(path);
    return rc;
}

/* "bos_token": a piece, or an object whose "content" is one. */
static int piece_named(const lv_tokenizer *t, const cJSON *root, const char *key, int32_t *id)
{
    const cJSON *item = lv_json_find(root, key);
    item = cJSON_IsObject(item) ? lv_json_find(item, "content") : item;
    if (!item) {
        return LV_OK;
    }
    *id = cJSON_IsString(item) ? lv_vocab_id(&t->vocab, item->valuestring) : -1;
    return *id >= 0 ? LV_OK
                    : lv_fail(LV_ERR_FORMAT, "\"%s\": %s%s%s is not a piece of the vocabulary", key,
                              cJSON_IsString(item) ? "\"" : "",
                              cJSON_IsString(item) ? item->valuestring : lv_json_kind(item),
                              cJSON_IsString(item) ? "\"" : "");
}

/* "bos_token_id": an id, or a list of which the first counts. */
static int id_named(const lv_tokenizer *t, const cJSON *root, const char *key, int32_t *id)
{
    const cJSON *item = lv_json_find(root, key);
    item = cJSON_IsArray(item) ? item->child : item;
    if (!item) {
        return LV_OK;
    }
    double number = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!lv_vocab_has(&t->vocab, number)) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\": not an id of the tokenizer's vocabulary", key);
    }
    *id = (int32_t)number;
    return LV_OK;
}

static int read_files(lv_tokenizer *t, const char *dir)
{
    static const struct {
        const char *file, *bos_key, *eos_key;
        int (*get)(const lv_tokenizer *, const cJSON *, const char *, int32_t *);
    } sources[] = {
        {"tokenizer_config.json", "bos_token", "eos_token", piece_named},
        {"config.json", "bos_token_id", "eos_token_id", id_named},
        {"generation_config.json", "bos_token_id", "eos_token_id", id_named},
        {"special_tokens_map.json", "bos_token", "eos_token", piece_named},
    };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        cJSON *root = NULL;
        int rc = lv_tokenizer_read_beside(&root, t, dir, sources[i].file);
        if (rc < 0) {
            return rc;
        }
        if (t->bos < 0) {
            rc = sources[i].get(t, root, sources[i].bos_key, &t->bos);
        }
        if (rc == LV_OK && t->eos < 0) {
            rc = sources[i].get(t, root, sources[i].eos_key, &t->eos);
        }
        cJSON_Delete(root);
        if (rc < 0) {
            return lv_fail_within("%s/%s", dir, sources[i].file);
        }
    }
    return LV_OK;
}

int lv_tokenizer_special_read(lv_tokenizer *t, const char *dir)
{
    t->bos = t->eos = -1;
    int rc = dir ? read_files(t, dir) : LV_OK;
    if (rc < 0) {
        return rc;
    }
    if (t->bos < 0) {
        int32_t own = t->spm ? t->spm->bos : t->template_bos;
        t->bos = own >= 0 ? own : lv_vocab_id(&t->vocab, "<s>");
    }
    if (t->eos < 0) {
        t->eos = t->spm && t->spm->eos >= 0 ? t->spm->eos : lv_vocab_id(&t->vocab, "</s>");
    }
    if (t->spm) {
        t->template_bos = t->spm->adds_bos ? t->bos : -1;
    }
    if (t->template_bos >= 0 && t->template_bos != t->bos) {
        return lv_fail(LV_ERR_UNSUPPORTED,
                       "BOS is \"%s\", but the post_processor of tokenizer.json puts \"%s\" "
                       "before a text",
                       t->vocab.pieces[t->bos].name, t->vocab.pieces[t->template_bos].name);
    }
    return LV_OK;
}
