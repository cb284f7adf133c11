/* SPDX-License-Identifier: Apache-2.0 */
#include "data/chat/record.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/base/text.h"
#include "data/json/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int read_id(lv_record *r, const cJSON *json)
{
    char digits[LV_JSON_NUMBER_BYTES];
    const cJSON *item = lv_json_find(json, "id");
    if (item && !cJSON_IsString(item) && !cJSON_IsNumber(item)) {
        return lv_fail(LV_ERR_FORMAT, "\"id\": expected a string or a number, found %s",
                       lv_json_kind(item));
    }
    if (cJSON_IsNumber(item)) {
        lv_json_number_text(digits, item->valuedouble);
    }
    r->id = strdup(cJSON_IsNumber(item) ? digits : item ? item->valuestring : "");
    return r->id ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory for a record");
}

static int read_image_name(lv_record *r, const cJSON *item)
{
    if (!cJSON_IsString(item)) {
        return lv_fail(LV_ERR_FORMAT, "\"image\": expected a file name or a list of them, found %s",
                       lv_json_kind(item));
    }
    if (!*item->valuestring) {
        return lv_fail(LV_ERR_FORMAT, "\"image\": a file name is empty (leave the key out for text "
                                      "only)");
    }
    r->images[r->n_images++] = item->valuestring;
    return LV_OK;
}

static int read_images(lv_record *r, const cJSON *json)
{
    const cJSON *image = lv_json_find(json, "image");
    int n = cJSON_IsArray(image) ? cJSON_GetArraySize(image) : 1;
    if (!image || n == 0) {
        return LV_OK;
    }
    r->images = malloc((size_t)n * sizeof *r->images);
    if (!r->images) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for a record");
    }
    if (!cJSON_IsArray(image)) {
        return read_image_name(r, image);
    }
    const cJSON *item;
    cJSON_ArrayForEach (item, image) {
        int rc = read_image_name(r, item);
        if (rc < 0) {
            return rc;
        }
    }
    return LV_OK;
}

static int read_turn(lv_turn *turn, const cJSON *json)
{
    const char *from = NULL;
    if (!cJSON_IsObject(json)) {
        return lv_fail(LV_ERR_FORMAT, "expected an object, found %s", lv_json_kind(json));
    }
    int rc = lv_json_string(json, "from", true, &from);
    if (rc == LV_OK) rc = lv_json_string(json, "value", true, &turn->text);
    if (rc < 0) {
        return rc;
    }
    if (strcmp(from, "human") == 0) {
        turn->role = LV_ROLE_HUMAN;
    } else if (strcmp(from, "gpt") == 0) {
        turn->role = LV_ROLE_GPT;
    } else {
        return lv_fail(LV_ERR_FORMAT, "\"from\": expected \"human\" or \"gpt\", found \"%s\" (%s)",
                       from,
                       strcasecmp(from, "system") == 0
                           ? "a system text is the sample's \"system_prompt\""
                           : "LLaVA's data has these two names only: rename the role");
    }
    return LV_OK;
}

static int read_turns(lv_record *r, const cJSON *json)
{
    const cJSON *turns = lv_json_find(json, "conversations");
    const cJSON *item;
    if (!cJSON_IsArray(turns) || !turns->child) {
        return lv_fail(LV_ERR_FORMAT, "\"conversations\": expected a list of turns, found %s",
                       cJSON_IsArray(turns) ? "an empty list" : lv_json_kind(turns));
    }
    r->turns = malloc((size_t)cJSON_GetArraySize(turns) * sizeof *r->turns);
    if (!r->turns) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for a record");
    }
    cJSON_ArrayForEach (item, turns) {
        int rc = read_turn(&r->turns[r->n_turns], item);
        if (rc < 0) {
            return lv_fail_within("conversations[%zu]", r->n_turns);
        }
        r->n_turns++;
    }
    return LV_OK;
}

/* ---- keys that are misspelt ---- */

static const struct {
    const char *key, *like;
    size_t max_distance;
} known[] = {{"image", "image", 1},
             {"image", "img", 1},
             {"image", "image_file", 1},
             {"image", "image_path", 1},
             {"conversations", "conversations", 2},
             {"system_prompt", "system_prompt", 2}};
