/* SPDX-License-Identifier: Apache-2.0
 *
 * The files beside a tokenizer's, which pieces are BOS and EOS, and which ids end an answer.
 * source transformers 4.57: tokenization_utils_base.py, generation/configuration_utils.py
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/tokenizer/spm.h"

#include <stdio.h>
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

/* Classes of transformers 4 that put their flags in the place of tokenizer.json's post_processor; an
 * absent add_bos_token is true in them. */
static bool follows_flags(const cJSON *config)
{
    static const char *const names[] = {"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer",
                                        "CohereTokenizer"};
    const char *class = cJSON_GetStringValue(lv_json_find(config, "tokenizer_class"));
    for (size_t i = 0; class && i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(class, names[i], n) == 0 && (!class[n] || strcmp(class + n, "Fast") == 0)) {
            return true;
        }
    }
    return false;
}

/* What a tokenizer_config.json beside a tokenizer.json says of BOS and EOS around a text has to be
 * what the post_processor does, which never adds an EOS. */
static int check_flags(const lv_tokenizer *t, const cJSON *config)
{
    const bool adds_bos = t->template_bos >= 0, follows = follows_flags(config);
    bool bos = adds_bos || follows, eos = false;
    int rc = lv_json_bool(config, "add_bos_token", false, &bos);
    if (rc == LV_OK) rc = lv_json_bool(config, "add_eos_token", false, &eos);
    if (rc < 0 || (bos == adds_bos && !eos)) {
        return rc;
    }
    const bool of_bos = bos != adds_bos;
    return lv_fail(
        LV_ERR_UNSUPPORTED,
        "\"%s\" is %s%s, but the post_processor of tokenizer.json puts %s: transformers "
        "4.57 follows %s, transformers 5 the post_processor; make the two agree",
        of_bos ? "add_bos_token" : "add_eos_token", of_bos && !bos ? "false" : "true",
        lv_json_find(config, of_bos ? "add_bos_token" : "add_eos_token") ? ""
                                                                         : " (it is not given)",
        of_bos ? (adds_bos ? "BOS before a text" : "no BOS before a text") : "no EOS after a text",
        follows ? "the flag" : "the post_processor, too");
}

/* As transformers: where tokenizer_config.json lists the added tokens, special_tokens_map.json does
 * not count; otherwise it is the stronger one. */
static int read_files(lv_tokenizer *t, const char *dir)
{
    static const char *const names[] = {"special_tokens_map.json", "tokenizer_config.json"};
    cJSON *roots[2] = {NULL, NULL};
    int rc = lv_tokenizer_read_beside(&roots[0], t, dir, names[0]);
    if (rc == LV_OK) rc = lv_tokenizer_read_beside(&roots[1], t, dir, names[1]);
    for (int i = lv_json_find(roots[1], "added_tokens_decoder") ? 1 : 0; rc == LV_OK && i < 2;
         i++) {
        if (t->bos < 0) rc = piece_named(t, roots[i], "bos_token", &t->bos);
        if (rc == LV_OK && t->eos < 0) rc = piece_named(t, roots[i], "eos_token", &t->eos);
        if (rc < 0) {
            lv_fail_within("%s/%s", dir, names[i]);
        }
    }
    if (rc == LV_OK && t->pipeline && roots[1] && (rc = check_flags(t, roots[1])) < 0) {
        lv_fail_within("%s/%s", dir, names[1]);
    }
    cJSON_Delete(roots[0]);
    cJSON_Delete(roots[1]);
    return rc;
}

/* ---- what the model's files say ---- */

