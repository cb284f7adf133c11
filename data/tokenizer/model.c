/* SPDX-License-Identifier: Apache-2.0
 *
 * The "model" of a tokenizer.json: settings, vocabulary and merges, and the added tokens.
 */
#include "data/tokenizer/internal.h"

#include "autograd/error.h"
#include "data/json/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { MAX_IDS = LV_TOKENIZER_MAX_IDS };

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
        return lv_tokenizer_unsupported("model", type);
    }
    if ((rc = lv_component_check_keys(model, "model", known)) < 0 ||
        (rc = lv_json_double(model, "dropout", false, &dropout)) < 0 ||
        (rc = lv_json_string(model, "continuing_subword_prefix", false, &prefix)) < 0 ||
        (rc = lv_json_string(model, "end_of_word_suffix", false, &suffix)) < 0 ||
        (rc = lv_json_bool(model, "fuse_unk", false, &t->fuse_unk)) < 0 ||
        (rc = lv_json_bool(model, "byte_fallback", false, &t->byte_fallback)) < 0 ||
        (rc = lv_json_bool(model, "ignore_merges", false, &t->ignore_merges)) < 0) {
        return rc;
    }
    if (dropout != 0) {
        return lv_tokenizer_unsupported("model setting", "dropout");
    }
    if (*prefix || *suffix) {
        return lv_tokenizer_unsupported("model setting", *prefix ? "continuing_subword_prefix"
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

/* One added token into the vocabulary and the list. <image> is never text: a template splits there,
 * and it has no id in a pack. */
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
    if (rc < 0) {
        return rc;
    }
    if (!t->pieces[a.id] || strcmp(t->pieces[a.id], content) != 0) {
        if (lv_vocab_find_piece(t, content, strlen(content)) >= 0) {
            return lv_fail(LV_ERR_FORMAT,
                           "the added token \"%s\" has the id %d and another one in the "
                           "model's vocabulary",
                           content, a.id);
        }
        rc = lv_vocab_add(t, a.id, content, false);
    }
    t->special[a.id] = t->special[a.id] || a.special;
    bool is_image = strcmp(content, "<image>") == 0;
    return rc < 0 || is_image ? rc : lv_added_add(t, a);
}

static int read_added_tokens(lv_tokenizer *t, const cJSON *added)
{
    const cJSON *item;
    int rc = LV_OK;
    cJSON_ArrayForEach (item, added) {
        if (rc == LV_OK) rc = read_added_token(t, item);
    }
    return rc;
}

static int find_byte_pieces(lv_tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        char piece[8];
        snprintf(piece, sizeof piece, "<0x%02X>", b);
        char byte = (char)b;
        t->byte_ids[b] = t->kind == LV_KIND_BYTES ? lv_vocab_find(t, &byte, 1)
                                                  : lv_vocab_find(t, piece, strlen(piece));
        if (t->kind == LV_KIND_BYTES && t->byte_ids[b] < 0 && t->byte_fallback) {
            return lv_tokenizer_unsupported(
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

uint32_t lv_tokenizer_crc_add(uint32_t crc, const void *data, size_t n)
{
    return (uint32_t)crc32_z(crc, data, n);
}

uint32_t lv_tokenizer_crc_add_id(uint32_t crc, int32_t id)
{
    uint32_t v = (uint32_t)id;
    unsigned char bytes[4] = {v & 0xFF, v >> 8 & 0xFF, v >> 16 & 0xFF, v >> 24};
    return lv_tokenizer_crc_add(crc, bytes, sizeof bytes);
}

void lv_tokenizer_crc_pieces(lv_tokenizer *t)
{
    for (int32_t id = 0; id < t->n_ids; id++) {
        if (t->pieces[id] && strcmp(t->pieces[id], "<image>") != 0) {
            t->crc = lv_tokenizer_crc_add_id(t->crc, id);
            t->crc = lv_tokenizer_crc_add(t->crc, t->pieces[id], strlen(t->pieces[id]) + 1);
        }
    }
}

static int read_merges(lv_tokenizer *t, const cJSON *merges)
{
    const cJSON *item;
    int rank = 0;
    char *joined = malloc(4 * t->longest_piece + 1);
    int rc = joined ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory for the merges");
    cJSON_ArrayForEach (item, merges) {
        const char *text[2] = {NULL, NULL};
        size_t n[2] = {0, 0};
        if (rc == LV_OK) rc = split_merge(item, rank, text, n);
        if (rc < 0) {
            break;
        }
        int32_t left = lv_vocab_find_piece(t, text[0], n[0]);
        int32_t right = lv_vocab_find_piece(t, text[1], n[1]);
        int32_t id = -1;
        if (left >= 0 && right >= 0) {
            memcpy(joined, text[0], n[0]);
            memcpy(joined + n[0], text[1], n[1]);
            id = lv_vocab_find_piece(t, joined, n[0] + n[1]);
        }
        if (id < 0) {
            rc = lv_fail(LV_ERR_FORMAT,
                         "merge %d, of \"%.*s\" and \"%.*s\": a part or the whole is not in the "
                         "vocabulary",
                         rank, (int)n[0], text[0], (int)n[1], text[1]);
            break;
        }
        lv_merge_add(t, left, right, (lv_merge){.rank = rank, .id = id});
        t->crc = lv_tokenizer_crc_add_id(lv_tokenizer_crc_add_id(t->crc, left), right);
        rank++;
    }
    free(joined);
    return rc;
}

int lv_tokenizer_model_read(lv_tokenizer *t, const cJSON *model, const cJSON *added)
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
    rc = count_ids(vocab, added, &n_ids);
    if (rc < 0 || (rc = lv_vocab_create(t, n_ids, (size_t)cJSON_GetArraySize(vocab),
                                        (size_t)cJSON_GetArraySize(merges))) < 0) {
        return rc;
    }
    cJSON_ArrayForEach (item, vocab) {
        rc = lv_vocab_add(t, (int32_t)item->valuedouble, item->string, true);
        if (rc < 0) {
            return rc;
        }
    }
    lv_tokenizer_crc_pieces(t);
    rc = lv_json_string(model, "unk_token", false, &unk);
    t->unk = unk ? lv_vocab_find_piece(t, unk, strlen(unk)) : -1;
    if (rc == LV_OK && unk && t->unk < 0) {
        return lv_fail(LV_ERR_FORMAT, "the unk_token \"%s\" is not in the vocabulary", unk);
    }
    if (rc == LV_OK) rc = find_byte_pieces(t);
    if (rc == LV_OK) rc = read_added_tokens(t, added);
    return rc < 0 ? rc : read_merges(t, merges);
}
