/* SPDX-License-Identifier: Apache-2.0
 *
 * A tokenizer.model as transformers' (4.57) LlamaTokenizer reads and uses it, together with the
 * files beside it.
 */
#include "data/tokenizer/spm.h"

#include "autograd/error.h"
#include "data/json/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tokenizer_config.json ---- */

static int check_class(const cJSON *config)
{
    const char *name = NULL;
    int rc = lv_json_string(config, "tokenizer_class", false, &name);
    if (rc == LV_OK && name && strcmp(name, "LlamaTokenizer") != 0 &&
        strcmp(name, "LlamaTokenizerFast") != 0) {
        return lv_fail(LV_ERR_UNSUPPORTED,
                       "tokenizer_class \"%s\" is not implemented for a tokenizer.model, only "
                       "\"LlamaTokenizer\" is (a tokenizer.json, saved by transformers, is read "
                       "whatever its class)",
                       name);
    }
    return rc;
}

static int read_spm_config(lv_spm *spm, const cJSON *config)
{
    bool adds_eos = false;
    int rc = check_class(config);
    if (rc < 0 || (rc = lv_json_bool(config, "legacy", false, &spm->legacy)) < 0 ||
        (rc = lv_json_bool(config, "add_prefix_space", false, &spm->add_prefix_space)) < 0 ||
        (rc = lv_json_bool(config, "add_bos_token", false, &spm->adds_bos)) < 0 ||
        (rc = lv_json_bool(config, "add_eos_token", false, &adds_eos)) < 0) {
        return rc;
    }
    const cJSON *kwargs = lv_json_find(config, "sp_model_kwargs");
    if (adds_eos || (kwargs && kwargs->child)) {
        return lv_fail(LV_ERR_UNSUPPORTED, "\"%s\" is not implemented",
                       adds_eos ? "add_eos_token" : "sp_model_kwargs");
    }
    return LV_OK;
}

/* The text of unk: what the first of the files that names it says. */
static const char *unk_named(const cJSON *config, const cJSON *map)
{
    const cJSON *item = lv_json_find(config, "unk_token");
    item = item ? item : lv_json_find(map, "unk_token");
    item = cJSON_IsObject(item) ? lv_json_find(item, "content") : item;
    return cJSON_IsString(item) ? item->valuestring : "<unk>";
}

/* ---- added tokens ---- */

/* "32000": {"content": "<image>", ...} */
static int read_decoder_entry(const cJSON *item, lv_added_token *a, const char **content)
{
    char *end = NULL;
    long long id = strtoll(item->string, &end, 10);
    if (end == item->string || *end || id < 0 || id >= LV_TOKENIZER_MAX_IDS) {
        return lv_fail(LV_ERR_FORMAT, "\"added_tokens_decoder\": \"%s\" is not an id",
                       item->string);
    }
    *a = (lv_added_token){.id = (int32_t)id};
    int rc = lv_json_string(item, "content", true, content);
    if (rc < 0 || (rc = lv_json_bool(item, "special", false, &a->special)) < 0 ||
        (rc = lv_json_bool(item, "lstrip", false, &a->lstrip)) < 0 ||
        (rc = lv_json_bool(item, "rstrip", false, &a->rstrip)) < 0 ||
        (rc = lv_json_bool(item, "single_word", false, &a->single_word)) < 0) {
        return lv_fail_within("\"added_tokens_decoder\": \"%s\"", item->string);
    }
    return LV_OK;
}

static bool names_token(const cJSON *value, const char *content)
{
    const cJSON *item = cJSON_IsObject(value) ? lv_json_find(value, "content") : value;
    return cJSON_IsString(item) && strcmp(item->valuestring, content) == 0;
}

/* Whether tokenizer_config.json or special_tokens_map.json (either may be NULL) names it. */
static bool is_named_special(const cJSON *root, const char *content)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                       "pad_token", "cls_token", "mask_token"};
    const cJSON *item;
    bool named = false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        named = named || names_token(lv_json_find(root, keys[i]), content);
    }
    cJSON_ArrayForEach (item, lv_json_find(root, "additional_special_tokens")) {
        named = named || names_token(item, content);
    }
    return named;
}

/* "<image>": 32000, in added_tokens.json. */
static int read_added_entry(const cJSON *item, const cJSON *config, const cJSON *map,
                            lv_added_token *a, const char **content)
{
    double id = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!(id >= 0) || id >= LV_TOKENIZER_MAX_IDS || id != (int32_t)id) {
        return lv_fail(LV_ERR_FORMAT, "added_tokens.json: the id of \"%s\" is none", item->string);
    }
    *content = item->string;
    *a = (lv_added_token){.id = (int32_t)id};
    a->special = is_named_special(config, *content) || is_named_special(map, *content);
    return LV_OK;
}

typedef struct {
    cJSON *config, *map, *added; /* tokenizer_config, special_tokens_map, added_tokens */
} beside;

typedef struct {
    lv_added_token token;
    const char *content;
} named_token;

/* The added tokens: those of added_tokens_decoder, or, if there is none, of added_tokens.json.
 * *out is malloc'ed, its contents are borrowed from the files. */