enum { N_KNOWN = sizeof known / sizeof *known };

/* The first known key that the text may be a misspelling of; NULL if it is one, or like none. */
static const char *nearest_key(const char *text)
{
    const char *nearest = NULL;
    for (size_t i = 0; i < N_KNOWN; i++) {
        if (strcmp(text, known[i].key) == 0) {
            return NULL;
        }
        if (!nearest && lv_text_edit_distance(text, known[i].like) <= known[i].max_distance) {
            nearest = known[i].key;
        }
    }
    return nearest;
}

static lv_record_key *find_key(lv_record_keys *keys, const char *text)
{
    for (int i = 0; i < keys->n; i++) {
        if (strcmp(keys->items[i].text, text) == 0) {
            return &keys->items[i];
        }
    }
    return NULL;
}

static lv_record_key *add_key(lv_record_keys *keys, const char *text)
{
    if (keys->n == LV_RECORD_MAX_KEYS || strlen(text) >= LV_RECORD_KEY_BYTES) {
        return NULL;
    }
    const char *nearest = nearest_key(text);
    lv_record_key *key = &keys->items[keys->n++];
    snprintf(key->text, sizeof key->text, "%s", text);
    snprintf(key->nearest, sizeof key->nearest, "%s", nearest ? nearest : "");
    return key;
}

static bool is_empty(const cJSON *item)
{
    return cJSON_IsNull(item) || (cJSON_IsString(item) && !*item->valuestring) ||
           (cJSON_IsArray(item) && !item->child);
}

void lv_record_keys_add(lv_record_keys *keys, const cJSON *json)
{
    const cJSON *item;
    if (!cJSON_IsObject(json)) {
        return;
    }
    cJSON_ArrayForEach (item, json) {
        lv_record_key *key = find_key(keys, item->string);
        key = key ? key : add_key(keys, item->string);
        if (key && *key->nearest && !is_empty(item) && !lv_json_find(json, key->nearest)) {
            key->n_records++;
        }
    }
}

void lv_record_keys_merge(lv_record_keys *keys, const lv_record_keys *more)
{
    for (int i = 0; i < more->n; i++) {
        lv_record_key *key = find_key(keys, more->items[i].text);
        key = key ? key : add_key(keys, more->items[i].text);
        if (key) {
            key->n_records += more->items[i].n_records;
        }
    }
}

char *lv_record_keys_warning(const lv_record_keys *keys)
{
    char list[LV_RECORD_MAX_KEYS * 128] = "";
    size_t used = 0;
    for (int i = 0; i < keys->n; i++) {
        const lv_record_key *key = &keys->items[i];
        char shown[LV_RECORD_KEY_BYTES] = "";
        if (key->n_records == 0) {
            continue;
        }
        for (size_t k = 0; key->text[k]; k++) {
            shown[k] = key->text[k] >= ' ' && key->text[k] <= '~' ? key->text[k] : '?';
        }
        used += (size_t)snprintf(list + used, sizeof list - used,
                                 "%s%" PRId64 " with \"%s\" but no \"%s\"", used ? ", " : "",
                                 key->n_records, shown, key->nearest);
    }
    return used ? lv_path("records with a key that is not read: %s", list) : NULL;
}

int lv_record_parse(lv_record *out, const cJSON *json)
{
    lv_record r = {0};
    int rc;
    if (!cJSON_IsObject(json)) {
        return lv_fail(LV_ERR_FORMAT, "a sample: expected an object, found %s", lv_json_kind(json));
    }
    if ((rc = read_id(&r, json)) < 0 || (rc = read_images(&r, json)) < 0 ||
        (rc = read_turns(&r, json)) < 0 ||
        (rc = lv_json_string(json, "system_prompt", false, &r.system_prompt)) < 0) {
        lv_record_free(&r);
        return rc;
    }
    if (r.system_prompt && !*r.system_prompt) {
        r.system_prompt = NULL;
    }
    *out = r;
    return LV_OK;
}

void lv_record_free(lv_record *record)
{
    free((char *)(uintptr_t)record->id);
    free(record->images);
    free(record->turns);
    *record = (lv_record){0};
}
