/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys are one table. A value goes three ways from it: checked and stored in lv_config, copied
 * into config->json with the default if it is absent, and compared on resume.
 */
#include "train/config.h"

#include "autograd/error.h"
#include "data/file.h"
#include "data/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum {
    KIND_PATH,   /* const char * */
    KIND_TEXT,   /* const char * */
    KIND_PATHS,  /* lv_text_list of paths, each a text or {"path": ...} */
    KIND_TEXTS,  /* lv_text_list */
    KIND_INT,    /* int64_t */
    KIND_REAL,   /* double */
    KIND_BETAS,  /* two doubles */
    KIND_BOOL,   /* bool */
    KIND_CHOICE, /* an enum that begins at 0, or a bool: the index in choices */
    KIND_LAYER,  /* int64_t, null is LV_LAYER_NOT_GIVEN */
} kind;

/* ON_RESUME: may the value change when a run goes on? */
typedef enum { MAY_DIFFER, MUST_MATCH } on_resume;

typedef struct {
    const char *key;
    kind kind;
    size_t offset, size;
    on_resume on_resume;
    const char *preset;     /* JSON; NULL: the key must be given */
    double min, max;        /* of numbers */
    const char *choices[4]; /* of KIND_CHOICE */
} field;

#define NO_MAX 9007199254740992.0 /* 2^53 */
#define MAX_SEED 1e15             /* what cJSON writes back to the digit */

#define STORED(name, kind_, member, resume, preset_, ...)                                          \
    {                                                                                              \
        .key = name, .kind = kind_, .offset = offsetof(lv_config, member),                         \
        .size = sizeof(((lv_config *)0)->member), .on_resume = resume, .preset = preset_,          \
        __VA_ARGS__                                                                                \
    }
/* A key of which this version allows one value: checked, not stored. */
#define FIXED(name, preset_, ...)                                                                  \
    {                                                                                              \
        .key = name, .kind = KIND_CHOICE, .on_resume = MUST_MATCH, .preset = preset_, __VA_ARGS__  \
    }
#define BOUNDS(least, most) .min = least, .max = most
#define CHOICES(...) .choices = {__VA_ARGS__}

