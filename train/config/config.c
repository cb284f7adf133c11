/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys are one table (fields.c). A value goes three ways from it: checked and stored in
 * lv_config, copied into config->json with the default if it is absent, and compared on resume.
 */
#include "train/config/fields.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the tree of values ---- */

/* The value at "a.b.c", NULL if there is none. */
static cJSON *find_path(const cJSON *root, const char *key)
{
    const cJSON *at = root;
    char part[64];
    while (at && *key) {
        size_t n = strcspn(key, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, key);
        at = cJSON_IsObject(at) ? cJSON_GetObjectItemCaseSensitive(at, part) : NULL;
        key += n + (key[n] == '.');
    }
    return (cJSON *)(uintptr_t)at;
}

/* Puts item, which it takes over, at "a.b.c", making the objects on the way. */
static int put_path(cJSON *root, const char *key, cJSON *item)
{
    cJSON *at = root;
    char part[64];
    for (;;) {
        size_t n = strcspn(key, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, key);
        if (key[n] == '\0') {
            break;
        }
        cJSON *next = cJSON_GetObjectItemCaseSensitive(at, part);
        next = next ? next : cJSON_AddObjectToObject(at, part);
        if (!cJSON_IsObject(next)) {
            cJSON_Delete(item);
            return lv_fail(LV_ERR_CONFIG, "\"%s\": expected an object, found %s", part,
                           lv_json_kind(next));
        }
        at = next;
        key += n + 1;
    }
    cJSON_DeleteItemFromObjectCaseSensitive(at, part);
    if (!item || !cJSON_AddItemToObject(at, part, item)) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the configuration");
    }
    return LV_OK;
}

/* ---- keys ---- */

static int unknown_key(const char *key)
{
    char list[LV_CONFIG_LIST_BYTES], section[128];
    const char *dot = strrchr(key, '.');
    snprintf(section, sizeof section, "%.*s", (int)(dot ? dot - key : 0), key);
    lv_config_list_keys(list, section);
    if (!*list) { /* no such section */
        lv_config_list_keys(list, "");
    }
    return lv_fail(LV_ERR_CONFIG, "%s: unknown key; there are: %s", key, list);
}

static int wrong_section(const char *key, const cJSON *item)
{
    char list[LV_CONFIG_LIST_BYTES];
    lv_config_list_keys(list, key);
    return lv_fail(LV_ERR_CONFIG, "%s: expected an object, found %s; its keys: %s", key,
                   lv_json_kind(item), list);
}

