/* SPDX-License-Identifier: Apache-2.0
 *
 * A template from a JSON file: the same lists of parts as the built-in ones.
 */
#include "data/chat/template_table.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/chat/template_script.h"
#include "data/json/json.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum { MAX_FILE_BYTES = 1 << 20, MAX_NAME_BYTES = 64, MAX_LEARNT_TOKENS = 1000 };

/* ---- parts ---- */

static const struct {
    const char *name;
    lv_part_kind kind;
} inserts[] = {
    {"system", LV_PART_SYSTEM}, {"turn", LV_PART_TURN}, {"marks", LV_PART_MARKS},
    {"eos", LV_PART_EOS},       {"bos", LV_PART_BOS},
};
enum { N_INSERTS = sizeof inserts / sizeof *inserts };

static int read_insert(lv_part *part, const char *name)
{
    for (size_t i = 0; i < N_INSERTS; i++) {
        if (strcmp(inserts[i].name, name) == 0) {
            part->kind = inserts[i].kind;
            return LV_OK;
        }
    }
    return lv_fail(LV_ERR_FORMAT,
                   "\"insert\": expected system, turn, marks, eos or bos, found \"%s\"", name);
}

/* "learnt": true, or "learnt_tokens": N of a text. */
static int read_learnt(lv_part *part, const cJSON *json)
{
    int rc = lv_json_bool(json, "learnt", false, &part->learnt);
    if (rc < 0 || !lv_json_find(json, "learnt_tokens")) {
        return rc;
    }
    if (lv_json_find(json, "learnt") || !lv_json_find(json, "text")) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"learnt_tokens\" is for a \"text\", in place of \"learnt\"");
    }
    rc = lv_json_int(json, "learnt_tokens", true, &part->learnt_tokens);
    if (rc == LV_OK && (part->learnt_tokens < 1 || part->learnt_tokens > MAX_LEARNT_TOKENS)) {
        rc = lv_fail(LV_ERR_FORMAT, "\"learnt_tokens\": expected 1 to %d", MAX_LEARNT_TOKENS);
    }
    part->learnt = true;
    return rc;
}

/* "text": "USER: ", "piece": "<|im_end|>" or "insert": "turn"; and whether it is learnt. */
static int read_part(lv_part *part, const cJSON *json)
{
    const char *text = NULL, *piece = NULL, *insert = NULL;
    const cJSON *item;
    if (!cJSON_IsObject(json)) {
        return lv_fail(LV_ERR_FORMAT, "expected an object, found %s", lv_json_kind(json));
    }
    cJSON_ArrayForEach (item, json) {
        const char *key = item->string;
        if (strcmp(key, "text") != 0 && strcmp(key, "piece") != 0 && strcmp(key, "insert") != 0 &&
            strcmp(key, "learnt") != 0 && strcmp(key, "learnt_tokens") != 0) {
            return lv_fail(
                LV_ERR_FORMAT,
                "unknown key \"%s\"; there are: text, piece, insert, learnt, learnt_tokens", key);
        }
    }
    int rc = lv_json_string(json, "text", false, &text);
    if (rc == LV_OK) rc = lv_json_string(json, "piece", false, &piece);
    if (rc == LV_OK) rc = lv_json_string(json, "insert", false, &insert);
    if (rc == LV_OK) rc = read_learnt(part, json);
    if (rc < 0) {
        return rc;
    }
    if (!text + !piece + !insert != 2) {
        return lv_fail(LV_ERR_FORMAT, "expected one of \"text\", \"piece\" and \"insert\"");
    }
    if (insert) {
        return read_insert(part, insert);
    }
    part->kind = text ? LV_PART_TEXT : LV_PART_PIECE;
    part->text = text ? text : piece;
    if (!*part->text) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\" is empty", text ? "text" : "piece");
    }
    return strstr(part->text, LV_IMAGE_MARK)
               ? lv_fail(LV_ERR_FORMAT, "holds " LV_IMAGE_MARK ", which stands in turns alone")
               : LV_OK;
}

static int read_list(lv_part *parts, const cJSON *root, const char *key)
{
    const cJSON *list = lv_json_find(root, key);
    const cJSON *item;
    size_t n = 0;
    if (!list) {
        return LV_OK;
    }
    if (!cJSON_IsArray(list)) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\": expected a list of parts, found %s", key,
                       lv_json_kind(list));
    }
    cJSON_ArrayForEach (item, list) {
        if (n == LV_TEMPLATE_MAX_PARTS) {
            return lv_fail(LV_ERR_FORMAT, "\"%s\": more than %d parts", key, LV_TEMPLATE_MAX_PARTS);
        }
        if (read_part(&parts[n], item) < 0) {
            return lv_fail_within("%s[%zu]", key, n);
        }
        n++;
    }
    return LV_OK;
}

/* ---- checks ---- */

static size_t count(const lv_part *parts, lv_part_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < LV_TEMPLATE_MAX_PARTS && parts[i].kind != LV_PART_END; i++) {
        n += parts[i].kind == kind;
    }
    return n;
}

static bool is_learnt(const lv_part *parts, lv_part_kind kind)
{
    for (size_t i = 0; i < LV_TEMPLATE_MAX_PARTS && parts[i].kind != LV_PART_END; i++) {
        if (parts[i].learnt && parts[i].kind == kind) {
            return true;
        }
    }
    return false;
}