/* clang-format off: a key a line */
static const field fields[] = {
    STORED("run.dir", KIND_PATH, run.dir, MAY_DIFFER, NULL),
    STORED("model.llava", KIND_PATH, model.llava, MAY_DIFFER, "null"),
    STORED("model.vision_tower", KIND_PATH, model.vision_tower, MAY_DIFFER, "null"),
    STORED("model.language_model", KIND_PATH, model.language_model, MAY_DIFFER, "null"),
    STORED("model.projector.type", KIND_TEXT, model.projector_type, MUST_MATCH, "null"),
    STORED("model.projector.weights", KIND_PATH, model.projector_weights, MAY_DIFFER, "null"),
    STORED("model.vision_select_layer", KIND_LAYER, model.vision_select_layer, MUST_MATCH, "null",
           BOUNDS(-1000, 1000)),
    STORED("model.vision_select_feature", KIND_CHOICE, model.vision_select_feature, MUST_MATCH,
           "null", CHOICES("null", "patch", "cls_patch")),
    STORED("data.packs", KIND_PATHS, data.packs, MAY_DIFFER, NULL),
    STORED("data.val_packs", KIND_PATHS, data.val_packs, MAY_DIFFER, "[]"),
    STORED("data.shuffle", KIND_BOOL, data.shuffle, MUST_MATCH, "true"),
    STORED("data.max_length", KIND_INT, data.max_length, MUST_MATCH, "2048", BOUNDS(1, 1 << 24)),
    STORED("data.image_aspect", KIND_CHOICE, data.image_aspect, MUST_MATCH, "\"square\"",
           CHOICES("square", "pad")),
    FIXED("data.group_by_modality_length", "false", CHOICES("false")),
    STORED("data.workers", KIND_INT, data.workers, MAY_DIFFER, "2", BOUNDS(1, 64)),
    STORED("train.trainable", KIND_TEXTS, train.trainable, MUST_MATCH, NULL),
    STORED("train.epochs", KIND_INT, train.epochs, MAY_DIFFER, "1", BOUNDS(1, 1000000)),
    STORED("train.max_steps", KIND_INT, train.max_steps, MAY_DIFFER, "null", BOUNDS(1, NO_MAX)),
    STORED("train.global_batch_size", KIND_INT, train.global_batch_size, MUST_MATCH, "256",
           BOUNDS(1, 1 << 24)),
    STORED("train.micro_batch_tokens", KIND_INT, train.micro_batch_tokens, MAY_DIFFER, "4096",
           BOUNDS(1, 1 << 30)),
    FIXED("train.precision", "\"f32\"", CHOICES("f32")),
    STORED("train.recompute", KIND_CHOICE, train.recompute, MAY_DIFFER, "\"none\"",
           CHOICES("none", "layer")),
    STORED("train.val_every_steps", KIND_INT, train.val_every_steps, MAY_DIFFER, "0",
           BOUNDS(0, NO_MAX)),
    STORED("train.seed", KIND_INT, train.seed, MUST_MATCH, "42", BOUNDS(0, MAX_SEED)),
    STORED("train.output", KIND_CHOICE, train.output_full, MAY_DIFFER, "\"full\"",
           CHOICES("projector", "full")),
    STORED("optim.lr", KIND_REAL, optim.lr, MUST_MATCH, NULL, BOUNDS(0, 1e3)),
    STORED("optim.projector_lr", KIND_REAL, optim.projector_lr, MUST_MATCH, "null", BOUNDS(0, 1e3)),
    STORED("optim.betas", KIND_BETAS, optim.beta1, MUST_MATCH, "[0.9, 0.999]",
           BOUNDS(0, 0.9999999)),
    STORED("optim.eps", KIND_REAL, optim.eps, MUST_MATCH, "1e-8", BOUNDS(1e-30, 1)),
    STORED("optim.weight_decay", KIND_REAL, optim.weight_decay, MUST_MATCH, "0", BOUNDS(0, 1e3)),
    STORED("optim.schedule", KIND_CHOICE, optim.schedule, MUST_MATCH, "\"cosine\"",
           CHOICES("cosine", "linear", "constant")),
    STORED("optim.warmup_ratio", KIND_REAL, optim.warmup_ratio, MUST_MATCH, "0.03", BOUNDS(0, 1)),
    STORED("optim.max_grad_norm", KIND_REAL, optim.max_grad_norm, MUST_MATCH, "1.0",
           BOUNDS(0, 1e30)),
    STORED("checkpoint.every_steps", KIND_INT, checkpoint.every_steps, MAY_DIFFER, "500",
           BOUNDS(0, NO_MAX)),
    STORED("checkpoint.every_minutes", KIND_INT, checkpoint.every_minutes, MAY_DIFFER, "30",
           BOUNDS(0, 1e6)),
    STORED("checkpoint.keep", KIND_INT, checkpoint.keep, MAY_DIFFER, "3", BOUNDS(1, 1e6)),
    STORED("log.every_steps", KIND_INT, log.every_steps, MAY_DIFFER, "1", BOUNDS(1, NO_MAX)),
};
/* clang-format on */
enum { N_FIELDS = sizeof fields / sizeof fields[0] };

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

/* Puts item (taken over) at "a.b.c", making the objects on the way. */
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

static const field *find_field(const char *key)
{
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (strcmp(fields[i].key, key) == 0) {
            return &fields[i];
        }
    }
    return NULL;
}

static bool is_section(const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (strncmp(fields[i].key, key, n) == 0 && fields[i].key[n] == '.') {
            return true;
        }
    }
    return false;
}

/* The keys beside an unknown one, for its message. */
static int unknown_key(const char *key)
{
    char list[512] = "";
    const char *dot = strrchr(key, '.');
    size_t n_section = dot ? (size_t)(dot - key) + 1 : 0;
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (strncmp(fields[i].key, key, n_section) != 0) {
            continue; /* which also means that the field's key is longer than the section's */
        }
        const char *name = fields[i].key + n_section;
        size_t n = strcspn(name, "."), used = strlen(list);
        if (i > 0 && strncmp(fields[i - 1].key, fields[i].key, n_section + n) == 0) {
            continue;
        }
        snprintf(list + used, sizeof list - used, "%s%.*s", used ? ", " : "", (int)n, name);
    }
    return lv_fail(LV_ERR_CONFIG, "%s: unknown key; there are: %s", key, list);
}

