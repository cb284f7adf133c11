/* SPDX-License-Identifier: Apache-2.0
 *
 * A directory's tokenizer files: reading them, and copies with an <image> token.
 *
 * The tokenizers library ignores the id that a file gives to an added token and takes the next free
 * one [checked with 0.22 and 0.23]; so the id follows from these files and not from the number of
 * embedding rows.
 */
#include "data/tokenizer/tokenizer.h"
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "train/model/hf/internal.h"
#include "train/model/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char IMAGE[] = "<image>";
static const char TOKENIZER[] = "tokenizer.json";
static const char PIECES[] = "tokenizer.model";
static const char CONFIG[] = "tokenizer_config.json";
static const char ADDED[] = "added_tokens.json";
static const char *const listing_files[] = {TOKENIZER, CONFIG, ADDED};
static const char *const plain_files[] = {"tokenizer.model", "special_tokens_map.json"};

/* cJSON without lv_json's check of whole numbers: transformers itself writes a model_max_length of
 * 10^30 for "none". */
static int read_tokenizer_config(cJSON **out, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    int rc = lv_file_read(&text, &n, path);
    if (rc < 0) {
        return rc;
    }
    cJSON *root = cJSON_ParseWithLength(text, n);
    free(text);
    if (!cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return lv_fail(LV_ERR_FORMAT, "%s: expected a JSON object", path);
    }
    cJSON *longest = cJSON_GetObjectItemCaseSensitive(root, "model_max_length");
    if (cJSON_IsNumber(longest) && longest->valuedouble > 9007199254740992.0) {
        cJSON *none = cJSON_CreateRaw("1000000000000000019884624838656");
        LV_CHECK(none && cJSON_ReplaceItemInObjectCaseSensitive(root, "model_max_length", none),
                 "out of memory");
    }
    *out = root;
    return LV_OK;
}

static int write_tokenizer_json(const char *path, const cJSON *root)
{
    char *text = lv_json_print(root);
    int rc = lv_file_write(path, text, strlen(text));
    free(text);
    return rc;
}

static int note_token(lv_hf_tokenizer *t, const char *content, int64_t id)
{
    if (id < 0 || id >= LV_KEY_MAX_VOCAB) {
        return lv_fail(LV_ERR_FORMAT, "the added token \"%s\" has the id %" PRId64,
                       content ? content : "", id);
    }
    if (id >= t->next_id) {
        t->next_id = id + 1;
    }
    if (content && strcmp(content, IMAGE) == 0) {
        t->image_id = id;
    }
    return LV_OK;
}

/* tokenizer.json: the model's vocabulary (pieces by name, or a list) and the added tokens. */
static int read_fast(lv_hf_tokenizer *t, const char *path)
{
    cJSON *root = NULL;
    const cJSON *item;
    int rc = lv_json_read(&root, path);
    if (rc < 0) {
        return rc;
    }
    const cJSON *vocab = lv_json_find(lv_json_find(root, "model"), "vocab");
    if (!cJSON_IsObject(vocab) && !cJSON_IsArray(vocab)) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: no \"vocab\" in its \"model\"", path);
        goto done;
    }
    t->next_id = cJSON_GetArraySize(vocab);
    cJSON_ArrayForEach (item, lv_json_find(root, "added_tokens")) {
        int64_t id = -1;
        const char *content = NULL;
        if ((rc = lv_json_int(item, "id", true, &id)) < 0 ||
            (rc = lv_json_string(item, "content", true, &content)) < 0 ||
            (rc = note_token(t, content, id)) < 0) {
            lv_fail_within("%s: \"added_tokens\"", path);
            goto done;
        }
    }
done:
    cJSON_Delete(root);
    return rc;
}

/* The added tokens that stand beside a tokenizer.model. */
static int read_decoder(lv_hf_tokenizer *t, const char *path)
{
    cJSON *root = NULL;
    const cJSON *item;
    int rc = read_tokenizer_config(&root, path);
    if (rc < 0) {
        return rc;
    }
    cJSON_ArrayForEach (item, lv_json_find(root, "added_tokens_decoder")) {
        const char *content = cJSON_GetStringValue(lv_json_find(item, "content"));
        rc = item->string ? note_token(t, content, strtoll(item->string, NULL, 10)) : rc;
        if (rc < 0) {
            lv_fail_within("%s", path);
            break;
        }
    }
    cJSON_Delete(root);
    return rc;
}

