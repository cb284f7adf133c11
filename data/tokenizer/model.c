/* SPDX-License-Identifier: Apache-2.0
 *
 * The "model" of a tokenizer.json: settings, vocabulary and merges, and the added tokens. Whatever
 * would change the ids and is not implemented ends the reading by its name.
 */
#include "data/tokenizer/pipeline.h"

#include "autograd/error.h"
#include "data/json/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_IDS = LV_TOKENIZER_MAX_IDS };

/* ---- components ---- */

#define KIND                                                                                       \
    "only BPE tokenizers of the LLaMA kind (byte fallback, a marker for spaces) and byte-level "   \
    "ones are"

int lv_component_unsupported(const char *part, const char *what)
{
    return lv_fail(LV_ERR_UNSUPPORTED, "%s \"%s\" is not implemented (" KIND ")", part, what);
}

int lv_component_type(const cJSON *component, const char *part, const char **type)
{
    if (!cJSON_IsObject(component)) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\": expected an object, found %s", part,
                       lv_json_kind(component));
    }
    return lv_json_string(component, "type", true, type) < 0 ? lv_fail_within("\"%s\"", part)
                                                             : LV_OK;
}

int lv_component_check_keys(const cJSON *component, const char *part, const char *const *known)
{
    const cJSON *member;
    cJSON_ArrayForEach (member, component) {
        const char *const *key = known;
        while (*key && strcmp(*key, member->string) != 0) {
            key++;
        }
        if (!*key && !cJSON_IsNull(member)) {
            return lv_fail(LV_ERR_UNSUPPORTED, "%s: the setting \"%s\" is not implemented", part,
                           member->string);
        }
    }
    return LV_OK;
}

/* ---- settings and ids ---- */

/* The model's settings, without its tables. */
static int read_model_settings(lv_tokenizer *t, const cJSON *model)
{
    static const char *const known[] = {"type",
                                        "dropout",
                                        "unk_token",
                                        "continuing_subword_prefix",
                                        "end_of_word_suffix",
                                        "fuse_unk",
                                        "byte_fallback",
                                        "ignore_merges",
                                        "vocab",
                                        "merges",
                                        NULL};
    const char *type = NULL, *prefix = "", *suffix = "";
    double dropout = 0;
    int rc = lv_component_type(model, "model", &type);
    if (rc < 0) {
        return rc;
    }
    if (strcmp(type, "BPE") != 0) {
        return lv_component_unsupported("model", type);
    }
    if ((rc = lv_component_check_keys(model, "model", known)) < 0 ||
        (rc = lv_json_double(model, "dropout", false, &dropout)) < 0 ||
        (rc = lv_json_string(model, "continuing_subword_prefix", false, &prefix)) < 0 ||
        (rc = lv_json_string(model, "end_of_word_suffix", false, &suffix)) < 0 ||
        (rc = lv_json_bool(model, "fuse_unk", false, &t->vocab.fuse_unk)) < 0 ||
        (rc = lv_json_bool(model, "byte_fallback", false, &t->vocab.byte_fallback)) < 0 ||
        (rc = lv_json_bool(model, "ignore_merges", false, &t->merges.ignored)) < 0) {
        return rc;
    }
    if (dropout != 0) {
        return lv_component_unsupported("model setting", "dropout");
    }
    if (*prefix || *suffix) {
        return lv_component_unsupported("model setting", *prefix ? "continuing_subword_prefix"
                                                                 : "end_of_word_suffix");
    }
    return LV_OK;
}

static int id_of(const cJSON *number, const char *piece, int32_t *id)
{
    if (!cJSON_IsNumber(number) || !(number->valuedouble >= 0) || number->valuedouble >= MAX_IDS ||
        number->valuedouble != (int32_t)number->valuedouble) {
        return lv_fail(LV_ERR_FORMAT, "the id of piece \"%s\" is not a whole number from 0 to %d",
                       piece, MAX_IDS - 1);
    }
    *id = (int32_t)number->valuedouble;
    return LV_OK;
}

