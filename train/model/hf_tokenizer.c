/* SPDX-License-Identifier: Apache-2.0
 *
 * A directory's tokenizer files: what is in them, and copies with an <image> token.
 *
 * The tokenizers library does not give an added token the id that its file asks for, but the next
 * free one [checked with 0.22 and 0.23]; so the id is chosen from these files and not from the
 * number of embedding rows.
 */
#include "autograd/error.h"
#include "data/file.h"
#include "data/json.h"
#include "train/model/hf_internal.h"
#include "train/model/hf_keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char IMAGE[] = "<image>";
static const char TOKENIZER[] = "tokenizer.json";
static const char PIECES[] = "tokenizer.model";
static const char CONFIG[] = "tokenizer_config.json";
static const char ADDED[] = "added_tokens.json";
static const char *const plain_files[] = {"tokenizer.model", "special_tokens_map.json"};

/* cJSON without lv_json's check of whole numbers: transformers itself writes a model_max_length of
 * 10^30 for "none". */
static int read_config(cJSON **out, const char *path)
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

static int write_json(const char *path, const cJSON *root)
{
    char *text = cJSON_Print(root);
    int rc = text ? lv_file_write(path, text, strlen(text))
                  : lv_fail(LV_ERR_MEMORY, "%s: out of memory", path);
    cJSON_free(text);
    return rc;
}

static int see_token(lv_hf_tokenizer *t, const char *content, int64_t id)
{
    if (id < 0 || id >= LV_HF_MAX_VOCAB) {
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
        goto fail;
    }
    t->next_id = cJSON_GetArraySize(vocab);
    cJSON_ArrayForEach (item, lv_json_find(root, "added_tokens")) {
        int64_t id = -1;
        const char *content = NULL;
        if ((rc = lv_json_int(item, "id", true, &id)) < 0 ||
            (rc = lv_json_string(item, "content", true, &content)) < 0 ||
            (rc = see_token(t, content, id)) < 0) {
            lv_fail_within("%s: \"added_tokens\"", path);
            goto fail;
        }
    }
fail:
    cJSON_Delete(root);
    return rc;
}

static bool read_varint(uint64_t *out, const uint8_t *data, size_t n, size_t *at)
{
    *out = 0;
    for (int shift = 0; shift < 64 && *at < n; shift += 7) {
        uint8_t byte = data[(*at)++];
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            return true;
        }
    }
    return false;
}

/* The number of pieces in a sentencepiece model: fields 1 of its protobuf message. */
static int count_pieces(int64_t *pieces, const char *path)
{
    enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5, PIECE_FIELD = 1 };
    char *text = NULL;
    size_t n = 0, at = 0;
    int rc = lv_file_read(&text, &n, path);
    if (rc < 0) {
        return rc;
    }
    const uint8_t *data = (const uint8_t *)text;
    bool ok = true;
    *pieces = 0;
    while (ok && at < n) {
        uint64_t tag, length = 0;
        ok = read_varint(&tag, data, n, &at);
        switch (tag & 7) {
        case VARINT:
            ok = ok && read_varint(&length, data, n, &at);
            length = 0;
            break;
        case FIXED64:
            length = 8;
            break;
        case BYTES:
            ok = ok && read_varint(&length, data, n, &at);
            break;
        case FIXED32:
            length = 4;
            break;
        default:
            ok = false;
        }
        ok = ok && length <= n - at;
        at += ok ? (size_t)length : 0;
        *pieces += ok && tag == (PIECE_FIELD << 3 | BYTES);
    }
    free(text);
    return ok && *pieces > 0 ? LV_OK
                             : lv_fail(LV_ERR_FORMAT, "%s: not a sentencepiece model", path);
}

/* The added tokens that stand beside a tokenizer.model. */
static int see_decoder(lv_hf_tokenizer *t, const char *path)
{
    cJSON *root = NULL;
    const cJSON *item;
    int rc = read_config(&root, path);
    if (rc < 0) {
        return rc;
    }
    cJSON_ArrayForEach (item, lv_json_find(root, "added_tokens_decoder")) {
        const char *content = cJSON_GetStringValue(lv_json_find(item, "content"));
        rc = item->string ? see_token(t, content, strtoll(item->string, NULL, 10)) : rc;
        if (rc < 0) {
            lv_fail_within("%s", path);
            break;
        }
    }
    cJSON_Delete(root);
    return rc;
}

