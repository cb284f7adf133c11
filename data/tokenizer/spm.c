/* SPDX-License-Identifier: Apache-2.0
 *
 * A tokenizer.model as transformers' (4.57) LlamaTokenizer reads and uses it, together with the
 * files beside it.
 */
#include "data/tokenizer/spm.h"

#include "autograd/error.h"
#include "data/base/file.h"
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

static int read_config(lv_spm *spm, const cJSON *config)
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
} company;

/* Calls use() for each added token: those of added_tokens_decoder, or, if there is none, of
 * added_tokens.json. */
static int each_added(lv_tokenizer *t, const company *c,
                      int (*use)(lv_tokenizer *, const lv_added_token *, const char *, int32_t *),
                      int32_t *n_ids)
{
    const cJSON *decoder = lv_json_find(c->config, "added_tokens_decoder");
    const cJSON *list = decoder ? decoder : c->added;
    const cJSON *item;
    int rc = LV_OK;
    if (list && !cJSON_IsObject(list)) {
        return lv_fail(LV_ERR_FORMAT, "%s: expected an object, found %s",
                       decoder ? "\"added_tokens_decoder\"" : "added_tokens.json",
                       lv_json_kind(list));
    }
    cJSON_ArrayForEach (item, list) {
        lv_added_token a = {.id = 0};
        const char *content = NULL;
        rc = decoder ? read_decoder_entry(item, &a, &content)
                     : read_added_entry(item, c->config, c->map, &a, &content);
        if (rc == LV_OK) rc = use(t, &a, content, n_ids);
        if (rc < 0) {
            break;
        }
    }
    return rc;
}

static int count_token(lv_tokenizer *t, const lv_added_token *a, const char *content,
                       int32_t *n_ids)
{
    (void)t;
    (void)content;
    *n_ids = a->id >= *n_ids ? a->id + 1 : *n_ids;
    return LV_OK;
}

static int add_token(lv_tokenizer *t, const lv_added_token *a, const char *content, int32_t *n_ids)
{
    (void)n_ids;
    int rc = LV_OK;
    if (!t->pieces[a->id]) {
        rc = lv_vocab_add(t, a->id, content, false);
    } else if (strcmp(t->pieces[a->id], content) != 0) {
        rc = lv_fail(LV_ERR_FORMAT, "the added token \"%s\" has the id %d of the piece \"%s\"",
                     content, a->id, t->pieces[a->id]);
    }
    if (rc == LV_OK && a->single_word && !a->special) {
        rc = lv_fail(LV_ERR_UNSUPPORTED,
                     "the added token \"%s\": single_word is not implemented beside a "
                     "tokenizer.model",
                     content);
    }
    if (rc < 0) {
        return rc;
    }
    t->special[a->id] = t->special[a->id] || a->special;
    return strcmp(content, "<image>") == 0 ? LV_OK : lv_added_add(t, *a);
}

/* ---- the model with its company ---- */

/* The marker rule, and what else of the model a tokenizer.json of the same pieces would not do. */
static void set_rules(lv_tokenizer *t)
{
    const lv_spm *spm = t->spm;
    char rules[64];
    t->kind = LV_KIND_SPM;
    t->fuse_unk = true;
    t->replaces_spaces = spm->escape_whitespaces;
    if (spm->legacy) {
        t->marker = spm->add_dummy_prefix ? LV_MARKER_LEGACY : LV_MARKER_NEVER;
    } else {
        t->marker = spm->add_prefix_space ? LV_MARKER_CALL : LV_MARKER_NEVER;
    }
    bool plain = !spm->remove_extra_whitespaces && spm->escape_whitespaces &&
                 !spm->whitespace_as_suffix && spm->user_defined.n == 0 && !spm->has_unused;
    if (!plain) {
        snprintf(rules, sizeof rules, "spm %d %d %d %zu %d", spm->remove_extra_whitespaces,
                 spm->escape_whitespaces, spm->whitespace_as_suffix, spm->user_defined.n,
                 spm->has_unused);
        t->crc = lv_tokenizer_crc_add(t->crc, rules, strlen(rules));
        for (size_t i = 0; i < spm->user_defined.n; i++) {
            t->crc = lv_tokenizer_crc_add_id(t->crc, spm->user_defined.entries[i].value);
        }
        for (int32_t id = 0; spm->has_unused && id < spm->n_pieces; id++) {
            t->crc = lv_tokenizer_crc_add(t->crc, &(char){spm->unused[id]}, 1);
        }
    }
}

static int read_company(lv_tokenizer *t, const char *dir, company *c)
{
    int rc = lv_tokenizer_read_beside(&c->config, t, dir, "tokenizer_config.json");
    if (rc == LV_OK) rc = lv_tokenizer_read_beside(&c->map, t, dir, "special_tokens_map.json");
    return rc < 0 ? rc : lv_tokenizer_read_beside(&c->added, t, dir, "added_tokens.json");
}