/* The ids of a number or a list; *n is -1 if the object does not have the key. */
static int read_ids(int32_t ids[LV_TOKENIZER_MAX_STOPS], int *n, const cJSON *object,
                    const char *key)
{
    const cJSON *item = lv_json_find(object, key);
    *n = item ? 0 : -1;
    for (item = cJSON_IsArray(item) ? item->child : item; item; item = item->next) {
        double id = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (!(id >= 0 && id < LV_TOKENIZER_MAX_IDS && id == (int32_t)id)) {
            return lv_fail(LV_ERR_FORMAT, "\"%s\": expected an id or a list of ids", key);
        }
        if (*n == LV_TOKENIZER_MAX_STOPS) {
            return lv_fail(LV_ERR_UNSUPPORTED, "\"%s\": more than %d ids", key,
                           LV_TOKENIZER_MAX_STOPS);
        }
        ids[(*n)++] = (int32_t)id;
        if (!cJSON_IsArray(lv_json_find(object, key))) {
            break;
        }
    }
    return LV_OK;
}

typedef struct {
    const char *name;
    int32_t bos[LV_TOKENIZER_MAX_STOPS], eos[LV_TOKENIZER_MAX_STOPS];
    int n_bos, n_eos; /* -1: not named */
} model_ids;

/* generation_config.json where it is, otherwise config.json: its own members, or its text_config's.
 */
static int read_model_ids(model_ids *out, const char *dir)
{
    static const char *const names[] = {"generation_config.json", "config.json"};
    cJSON *root = NULL;
    int rc = LV_OK;
    *out = (model_ids){.n_bos = -1, .n_eos = -1};
    for (int i = 0; !root && rc == LV_OK && i < 2; i++) {
        char *path = lv_path("%s/%s", dir, names[i]);
        rc = lv_file_exists(path) ? lv_json_read(&root, path) : LV_OK;
        out->name = names[i];
        free(path);
    }
    const cJSON *text = lv_json_find(root, "text_config");
    if (rc == LV_OK && root) {
        rc = read_ids(out->bos, &out->n_bos, root, "bos_token_id");
        if (rc == LV_OK && out->n_bos < 0) {
            rc = read_ids(out->bos, &out->n_bos, text, "bos_token_id");
        }
        if (rc == LV_OK) rc = read_ids(out->eos, &out->n_eos, root, "eos_token_id");
        if (rc == LV_OK && out->n_eos < 0) {
            rc = read_ids(out->eos, &out->n_eos, text, "eos_token_id");
        }
        if (rc < 0) {
            lv_fail_within("%s/%s", dir, out->name);
        }
    }
    cJSON_Delete(root);
    return rc;
}

static bool has_id(const int32_t *ids, int n, int32_t id)
{
    for (int i = 0; i < n; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

/* Appends to the note that the model's file names other ids than the tokenizer encodes. */
static void note_other(lv_tokenizer *t, const char *dir, const model_ids *model, const char *what,
                       const int32_t *ids, int n, int32_t own)
{
    char list[LV_TOKENIZER_MAX_STOPS * 12] = "";
    size_t at = 0;
    if (n <= 0 || own < 0 || has_id(ids, n, own)) {
        return;
    }
    for (int i = 0; i < n; i++) {
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%d", i ? ", " : "", ids[i]);
    }
    char *note = lv_path("%s%s%s/%s says %s_token_id %s, the tokenizer's is %d (\"%s\")",
                         t->note ? t->note : "", t->note ? "; " : "", dir, model->name, what, list,
                         own, t->vocab.pieces[own].name);
    free(t->note);
    t->note = note;
}

static int read_stops(lv_tokenizer *t, const char *dir)
{
    model_ids model = {.n_bos = -1, .n_eos = -1};
    int rc = dir ? read_model_ids(&model, dir) : LV_OK;
    if (rc < 0) {
        return rc;
    }
    for (int i = 0; i < model.n_eos; i++) {
        t->stops[t->n_stops++] = model.eos[i];
    }
    if (t->eos >= 0 && !has_id(t->stops, t->n_stops, t->eos)) {
        t->stops[t->n_stops++] = t->eos;
    }
    note_other(t, dir, &model, "bos", model.bos, model.n_bos, t->bos);
    note_other(t, dir, &model, "eos", model.eos, model.n_eos, t->eos);
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
    return read_stops(t, dir);
}