static int check_keys(const cJSON *object, const char *prefix)
{
    const cJSON *item;
    cJSON_ArrayForEach (item, object) {
        char key[128];
        int rc = LV_OK;
        snprintf(key, sizeof key, "%s%s%s", prefix, *prefix ? "." : "", item->string);
        if (strchr(item->string, '.')) { /* "a.b" is a place in the tree, never a name in it */
            rc = lv_fail(LV_ERR_CONFIG, "%s: unknown key; a section is an object of its own", key);
        } else if (is_section(key)) {
            rc = cJSON_IsObject(item) ? check_keys(item, key)
                                      : lv_fail(LV_ERR_CONFIG, "%s: expected an object, found %s",
                                                key, lv_json_kind(item));
        } else if (!find_field(key)) {
            rc = unknown_key(key);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return LV_OK;
}

/* ---- paths ---- */

static int rebase_text(cJSON *item, const char *base)
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
static int rebase(const field *f, cJSON *item, const char *base)
{
    if (f->kind == KIND_PATH && cJSON_IsString(item)) {
        return rebase_text(item, base);
    }
    if (f->kind != KIND_PATHS || !cJSON_IsArray(item)) {
        return LV_OK;
    }
    cJSON *element;
    cJSON_ArrayForEach (element, item) {
        cJSON *path =
            cJSON_IsObject(element) ? cJSON_GetObjectItemCaseSensitive(element, "path") : element;
        int rc = cJSON_IsString(path) ? rebase_text(path, base) : LV_OK;
        if (rc < 0) {
            return rc;
        }
    }
    return LV_OK;
}

/* ---- values ---- */

static int wrong(const field *f, const cJSON *item, const char *expected)
{
    char *given = cJSON_PrintUnformatted(item);
    int rc = lv_fail(LV_ERR_CONFIG, "%s: expected %s, found %.200s", f->key, expected,
                     given ? given : "?");
    cJSON_free(given);
    return rc;
}

static int store_number(const field *f, const cJSON *item, bool whole, void *to)
{
    char expected[160];
    double number = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    bool fits = number >= f->min && number <= f->max && (!whole || number == floor(number));
    if (cJSON_IsNull(item) && f->preset && strcmp(f->preset, "null") == 0) {
        number = f->kind == KIND_LAYER ? LV_LAYER_NOT_GIVEN : -1;
    } else if (!fits) {
        snprintf(expected, sizeof expected,
                 f->max == NO_MAX ? "%s, at least %g" : "%s between %g and %g",
                 whole ? "a whole number" : "a number", f->min, f->max);
        return wrong(f, item, expected);
    }
    if (whole) {
        *(int64_t *)to = (int64_t)number;
    } else {
        *(double *)to = number;
    }
    return LV_OK;
}

static int store_choice(const field *f, const cJSON *item, void *to)
{
    char expected[128] = "";
    const char *given = cJSON_IsString(item)  ? item->valuestring
                        : cJSON_IsFalse(item) ? "false"
                        : cJSON_IsTrue(item)  ? "true"
                        : cJSON_IsNull(item)  ? "null"
                                              : "";
    for (int i = 0; i < 4 && f->choices[i]; i++) {
        size_t used = strlen(expected);
        if (strcmp(given, f->choices[i]) == 0) {
            if (f->size == sizeof(bool)) {
                *(bool *)to = i == 1;
            } else if (f->size > 0) {
                memcpy(to, &i, sizeof i);
            }
            return LV_OK;
        }
        snprintf(expected + used, sizeof expected - used, "%s%s", used ? " or " : "",
                 f->choices[i]);
    }
    return wrong(f, item, expected);
}

static int store_list(const field *f, const cJSON *item, lv_text_list *to)
{
    const char *expected = f->kind == KIND_PATHS
                               ? "a list of pack folders, each a text or {\"path\": ...}"
                               : "a list of texts";
    const cJSON *element;
    if (!cJSON_IsArray(item) || (f->preset == NULL && !item->child)) {
        return wrong(f, item, expected);
    }
    cJSON_ArrayForEach (element, item) {
        const cJSON *text = element;
        if (f->kind == KIND_PATHS && cJSON_IsObject(element)) {
            const cJSON *weight = lv_json_find(element, "weight");
            text = lv_json_find(element, "path");
            if (weight && !(cJSON_IsNumber(weight) && weight->valuedouble == 1)) {
                return wrong(f, item, "a pack's weight to be 1");
            }
            if (cJSON_GetArraySize(element) != (text != NULL) + (weight != NULL)) {
                return wrong(f, item, expected);
            }
        }
        if (!cJSON_IsString(text) || !*text->valuestring) {
            return wrong(f, item, expected);
        }
        if (to->n == LV_MAX_LIST) {
            return lv_fail(LV_ERR_CONFIG, "%s: more than %d entries", f->key, LV_MAX_LIST);
        }
        to->items[to->n++] = text->valuestring;
    }
    return LV_OK;
}

static int store(const field *f, const cJSON *item, lv_config *config)
{
    void *to = (char *)config + f->offset;
    switch (f->kind) {
    case KIND_PATH:
    case KIND_TEXT:
        if (cJSON_IsNull(item) && f->preset) {
            *(const char **)to = NULL;
            return LV_OK;
        }
        if (!cJSON_IsString(item) || !*item->valuestring) {
            return wrong(f, item, f->kind == KIND_PATH ? "a path" : "a text");
        }
        *(const char **)to = item->valuestring;
        return LV_OK;
    case KIND_PATHS:
    case KIND_TEXTS:
        return store_list(f, item, to);
    case KIND_INT:
    case KIND_LAYER:
        return store_number(f, item, true, to);
    case KIND_REAL:
        return store_number(f, item, false, to);
    case KIND_BETAS:
        if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != 2) {
            return wrong(f, item, "two numbers");
        }
        for (int i = 0; i < 2; i++) {
            int rc = store_number(f, cJSON_GetArrayItem(item, i), false, (double *)to + i);
            if (rc < 0) {
                return rc;
            }
        }
        return LV_OK;
    case KIND_BOOL:
        if (!cJSON_IsBool(item)) {
            return wrong(f, item, "true or false");
        }
        *(bool *)to = cJSON_IsTrue(item);
        return LV_OK;
    case KIND_CHOICE:
        break;
    }
    return store_choice(f, item, to);
}

/* What a single key can not say. */
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
        rc = check_keys(json, "");
    }
    config.json = cJSON_CreateObject();
    for (size_t i = 0; rc == LV_OK && i < N_FIELDS; i++) {
        const field *f = &fields[i];
        const cJSON *given = find_path(json, f->key);
        if (!given && !f->preset) {
            rc = lv_fail(LV_ERR_CONFIG, "%s: must be given", f->key);
            break;
        }
        cJSON *item = given ? cJSON_Duplicate(given, true) : cJSON_Parse(f->preset);
        rc = put_path(config.json, f->key, item);
        if (rc == LV_OK) {
            rc = store(f, item, &config);
        }
    }
    if (rc == LV_OK) {
        rc = check_together(&config);
    }
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
    const field *f = find_field(key);
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
    return rc < 0 ? rc : rebase(f, item, ".");
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
    for (size_t i = 0; rc == LV_OK && i < N_FIELDS; i++) {
        cJSON *item = find_path(root, fields[i].key);
        rc = item ? rebase(&fields[i], item, base) : LV_OK;
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

int lv_config_compare(const cJSON *before, const cJSON *now)
{
    char list[1024] = "";
    for (size_t i = 0; i < N_FIELDS; i++) {
        const field *f = &fields[i];
        const cJSON *a = find_path(before, f->key), *b = find_path(now, f->key);
        if (f->on_resume == MAY_DIFFER || cJSON_Compare(a, b, true)) {
            continue;
        }
        char *text_a = a ? cJSON_PrintUnformatted(a) : NULL;
        char *text_b = b ? cJSON_PrintUnformatted(b) : NULL;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s was %s and is %s", used ? "; " : "", f->key,
                 text_a ? text_a : "absent", text_b ? text_b : "absent");
        cJSON_free(text_a);
        cJSON_free(text_b);
    }
    return *list ? lv_fail(LV_ERR_CONFIG, "%s", list) : LV_OK;
}