static int see_added(lv_hf_tokenizer *t, const char *path)
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
            (rc = see_token(t, item->string, id)) < 0) {
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
    int rc = lv_file_exists(config) ? see_decoder(t, config) : LV_OK;
    if (rc == LV_OK && lv_file_exists(added)) {
        rc = see_added(t, added);
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
            rc = count_pieces(&t.next_id, slow);
            rc = rc < 0 ? rc : read_slow_added(&t, dir);
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
static cJSON *image_token(void)
{
    cJSON *token = cJSON_CreateObject();
    LV_CHECK(token && cJSON_AddStringToObject(token, "content", IMAGE) &&
                 cJSON_AddBoolToObject(token, "lstrip", false) &&
                 cJSON_AddBoolToObject(token, "normalized", false) &&
                 cJSON_AddBoolToObject(token, "rstrip", false) &&
                 cJSON_AddBoolToObject(token, "single_word", false) &&
                 cJSON_AddBoolToObject(token, "special", true),
             "out of memory");
    return token;
}

static void extend_fast(cJSON *root, int64_t id)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "added_tokens");
    cJSON *token = image_token();
    if (!cJSON_IsArray(list)) {
        cJSON_DeleteItemFromObjectCaseSensitive(root, "added_tokens");
        list = cJSON_AddArrayToObject(root, "added_tokens");
    }
    LV_CHECK(cJSON_AddNumberToObject(token, "id", (double)id) && cJSON_AddItemToArray(list, token),
             "out of memory");
}

/* The decoder lists all added tokens or is not there: transformers then reads them elsewhere. */
static void extend_config(cJSON *config, const cJSON *fast, int64_t id)
{
    char key[24];
    const cJSON *item;
    cJSON *decoder = cJSON_GetObjectItemCaseSensitive(config, "added_tokens_decoder");
    if (!cJSON_IsObject(decoder)) {
        if (!fast) {
            return;
        }
        cJSON_DeleteItemFromObjectCaseSensitive(config, "added_tokens_decoder");
        decoder = cJSON_AddObjectToObject(config, "added_tokens_decoder");
        cJSON_ArrayForEach (item, lv_json_find(fast, "added_tokens")) {
            cJSON *token = cJSON_Duplicate(item, true);
            LV_CHECK(token, "out of memory");
            snprintf(key, sizeof key, "%" PRId64, (int64_t)lv_json_find(item, "id")->valuedouble);
            cJSON_DeleteItemFromObjectCaseSensitive(token, "id");
            LV_CHECK(cJSON_AddItemToObject(decoder, key, token), "out of memory");
        }
    }
    snprintf(key, sizeof key, "%" PRId64, id);
    cJSON_DeleteItemFromObjectCaseSensitive(decoder, key);
    LV_CHECK(cJSON_AddItemToObject(decoder, key, image_token()), "out of memory");
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

/* tokenizer.json and tokenizer_config.json with the token; *fast is the new tokenizer.json. */
static int extend_files(cJSON **fast, const char *to, const char *from, int64_t id)
{
    cJSON *config = NULL;
    int rc = LV_OK;
    char *fast_from = lv_path("%s/%s", from, TOKENIZER);
    char *fast_to = lv_path("%s/%s", to, TOKENIZER);
    char *config_from = lv_path("%s/%s", from, CONFIG);
    char *config_to = lv_path("%s/%s", to, CONFIG);
    if (lv_file_exists(fast_from) && (rc = lv_json_read(fast, fast_from)) == LV_OK) {
        extend_fast(*fast, id);
        rc = write_json(fast_to, *fast);
    }
    if (rc == LV_OK && lv_file_exists(config_from) &&
        (rc = read_config(&config, config_from)) == LV_OK) {
        extend_config(config, *fast, id);
        rc = write_json(config_to, config);
    }
    cJSON_Delete(config);
    free(fast_from);
    free(fast_to);
    free(config_from);
    free(config_to);
    return rc;
}

/* added_tokens.json, which slow tokenizers read: extended, or made if there is no tokenizer.json */
static int extend_added(const char *to, const char *from, bool needed, int64_t id)
{
    cJSON *root = NULL;
    int rc = LV_OK;
    char *source = lv_path("%s/%s", from, ADDED);
    char *target = lv_path("%s/%s", to, ADDED);
    if (lv_file_exists(source)) {
        needed = true;
        rc = lv_json_read(&root, source);
    } else if (needed) {
        root = cJSON_CreateObject();
        rc = root ? LV_OK : lv_fail(LV_ERR_MEMORY, "%s: out of memory", target);
    }
    if (rc == LV_OK && needed) {
        rc = cJSON_IsObject(root) && cJSON_AddNumberToObject(root, IMAGE, (double)id)
                 ? write_json(target, root)
                 : lv_fail(LV_ERR_FORMAT, "%s: expected an object", source);
    }
    cJSON_Delete(root);
    free(source);
    free(target);
    return rc;
}

int lv_hf_tokenizer_copy(const char *to, const char *from, int64_t image_id)
{
    cJSON *fast = NULL;
    int rc = LV_OK;
    for (size_t i = 0; i < sizeof plain_files / sizeof *plain_files && rc == LV_OK; i++) {
        rc = copy_if_there(to, from, plain_files[i]);
    }
    if (image_id < 0) {
        if (rc < 0 || (rc = copy_if_there(to, from, TOKENIZER)) < 0 ||
            (rc = copy_if_there(to, from, CONFIG)) < 0) {
            return rc;
        }
        return copy_if_there(to, from, ADDED);
    }
    if (rc == LV_OK) {
        rc = extend_files(&fast, to, from, image_id);
    }
    if (rc == LV_OK) {
        rc = extend_added(to, from, !fast, image_id);
    }
    cJSON_Delete(fast);
    return rc;
}