static int read_added(lv_hf_tokenizer *t, const char *path)
{
    cJSON *root = NULL;
    const cJSON *item;
    int rc = lv_json_read(&root, path);
    if (rc < 0) {
        return rc;
    }
    cJSON_ArrayForEach (item, root) {
        int64_t id = -1;
        if ((rc = lv_json_int(root, item->string ? item->string : "", true, &id)) < 0 ||
            (rc = note_token(t, item->string, id)) < 0) {
            lv_fail_within("%s", path);
            break;
        }
    }
    cJSON_Delete(root);
    return rc;
}

static int read_slow_added(lv_hf_tokenizer *t, const char *dir)
{
    char *config = lv_path("%s/%s", dir, CONFIG);
    char *added = lv_path("%s/%s", dir, ADDED);
    int rc = lv_file_exists(config) ? read_decoder(t, config) : LV_OK;
    if (rc == LV_OK && lv_file_exists(added)) {
        rc = read_added(t, added);
    }
    free(config);
    free(added);
    return rc;
}

int lv_hf_tokenizer_read(lv_hf_tokenizer *out, const char *dir)
{
    lv_hf_tokenizer t = {.image_id = -1};
    int rc = LV_OK;
    if (dir) {
        char *fast = lv_path("%s/%s", dir, TOKENIZER);
        char *slow = lv_path("%s/%s", dir, PIECES);
        if (lv_file_exists(fast)) {
            t.found = true;
            rc = read_fast(&t, fast);
        } else if (lv_file_exists(slow)) {
            t.found = true;
            rc = lv_tokenizer_count_pieces(&t.next_id, slow);
            if (rc == LV_OK) rc = read_slow_added(&t, dir);
        }
        free(fast);
        free(slow);
    }
    if (rc == LV_OK) {
        *out = t;
    }
    return rc;
}

/* What both tokenizer.json and tokenizer_config.json say of an added token. */
static cJSON *added_token(const char *content, bool special)
{
    cJSON *token = cJSON_CreateObject();
    LV_CHECK(token && cJSON_AddStringToObject(token, "content", content) &&
                 cJSON_AddBoolToObject(token, "lstrip", false) &&
                 cJSON_AddBoolToObject(token, "normalized", false) &&
                 cJSON_AddBoolToObject(token, "rstrip", false) &&
                 cJSON_AddBoolToObject(token, "single_word", false) &&
                 cJSON_AddBoolToObject(token, "special", special),
             "out of memory");
    return token;
}

static void extend_fast(cJSON *root, int64_t id)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "added_tokens");
    cJSON *token = added_token(IMAGE, true);
    if (!cJSON_IsArray(list)) {
        cJSON_DeleteItemFromObjectCaseSensitive(root, "added_tokens");
        list = cJSON_AddArrayToObject(root, "added_tokens");
    }
    LV_CHECK(cJSON_AddNumberToObject(token, "id", (double)id) && cJSON_AddItemToArray(list, token),
             "out of memory");
}

/* Sets the decoder's entry, in the place of an older one. */
static void decoder_set(cJSON *decoder, double id, cJSON *token)
{
    char key[24];
    snprintf(key, sizeof key, "%.0f", id);
    cJSON_DeleteItemFromObjectCaseSensitive(decoder, key);
    LV_CHECK(cJSON_AddItemToObject(decoder, key, token), "out of memory");
}

/* The decoder lists all added tokens or none: with one, transformers looks at no other file. A new
 * one is made from tokenizer.json, or else from added_tokens.json; either may be NULL. */
static void extend_config(cJSON *config, const cJSON *fast, const cJSON *added, int64_t id)
{
    const cJSON *item;
    cJSON *decoder = cJSON_GetObjectItemCaseSensitive(config, "added_tokens_decoder");
    if (!cJSON_IsObject(decoder)) {
        cJSON_DeleteItemFromObjectCaseSensitive(config, "added_tokens_decoder");
        decoder = cJSON_AddObjectToObject(config, "added_tokens_decoder");
        cJSON_ArrayForEach (item, lv_json_find(fast, "added_tokens")) {
            cJSON *token = cJSON_Duplicate(item, true);
            LV_CHECK(token, "out of memory");
            cJSON_DeleteItemFromObjectCaseSensitive(token, "id");
            decoder_set(decoder, lv_json_find(item, "id")->valuedouble, token);
        }
        const cJSON *others = fast ? NULL : added;
        cJSON_ArrayForEach (item, others) {
            decoder_set(decoder, item->valuedouble, added_token(item->string, false));
        }
    }
    decoder_set(decoder, (double)id, added_token(IMAGE, true));
}