/* A turn goes into "human", "gpt" and "question", once each and nowhere else, so that no text and
 * no image of a record is lost or doubled; the system text into "opening" and "question". */
static int check_list(const lv_template *t, const char *key, const lv_part *parts)
{
    bool human = parts == t->human;
    bool has_turn = human || parts == t->gpt || parts == t->question;
    bool has_system = parts == t->opening || parts == t->question;
    size_t n_marks = count(parts, LV_PART_MARKS);
    if (count(parts, LV_PART_TURN) + (human ? n_marks : 0) != has_turn) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\": expected %s {\"insert\": \"turn\"}%s", key,
                       has_turn ? "one" : "no", human ? " or {\"insert\": \"marks\"}" : "");
    }
    if (!human && n_marks > 0) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\": marks are for \"human\" alone", key);
    }
    if (count(parts, LV_PART_SYSTEM) > has_system) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"%s\": the system text goes into \"opening\" and \"question\", once", key);
    }
    if (is_learnt(parts, LV_PART_MARKS)) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\": marks cannot be learnt", key);
    }
    return LV_OK;
}

static int check(const lv_template *t)
{
    for (size_t i = 0; i < LV_TEMPLATE_N_LISTS; i++) {
        const lv_part_list *list = &LV_TEMPLATE_LISTS[i];
        int rc = check_list(t, list->key, (const lv_part *)((const char *)t + list->offset));
        if (rc < 0) {
            return rc;
        }
    }
    if (!is_learnt(t->gpt, LV_PART_TURN)) {
        return lv_fail(LV_ERR_FORMAT, "\"gpt\": the turn is not \"learnt\": true");
    }
    if (count(t->opening, LV_PART_SYSTEM) != count(t->question, LV_PART_SYSTEM)) {
        return lv_fail(LV_ERR_FORMAT, "the system text stands in one of \"opening\" and "
                                      "\"question\" only: training and answering would differ");
    }
    return LV_OK;
}

static int check_name(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(name);
    return n > 0 && n <= MAX_NAME_BYTES && strspn(name, allowed) == n
               ? LV_OK
               : lv_fail(LV_ERR_FORMAT,
                         "\"name\": expected 1 to %d letters, digits, '.', '_' and '-'",
                         MAX_NAME_BYTES);
}

/* ---- the file ---- */

static int check_file_keys(const cJSON *root)
{
    static const char *const known[] = {"name", "system", "stop", "caption", "free_turns"};
    const cJSON *item;
    cJSON_ArrayForEach (item, root) {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            found = found || strcmp(item->string, known[i]) == 0;
        }
        for (size_t i = 0; i < LV_TEMPLATE_N_LISTS; i++) {
            found = found || strcmp(item->string, LV_TEMPLATE_LISTS[i].key) == 0;
        }
        if (!found) {
            return lv_fail(
                LV_ERR_FORMAT,
                "unknown key \"%s\"; there are: name, system, stop, caption, free_turns, "
                "opening, human, human_empty, gpt, between, closing, question",
                item->string);
        }
    }
    return LV_OK;
}

static int read_root(lv_template *t, const cJSON *root)
{
    if (!cJSON_IsObject(root)) {
        return lv_fail(LV_ERR_FORMAT, "expected an object, found %s", lv_json_kind(root));
    }
    t->system = "";
    int rc = check_file_keys(root);
    if (rc == LV_OK) rc = lv_json_string(root, "name", true, &t->name);
    if (rc == LV_OK) rc = check_name(t->name);
    if (rc == LV_OK) rc = lv_json_string(root, "system", false, &t->system);
    if (rc == LV_OK) rc = lv_json_string(root, "stop", false, &t->stop);
    if (rc == LV_OK) rc = lv_json_bool(root, "caption", false, &t->is_caption);
    if (rc == LV_OK) rc = lv_json_bool(root, "free_turns", false, &t->free_turns);
    for (size_t i = 0; rc == LV_OK && i < LV_TEMPLATE_N_LISTS; i++) {
        const lv_part_list *list = &LV_TEMPLATE_LISTS[i];
        rc = read_list((lv_part *)((char *)t + list->offset), root, list->key);
    }
    if (rc == LV_OK && t->stop && !*t->stop) {
        rc = lv_fail(LV_ERR_FORMAT, "\"stop\" is empty");
    }
    if (rc == LV_OK && t->system && strstr(t->system, LV_IMAGE_MARK)) {
        rc = lv_fail(LV_ERR_FORMAT, "\"system\" holds an " LV_IMAGE_MARK " mark");
    }
    return rc < 0 ? rc : check(t);
}

int lv_template_file_read(lv_template *out, const char *path)
{
    lv_file_map map = {0};
    int rc = lv_file_map_open(&map, path);
    if (rc < 0) {
        return rc;
    }
    if (map.n_bytes > MAX_FILE_BYTES) {
        rc = lv_fail(LV_ERR_FORMAT, "%zu bytes are too many for a template (at most %d)",
                     map.n_bytes, MAX_FILE_BYTES);
    }
    if (rc == LV_OK) rc = lv_json_parse(&out->file, (const char *)map.data, map.n_bytes);
    if (rc == LV_OK) rc = read_root(out, out->file);
    if (rc == LV_OK) {
        snprintf(out->id, sizeof out->id, "%s crc32:%08lx", out->name,
                 crc32_z(0, map.data, map.n_bytes));
    }
    lv_file_map_close(&map);
    return rc < 0 ? lv_fail_within("%s", path) : LV_OK;
}