static int added_token(const cJSON *token, const char **content, int32_t *id)
{
    int rc = lv_json_string(token, "content", true, content);
    return rc < 0 ? lv_fail_within("\"added_tokens\"")
                  : id_of(lv_json_find(token, "id"), *content, id);
}

/* The largest id + 1 of vocabulary and added tokens. */
static int count_ids(const cJSON *vocab, const cJSON *added, int32_t *n_ids)
{
    const cJSON *item;
    const char *content = NULL;
    int32_t id = 0;
    *n_ids = 0;
    cJSON_ArrayForEach (item, vocab) {
        int rc = id_of(item, item->string, &id);
        if (rc < 0) {
            return rc;
        }
        *n_ids = id >= *n_ids ? id + 1 : *n_ids;
    }
    cJSON_ArrayForEach (item, added) {
        int rc = added_token(item, &content, &id);
        if (rc < 0) {
            return rc;
        }
        *n_ids = id >= *n_ids ? id + 1 : *n_ids;
    }
    return LV_OK;
}

static int read_added_token(lv_tokenizer *t, const cJSON *item)
{
    const char *content = NULL;
    lv_added_token a = {.id = 0};
    int rc = added_token(item, &content, &a.id);
    if (rc < 0 || (rc = lv_json_bool(item, "special", false, &a.special)) < 0 ||
        (rc = lv_json_bool(item, "single_word", false, &a.single_word)) < 0 ||
        (rc = lv_json_bool(item, "lstrip", false, &a.lstrip)) < 0 ||
        (rc = lv_json_bool(item, "rstrip", false, &a.rstrip)) < 0) {
        return rc;
    }
    a.normalized = !a.special;
    rc = lv_json_bool(item, "normalized", false, &a.normalized);
    const char *name = t->vocab.pieces[a.id].name;
    if (rc == LV_OK && (!name || strcmp(name, content) != 0)) {
        rc = lv_vocab_find_name(&t->vocab, content, strlen(content)) < 0
                 ? lv_vocab_add(&t->vocab, a.id, content, false)
                 : lv_fail(LV_ERR_FORMAT,
                           "the added token \"%s\" has the id %d and another one in the "
                           "model's vocabulary",
                           content, a.id);
    }
    return rc < 0 ? rc : lv_added_add(t, a);
}

static int find_byte_pieces(lv_vocab *v)
{
    for (int b = 0; b < 256; b++) {
        char piece[8];
        snprintf(piece, sizeof piece, "<0x%02X>", b);
        char byte = (char)b;
        v->byte_ids[b] =
            v->byte_level ? lv_vocab_find(v, &byte, 1) : lv_vocab_find(v, piece, strlen(piece));
        if (v->byte_level && v->byte_ids[b] < 0 && v->byte_fallback) {
            return lv_component_unsupported(
                "model setting", "byte_fallback, byte-level, without a piece for each byte,");
        }
    }
    return LV_OK;
}

/* Left and right piece of merge i, written "a b" or ["a", "b"]. */
static int split_merge(const cJSON *merge, int i, const char *text[2], size_t n[2])
{
    if (cJSON_IsString(merge)) {
        const char *space = strchr(merge->valuestring, ' ');
        if (space && !strchr(space + 1, ' ')) {
            text[0] = merge->valuestring;
            n[0] = (size_t)(space - text[0]);
            text[1] = space + 1;
            n[1] = strlen(text[1]);
            return LV_OK;
        }
    } else if (cJSON_GetArraySize(merge) == 2 && cJSON_IsString(merge->child) &&
               cJSON_IsString(merge->child->next)) {
        text[0] = merge->child->valuestring;
        text[1] = merge->child->next->valuestring;
        n[0] = strlen(text[0]);
        n[1] = strlen(text[1]);
        return LV_OK;
    }
    return lv_fail(LV_ERR_FORMAT, "merge %d is neither \"a b\" nor [\"a\", \"b\"]", i);
}