/* A special piece's text under its key, if the tokenizer has a piece of that id. */
static void name_special(cJSON *config, const char *key, const cJSON *fast, int64_t id)
{
    const cJSON *item;
    cJSON_ArrayForEach (item, lv_json_find(fast, "added_tokens")) {
        if (lv_json_find(item, "id")->valuedouble == (double)id) {
            const char *content = lv_json_find(item, "content")->valuestring;
            LV_CHECK(cJSON_AddStringToObject(config, key, content), "out of memory");
        }
    }
}

/* The tokenizer_config.json of a directory that has none: what transformers would assume,
 * written because it warns of assuming it. */
static cJSON *new_config(const cJSON *fast, const lv_llama_config *text, const lv_hf_ids *ids)
{
    cJSON *config = cJSON_CreateObject();
    LV_CHECK(config && cJSON_AddStringToObject(config, "tokenizer_class", "LlamaTokenizer") &&
                 cJSON_AddBoolToObject(config, "legacy", true) &&
                 cJSON_AddBoolToObject(config, "clean_up_tokenization_spaces", false),
             "out of memory");
    name_special(config, "bos_token", fast, ids ? ids->bos : text->bos_token_id);
    name_special(config, "eos_token", fast, ids ? ids->eos : text->eos_token_id);
    return config;
}

static int copy_if_there(const char *to, const char *from, const char *name)
{
    char *source = lv_path("%s/%s", from, name);
    char *target = lv_path("%s/%s", to, name);
    int rc = lv_file_exists(source) ? lv_file_copy(target, source) : LV_OK;
    free(source);
    free(target);
    return rc;
}

/* A JSON file as root, NULL if there is none. */
static int read_if_there(cJSON **root, const char *from, const char *name,
                         int (*read)(cJSON **, const char *))
{
    char *path = lv_path("%s/%s", from, name);
    int rc = lv_file_exists(path) ? read(root, path) : LV_OK;
    free(path);
    return rc;
}

static int write_if_made(const char *to, const char *name, const cJSON *root)
{
    char *path = lv_path("%s/%s", to, name);
    int rc = root ? write_tokenizer_json(path, root) : LV_OK;
    free(path);
    return rc;
}

/* The three files that list added tokens, with one more. */
static int extend_files(const char *to, const char *from, int64_t id, const lv_llama_config *text,
                        const lv_hf_ids *ids)
{
    cJSON *fast = NULL, *config = NULL, *added = NULL;
    int rc = read_if_there(&fast, from, TOKENIZER, lv_json_read);
    if (rc < 0 || (rc = read_if_there(&config, from, CONFIG, read_tokenizer_config)) < 0 ||
        (rc = read_if_there(&added, from, ADDED, lv_json_read)) < 0) {
        goto done;
    }
    if (added && !cJSON_IsObject(added)) {
        rc = lv_fail(LV_ERR_FORMAT, "%s/%s: expected an object", from, ADDED);
        goto done;
    }
    config = config ? config : new_config(fast, text, ids);
    extend_config(config, fast, added, id);
    if (fast) {
        extend_fast(fast, id);
    }
    if (added) {
        LV_CHECK(cJSON_AddNumberToObject(added, IMAGE, (double)id), "out of memory");
    }
    if ((rc = write_if_made(to, TOKENIZER, fast)) < 0 ||
        (rc = write_if_made(to, CONFIG, config)) < 0) {
        goto done;
    }
    rc = write_if_made(to, ADDED, added);
done:
    cJSON_Delete(fast);
    cJSON_Delete(config);
    cJSON_Delete(added);
    return rc;
}

int lv_hf_tokenizer_copy(const char *to, const char *from, int64_t image_id,
                         const lv_llama_config *text, const lv_hf_ids *ids)
{
    int rc = LV_OK;
    for (size_t i = 0; i < sizeof plain_files / sizeof *plain_files && rc == LV_OK; i++) {
        rc = copy_if_there(to, from, plain_files[i]);
    }
    if (rc == LV_OK && image_id >= 0) {
        return extend_files(to, from, image_id, text, ids);
    }
    for (size_t i = 0; i < sizeof listing_files / sizeof *listing_files && rc == LV_OK; i++) {
        rc = copy_if_there(to, from, listing_files[i]);
    }
    return rc;
}