static int check_known_keys(const cJSON *object, const char *prefix)
{
    const cJSON *item;
    cJSON_ArrayForEach (item, object) {
        char key[128];
        int rc = LV_OK;
        snprintf(key, sizeof key, "%s%s%s", prefix, *prefix ? "." : "", item->string);
        if (strchr(item->string, '.')) { /* "a.b" is a place in the tree, never a name in it */
            rc = lv_fail(LV_ERR_CONFIG, "%s: unknown key; a section is an object of its own", key);
        } else if (lv_config_is_section(key)) {
            rc = cJSON_IsObject(item) ? check_known_keys(item, key) : wrong_section(key, item);
        } else if (!lv_config_find(key)) {
            rc = unknown_key(key);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return LV_OK;
}

/* ---- paths ---- */

static int rebase_path(cJSON *item, const char *base)
{
    if (!*item->valuestring) {
        return LV_OK; /* no path: left to the check */
    }
    char *path = lv_path_from(base, item->valuestring);
    bool done = cJSON_SetValuestring(item, path) != NULL;
    free(path);
    return done ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory for the configuration");
}

/* Makes the paths in one field's value start at base; values of a wrong type are left to the
 * check. */
static int rebase_value(const lv_config_field *f, cJSON *item, const char *base)
{
    if (f->kind == KIND_PATH && cJSON_IsString(item)) {
        return rebase_path(item, base);
    }
    if (f->kind != KIND_PACKS || !cJSON_IsArray(item)) {
        return LV_OK;
    }
    cJSON *element;
    cJSON_ArrayForEach (element, item) {
        cJSON *path =
            cJSON_IsObject(element) ? cJSON_GetObjectItemCaseSensitive(element, "path") : element;
        int rc = cJSON_IsString(path) ? rebase_path(path, base) : LV_OK;
        if (rc < 0) {
            return rc;
        }
    }
    return LV_OK;
}

/* Rules about several keys. */
static int check_together(const lv_config *c)
{
    if (!c->model.llava && (!c->model.vision_tower || !c->model.language_model)) {
        return lv_fail(LV_ERR_CONFIG, "model: give vision_tower and language_model, or llava");
    }
    if (c->model.llava && c->model.language_model) {
        return lv_fail(LV_ERR_CONFIG, "model.language_model: not together with model.llava, which "
                                      "brings its own");
    }
    if (!c->model.llava && !c->model.projector_type) {
        return lv_fail(LV_ERR_CONFIG, "model.projector.type: must be given without model.llava");
    }
    if (c->comm.bucket_mb > 0 && c->comm.bucket_mb < LV_LEAST_BUCKET_MB) {
        return lv_fail(LV_ERR_CONFIG, "comm.bucket_mb: %g, expected 0 or at least %g",
                       c->comm.bucket_mb, LV_LEAST_BUCKET_MB);
    }
    if (c->data.group_by_modality_length && !c->data.shuffle) {
        return lv_fail(LV_ERR_CONFIG, "data.group_by_modality_length: not without data.shuffle: it "
                                      "groups an order that is drawn at random");
    }
    if (c->train.val_every_steps > 0 && c->data.val_packs.n == 0) {
        return lv_fail(LV_ERR_CONFIG, "train.val_every_steps: %lld, but data.val_packs is empty",
                       (long long)c->train.val_every_steps);
    }
    return LV_OK;
}

int lv_config_from_json(lv_config *out, const cJSON *json)
{
    lv_config config = {0};
    int rc = cJSON_IsObject(json) ? LV_OK : lv_fail(LV_ERR_CONFIG, "expected an object");
    if (rc == LV_OK) {
        rc = check_known_keys(json, "");
    }
    config.json = cJSON_CreateObject();
    for (size_t i = 0; rc == LV_OK && i < lv_config_n_fields; i++) {
        const lv_config_field *f = &lv_config_fields[i];
        const cJSON *given = find_path(json, f->key);
        if (!given && !f->preset) {
            rc = lv_fail(LV_ERR_CONFIG, "%s: must be given", f->key);
            break;
        }
        cJSON *item = given ? cJSON_Duplicate(given, true) : cJSON_Parse(f->preset);
        rc = put_path(config.json, f->key, item);
        if (rc == LV_OK) rc = lv_config_store(&config, f, item);
    }
    if (rc == LV_OK) rc = check_together(&config);
    if (rc < 0) {
        lv_config_free(&config);
        return rc;
    }
    *out = config;
    return LV_OK;
}

static int apply_set(cJSON *root, const char *set)
{
    const char *equals = strchr(set, '=');
    char key[128];
    if (!equals || equals == set || (size_t)(equals - set) >= sizeof key) {
        return lv_fail(LV_ERR_CONFIG, "--set %s: expected section.key=value", set);
    }
    snprintf(key, sizeof key, "%.*s", (int)(equals - set), set);
    const lv_config_field *f = lv_config_find(key);
    if (!f && lv_config_is_section(key)) {
        char list[LV_CONFIG_LIST_BYTES];
        lv_config_list_keys(list, key);
        return lv_fail(LV_ERR_CONFIG, "--set %s: %s is a section; set one of its keys: %s", set,
                       key, list);
    }
    if (!f) {
        return unknown_key(key);
    }
    cJSON *item = NULL;
    bool text = f->kind == KIND_PATH || f->kind == KIND_TEXT || f->kind == KIND_CHOICE;
    if (lv_json_parse(&item, equals + 1, strlen(equals + 1)) < 0 ||
        (text && cJSON_IsNumber(item))) {
        cJSON_Delete(item);
        item = cJSON_CreateString(equals + 1);
    }
    int rc = put_path(root, key, item);
    return rc < 0 ? rc : rebase_value(f, item, ".");
}

int lv_config_read(lv_config *out, const char *path, const char *const *sets, size_t n_sets)
{
    cJSON *root = NULL;
    char *base = lv_path_dir(path);
    int rc = lv_json_read(&root, path);
    if (rc == LV_ERR_FORMAT) {
        rc = lv_fail(LV_ERR_CONFIG, "%s", lv_error_message());
    }
    if (rc == LV_OK && !cJSON_IsObject(root)) {
        rc = lv_fail(LV_ERR_CONFIG, "%s: expected an object", path);
    }
    for (size_t i = 0; rc == LV_OK && i < lv_config_n_fields; i++) {
        cJSON *item = find_path(root, lv_config_fields[i].key);
        rc = item ? rebase_value(&lv_config_fields[i], item, base) : LV_OK;
    }
    for (size_t i = 0; rc == LV_OK && i < n_sets; i++) {
        rc = apply_set(root, sets[i]);
    }
    if (rc == LV_OK) {
        rc = lv_config_from_json(out, root);
        if (rc < 0) {
            lv_fail_within("%s", path);
        }
    }
    cJSON_Delete(root);
    free(base);
    return rc;
}

void lv_config_free(lv_config *config)
{
    cJSON_Delete(config->json);
    *config = (lv_config){0};
}

/* The part of a value that must be the same in a resumed run: for packs their number and weights, but
 * not their paths. cJSON_Delete it. */
static cJSON *resumed_part(const lv_config_field *f, const cJSON *value)
{
    if (!value && f->preset) { /* a checkpoint from before the key: its run was as by the default */
        return cJSON_Parse(f->preset);
    }
    if (f->kind != KIND_PACKS || !value) {
        return cJSON_Duplicate(value, true);
    }
    cJSON *weights = cJSON_CreateArray();
    const cJSON *element;
    cJSON_ArrayForEach (element, value) {
        const cJSON *weight = cJSON_IsObject(element) ? lv_json_find(element, "weight") : NULL;
        cJSON_AddItemToArray(weights, cJSON_CreateNumber(weight ? weight->valuedouble : 1));
    }
    return weights;
}

int lv_config_compare(const cJSON *before, const cJSON *now)
{
    char list[1024] = "";
    for (size_t i = 0; i < lv_config_n_fields; i++) {
        const lv_config_field *f = &lv_config_fields[i];
        if (f->on_resume == MAY_DIFFER) {
            continue;
        }
        cJSON *a = resumed_part(f, find_path(before, f->key)),
              *b = resumed_part(f, find_path(now, f->key));
        if (!lv_json_equal(a, b)) {
            char *text_a = a ? lv_json_print_line(a) : NULL;
            char *text_b = b ? lv_json_print_line(b) : NULL;
            size_t used = strlen(list);
            snprintf(list + used, sizeof list - used, "%s%s%s was %s and is %s", used ? "; " : "",
                     f->key, f->kind == KIND_PACKS ? " (its weights)" : "",
                     text_a ? text_a : "absent", text_b ? text_b : "absent");
            free(text_a);
            free(text_b);
        }
        cJSON_Delete(a);
        cJSON_Delete(b);
    }
    return *list ? lv_fail(LV_ERR_CONFIG, "%s", list) : LV_OK;
}