static int read_merges(lv_tokenizer *t, const cJSON *merges)
{
    const cJSON *item;
    int rank = 0;
    char *joined = malloc(4 * t->vocab.longest + 1);
    int rc = joined ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory for the merges");
    cJSON_ArrayForEach (item, merges) {
        const char *text[2] = {NULL, NULL};
        size_t n[2] = {0, 0};
        if (rc == LV_OK) rc = split_merge(item, rank, text, n);
        if (rc < 0) {
            break;
        }
        int32_t left = lv_vocab_find_name(&t->vocab, text[0], n[0]);
        int32_t right = lv_vocab_find_name(&t->vocab, text[1], n[1]);
        int32_t id = -1;
        if (left >= 0 && right >= 0) {
            memcpy(joined, text[0], n[0]);
            memcpy(joined + n[0], text[1], n[1]);
            id = lv_vocab_find_name(&t->vocab, joined, n[0] + n[1]);
        }
        if (id < 0) {
            rc = lv_fail(LV_ERR_FORMAT,
                         "merge %d, of \"%.*s\" and \"%.*s\": a part or the whole is not in the "
                         "vocabulary",
                         rank, (int)n[0], text[0], (int)n[1], text[1]);
            break;
        }
        lv_merges_add(&t->merges, left, right, (lv_merge){.rank = rank, .id = id});
        t->crc = lv_crc_add_id(lv_crc_add_id(t->crc, left), right);
        rank++;
    }
    free(joined);
    return rc;
}

int lv_pipeline_model_read(lv_tokenizer *t, const cJSON *model, const cJSON *added)
{
    const cJSON *vocab = lv_json_find(model, "vocab");
    const cJSON *merges = lv_json_find(model, "merges");
    const cJSON *item;
    const char *unk = NULL;
    int32_t n_ids = 0;
    int rc = read_model_settings(t, model);
    if (rc < 0) {
        return rc;
    }
    if (!cJSON_IsObject(vocab) || !cJSON_IsArray(merges) || (added && !cJSON_IsArray(added))) {
        return lv_fail(LV_ERR_FORMAT,
                       "expected \"vocab\" to be an object, \"merges\" and "
                       "\"added_tokens\" to be arrays; found %s, %s, %s",
                       lv_json_kind(vocab), lv_json_kind(merges), lv_json_kind(added));
    }
    if (!vocab->child) {
        return lv_fail(LV_ERR_FORMAT, "the vocabulary is empty");
    }
    if ((rc = count_ids(vocab, added, &n_ids)) < 0 ||
        (rc = lv_vocab_create(&t->vocab, n_ids, (size_t)cJSON_GetArraySize(vocab))) < 0 ||
        (rc = lv_merges_create(&t->merges, (size_t)cJSON_GetArraySize(merges))) < 0) {
        return rc;
    }
    cJSON_ArrayForEach (item, vocab) {
        rc = lv_vocab_add(&t->vocab, (int32_t)item->valuedouble, item->string, true);
        if (rc < 0) {
            return rc;
        }
    }
    t->crc = lv_crc_add_pieces(t->crc, &t->vocab);
    rc = lv_json_string(model, "unk_token", false, &unk);
    t->vocab.unk = unk ? lv_vocab_find_name(&t->vocab, unk, strlen(unk)) : -1;
    if (rc == LV_OK && unk && t->vocab.unk < 0) {
        return lv_fail(LV_ERR_FORMAT, "the unk_token \"%s\" is not in the vocabulary", unk);
    }
    if (rc == LV_OK) rc = find_byte_pieces(&t->vocab);
    cJSON_ArrayForEach (item, added) {
        if (rc == LV_OK) rc = read_added_token(t, item);
    }
    return rc < 0 ? rc : read_merges(t, merges);
}