int lv_tokenizer_spm_read(lv_tokenizer *t, const char *text, size_t n, const char *dir)
{
    company c = {0};
    int32_t n_ids = 0;
    t->kind = LV_KIND_SPM;
    int rc = dir ? read_company(t, dir, &c) : LV_OK;
    if (rc == LV_OK) rc = each_added(t, &c, count_token, &n_ids);
    if (rc == LV_OK) rc = lv_spm_parse(t, text, n, n_ids);
    if (rc < 0) {
        goto done;
    }
    t->spm->legacy = t->spm->add_prefix_space = t->spm->adds_bos = true;
    rc = read_config(t->spm, c.config);
    if (rc < 0) {
        lv_fail_within("tokenizer_config.json");
        goto done;
    }
    t->spm->unk_token = strdup(unk_named(c.config, c.map));
    if (!t->spm->unk_token) {
        rc = lv_fail(LV_ERR_MEMORY, "out of memory");
        goto done;
    }
    set_rules(t);
    rc = each_added(t, &c, add_token, &n_ids);
done:
    cJSON_Delete(c.config);
    cJSON_Delete(c.map);
    cJSON_Delete(c.added);
    return rc;
}

/* ---- encoding ---- */

static bool begins_with_marker(const lv_span *text)
{
    return text->n >= LV_SPACE_MARKER_BYTES &&
           memcmp(text->bytes, LV_SPACE_MARKER, LV_SPACE_MARKER_BYTES) == 0;
}

int lv_spm_prepare(const lv_tokenizer *t, const lv_span *text, bool first, lv_mapped *out)
{
    int rc = LV_OK;
    if (t->spm->legacy) {
        return LV_OK;
    }
    if (first && t->marker == LV_MARKER_CALL) {
        rc = lv_mapped_add(out, LV_SPACE_MARKER, LV_SPACE_MARKER_BYTES, lv_span_begin(text, 0));
    }
    for (size_t at = 0; rc == LV_OK && at < text->n;) {
        lv_span rest = lv_span_part(text, at, text->n);
        bool marker = begins_with_marker(&rest);
        rc = lv_mapped_add(out, marker ? " " : text->bytes + at, 1, lv_span_begin(text, at));
        at += marker ? LV_SPACE_MARKER_BYTES : 1;
    }
    return rc;
}

/* The tokens of what sentencepiece's encode() is given. */
static int encode(lv_encoder *e, const lv_span *given)
{
    const lv_tokenizer *t = e->tokenizer;
    lv_mapped normal = {0};
    int rc = lv_spm_normalize(t->spm, given, t->spm->legacy && t->spm->add_dummy_prefix, &normal);
    lv_span text = lv_span_of(&normal);
    size_t begin = 0, at = t->spm->user_defined.n > 0 ? 0 : text.n;
    e->after_unk = false;
    while (rc == LV_OK && at < text.n) {
        int32_t id = 0;
        size_t length =
            lv_matcher_longest(&t->spm->user_defined, text.bytes + at, text.n - at, &id);
        if (length == 0) {
            at += lv_spm_character_bytes(text.bytes + at, text.n - at);
            continue;
        }
        lv_span part = lv_span_part(&text, begin, at);
        rc = lv_encoder_cut_words(e, &part);
        if (rc == LV_OK) {
            e->after_unk = false;
            rc = lv_encoder_emit(e, id, lv_span_begin(&text, at));
        }
        begin = at += length;
    }
    if (rc == LV_OK) {
        lv_span part = lv_span_part(&text, begin, text.n);
        rc = lv_encoder_cut_words(e, &part);
    }
    lv_mapped_free(&normal);
    return rc;
}

/* Not legacy, a text that begins with a space is encoded behind the text of unk, whose tokens are
 * then dropped, so that the space is not. */
int lv_spm_encode(lv_encoder *e, const lv_span *text)
{
    const lv_spm *spm = e->tokenizer->spm;
    lv_tokens *out = e->out;
    size_t n_before = out->n;
    lv_mapped longer = {0};
    if (spm->legacy || text->n == 0 || (*text->bytes != ' ' && !begins_with_marker(text))) {
        return encode(e, text);
    }
    int rc = lv_mapped_add(&longer, spm->unk_token, strlen(spm->unk_token), lv_span_begin(text, 0));
    if (rc == LV_OK) rc = lv_mapped_add_span(&longer, text);
    lv_span whole = lv_span_of(&longer);
    if (rc == LV_OK) rc = encode(e, &whole);
    if (rc == LV_OK && out->n > n_before && out->n - n_before >= spm->n_unk_tokens) {
        size_t from = n_before + spm->n_unk_tokens, n = out->n - from;
        memmove(out->ids + n_before, out->ids + from, n * sizeof *out->ids);
        memmove(out->begin + n_before, out->begin + from, n * sizeof *out->begin);
        out->n = n_before + n;
    }
    lv_mapped_free(&longer);
    return rc;
}

int lv_spm_finish(lv_tokenizer *t)
{
    lv_tokens tokens = {0};
    lv_encoder e = {.tokenizer = t, .out = &tokens};
    lv_span unk = {.bytes = t->spm->unk_token, .n = strlen(t->spm->unk_token)};
    int rc = lv_encoder_prepare(&e);
    if (rc == LV_OK) rc = encode(&e, &unk);
    t->spm->n_unk_tokens = tokens.n;
    lv_tokens_free(&tokens);
    lv_bpe_free(&e.bpe);
    return rc;
}