static int read_added(named_token **out, int *n, const beside *files)
{
    const cJSON *decoder = lv_json_find(files->config, "added_tokens_decoder");
    const cJSON *list = decoder ? decoder : files->added;
    const cJSON *item;
    int rc = LV_OK;
    if (list && !cJSON_IsObject(list)) {
        return lv_fail(LV_ERR_FORMAT, "%s: expected an object, found %s",
                       decoder ? "\"added_tokens_decoder\"" : "added_tokens.json",
                       lv_json_kind(list));
    }
    *n = 0;
    *out = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof **out);
    if (!*out) {
        return lv_fail(LV_ERR_MEMORY, "no memory for the added tokens");
    }
    cJSON_ArrayForEach (item, list) {
        named_token *a = &(*out)[(*n)++];
        rc = decoder ? read_decoder_entry(item, &a->token, &a->content)
                     : read_added_entry(item, files->config, files->map, &a->token, &a->content);
        if (rc < 0) {
            break;
        }
    }
    return rc;
}

static int add_token(lv_tokenizer *t, const named_token *a)
{
    const char *name = t->vocab.pieces[a->token.id].name;
    int rc = LV_OK;
    if (!name) {
        rc = lv_vocab_add(&t->vocab, a->token.id, a->content, false);
    } else if (strcmp(name, a->content) != 0) {
        rc = lv_fail(LV_ERR_FORMAT, "the added token \"%s\" has the id %d of the piece \"%s\"",
                     a->content, a->token.id, name);
    }
    if (rc == LV_OK && a->token.single_word && !a->token.special) {
        rc = lv_fail(LV_ERR_UNSUPPORTED,
                     "the added token \"%s\": single_word is not implemented beside a "
                     "tokenizer.model",
                     a->content);
    }
    return rc < 0 ? rc : lv_added_add(t, a->token);
}

/* ---- the model with the files beside it ---- */

/* The marker rule, and what else of the model a tokenizer.json of the same pieces would not do. */
static void set_rules(lv_tokenizer *t)
{
    const lv_spm *spm = t->spm;
    char rules[64];
    t->vocab.fuse_unk = true;
    t->replaces_spaces = spm->escape_whitespaces;
    if (spm->legacy) {
        t->marker = spm->add_dummy_prefix ? LV_MARKER_LEGACY : LV_MARKER_NEVER;
    } else {
        t->marker = spm->add_prefix_space ? LV_MARKER_CALL : LV_MARKER_NEVER;
    }
    bool plain = !spm->remove_extra_whitespaces && spm->escape_whitespaces &&
                 !spm->whitespace_as_suffix && spm->user_defined.n == 0 && !t->merges.unused;
    if (!plain) {
        snprintf(rules, sizeof rules, "spm %d %d %d %zu %d", spm->remove_extra_whitespaces,
                 spm->escape_whitespaces, spm->whitespace_as_suffix, spm->user_defined.n,
                 t->merges.unused != NULL);
        t->crc = lv_crc_add(t->crc, rules, strlen(rules));
        for (size_t i = 0; i < spm->user_defined.n; i++) {
            t->crc = lv_crc_add_id(t->crc, spm->user_defined.entries[i].value);
        }
        for (int32_t id = 0; t->merges.unused && id < spm->n_pieces; id++) {
            t->crc = lv_crc_add(t->crc, &(char){t->merges.unused[id]}, 1);
        }
    }
}

static int read_beside(lv_tokenizer *t, const char *dir, beside *files)
{
    int rc = lv_tokenizer_read_beside(&files->config, t, dir, "tokenizer_config.json");
    if (rc == LV_OK) rc = lv_tokenizer_read_beside(&files->map, t, dir, "special_tokens_map.json");
    if (rc == LV_OK) rc = lv_tokenizer_read_beside(&files->added, t, dir, "added_tokens.json");
    return rc;
}

int lv_spm_read(lv_tokenizer *t, const char *text, size_t n, const char *dir)
{
    beside files = {0};
    named_token *added = NULL;
    int n_added = 0;
    int32_t n_ids = 0;
    t->kind = &lv_spm_kind;
    t->added.python_spaces = true;
    int rc = dir ? read_beside(t, dir, &files) : LV_OK;
    if (rc == LV_OK) rc = read_added(&added, &n_added, &files);
    for (int i = 0; rc == LV_OK && i < n_added; i++) {
        n_ids = added[i].token.id >= n_ids ? added[i].token.id + 1 : n_ids;
    }
    if (rc == LV_OK) rc = lv_spm_parse(t, text, n, n_ids);
    if (rc < 0) {
        goto done;
    }
    t->spm->legacy = t->spm->add_prefix_space = t->spm->adds_bos = true;
    rc = read_spm_config(t->spm, files.config);
    if (rc < 0) {
        lv_fail_within("tokenizer_config.json");
        goto done;
    }
    t->spm->unk_token = strdup(unk_named(files.config, files.map));
    if (!t->spm->unk_token) {
        rc = lv_fail(LV_ERR_MEMORY, "out of memory");
        goto done;
    }
    set_rules(t);
    for (int i = 0; rc == LV_OK && i < n_added; i++) {
        rc = add_token(t, &added[i]);
    }
done:
    free(added);
    cJSON_Delete(files.config);
    cJSON_Delete(files.map);
    cJSON_Delete(files.added);
    return rc;
}

void lv_spm_destroy(struct lv_spm **spm)
{
    lv_spm *s = *spm;
    if (s) {
        free(s->scores);
        free(s->unk_surface);
        free(s->unk_token);
        free(s->rules.units);
        free(s->rules.texts);
        lv_matcher_free(&s->user_defined);
        free(s);
        *spm = NULL;
    }
}
