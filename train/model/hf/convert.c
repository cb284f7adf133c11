/* SPDX-License-Identifier: Apache-2.0
 *
 * A directory again in another dtype. Its config.json is changed in the text: a parser that prints
 * it again would make 10000.0 a whole number and lose the order of digits.
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/json/manifest.h"
#include "train/model/hf/internal.h"
#include "train/model/weights/weights.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const int64_t NOTE_FROM_BYTES = 256000000;

/* Files that hold the weights, or belong to them: those of this format are written anew. */
static const char *const weight_globs[] = {"*.safetensors", "*.safetensors.index.json",
                                           "digests.json",  "config.json",
                                           "*.bin",         "*.bin.index.json",
                                           "*.pt",          "*.pth",
                                           "*.ckpt*",       "*.h5",
                                           "*.msgpack",     "*.gguf",
                                           "*.onnx*"};

/* ---- tensors ---- */

typedef struct {
    lv_llava_config config; /* of the parts that the directory has */
    lv_weights *weights;
    lv_tensor *tensors;
    lv_weight_source *sources;
    size_t n;
} conversion;

static void conversion_free(conversion *c)
{
    free(c->tensors);
    free(c->sources);
    lv_weights_close(&c->weights);
}

/* Names are written without escapes. */
static int check_tensor_name(const char *name)
{
    for (const char *c = name; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == '"' || *c == '\\') {
            return lv_fail(LV_ERR_FORMAT,
                           "tensor \"%s\": a name with quotes, backslashes or control characters",
                           name);
        }
    }
    return LV_OK;
}

static int add_float(conversion *c, const lv_weight *w, lv_dtype dtype)
{
    lv_tensor *x = &c->tensors[c->n];
    *x = (lv_tensor){.dtype = w->dtype, .n_dims = w->n_dims, .data = (void *)(uintptr_t)w->data};
    for (int i = 0; i < LV_MAX_DIMS; i++) {
        x->shape[i] = i < w->n_dims ? w->shape[i] : 1;
    }
    c->sources[c->n++] = (lv_weight_source){.name = w->name, .tensor = x, .dtype = dtype};
    return check_tensor_name(w->name);
}

/* A buffer of another dtype; a parameter of such a dtype could not be read again. */
static int add_other(conversion *c, size_t i)
{
    char canonical[LV_HF_NAME_BYTES];
    lv_part part;
    const char *dtype, *name = lv_weights_other_at(c->weights, i, &dtype);
    if (lv_hf_name_canonical(canonical, &part, name, &c->config) == LV_HF_NAME_PARAM) {
        return lv_fail(LV_ERR_UNSUPPORTED, "tensor \"%s\" has dtype %s; F32, BF16 and F16 are read",
                       name, dtype);
    }
    c->sources[c->n++] = (lv_weight_source){
        .name = name, .as_is = lv_weights_other_weight(c->weights, i), .as_is_dtype = dtype};
    return check_tensor_name(name);
}

static int collect_weights(conversion *c, lv_hf_conversion *sum, const char *from, lv_dtype dtype)
{
    int rc = lv_weights_open(&c->weights, from);
    if (rc < 0) {
        return rc;
    }
    bool warned = false;
    size_t n_floats = lv_weights_count(c->weights), n_others = lv_weights_other_count(c->weights);
    c->tensors = calloc(n_floats + 1, sizeof *c->tensors);
    c->sources = calloc(n_floats + n_others + 1, sizeof *c->sources);
    if (!c->tensors || !c->sources) {
        return lv_fail(LV_ERR_MEMORY, "%s: out of memory", from);
    }
    for (size_t i = 0; i < n_floats && rc == LV_OK; i++) {
        const lv_weight *w = lv_weights_at(c->weights, i);
        if (!warned && lv_weight_check_finite(w) < 0) { /* no reason not to convert it */
            lv_warn("%s: %s", from, lv_error_message());
            warned = true;
        }
        lv_weights_forget(w);
        rc = add_float(c, w, dtype);
        sum->from_bytes += w->n_bytes;
        sum->to_bytes += lv_tensor_count(&c->tensors[i]) * (int64_t)lv_dtype_bytes(dtype);
    }
    for (size_t i = 0; i < n_others && rc == LV_OK; i++) {
        int64_t n_bytes = lv_weights_other_weight(c->weights, i)->n_bytes;
        rc = add_other(c, i);
        sum->from_bytes += n_bytes;
        sum->to_bytes += n_bytes;
    }
    sum->n_tensors = c->n;
    if (rc == LV_OK && c->n == 0) {
        rc = lv_fail(LV_ERR_FORMAT, "there is no tensor");
    }
    return rc < 0 ? lv_fail_within("%s", from) : LV_OK;
}

/* ---- checks ---- */

static int check_target(const char *to, const char *from)
{
    char *parent = NULL, *real_parent = NULL, *real_from = NULL;
    struct stat st;
    size_t n = strlen(to);
    while (n > 1 && to[n - 1] == '/') {
        n--;
    }
    char *path = lv_path("%.*s", (int)n, to);
    int rc = lstat(path, &st) == 0 /* also a link to nowhere */
                 ? lv_fail(LV_ERR_CONFIG, "%s is already there: choose a name that is not", path)
                 : LV_OK;
    /* the nearest folder that is there decides */
    parent = lv_path_dir(path);
    while (!(real_parent = realpath(parent, NULL)) && strcmp(parent, ".") != 0 &&
           strcmp(parent, "/") != 0) {
        char *above = lv_path_dir(parent);
        free(parent);
        parent = above;
    }
    real_from = realpath(from, NULL);
    if (rc == LV_OK && real_parent && real_from) {
        size_t n_from = strlen(real_from);
        if (strncmp(real_parent, real_from, n_from) == 0 &&
            (real_parent[n_from] == '/' || real_parent[n_from] == '\0')) {
            rc = lv_fail(LV_ERR_CONFIG, "%s lies inside the model's own directory %s", path, from);
        }
    }
    free(path);
    free(parent);
    free(real_parent);
    free(real_from);
    return rc;
}

/* Digests of a damaged model would vouch for it. */
static int check_digests(const char *from, const lv_hf_progress *progress)
{
    cJSON *digests = NULL;
    char *path = lv_path("%s/%s", from, lv_hf_digests_name);
    int rc = LV_OK;
    if (lv_file_exists(path)) {
        rc = lv_manifest_read(&digests, path);
        if (rc == LV_OK) rc = lv_manifest_check_files(digests, from, progress->checking);
    }
    cJSON_Delete(digests);
    free(path);
    return rc;
}

/* ---- the dtype in config.json ---- */

static const char *const dtype_keys[] = {"torch_dtype", "dtype"}; /* transformers 4, 5 */

/* returns the text after the string that begins at text. */
static const char *skip_string(const char *text)
{
    for (text++; *text && *text != '"'; text++) {
        text += *text == '\\' && text[1];
    }
    return *text ? text + 1 : text;
}

static const char *skip_space(const char *text)
{
    return text + strspn(text, " \t\r\n");
}

/* The value's text if a member with one of the keys begins at text, or NULL. */
static const char *value_of_key(const char *text)
{
    for (size_t i = 0; i < sizeof dtype_keys / sizeof *dtype_keys; i++) {
        size_t n = strlen(dtype_keys[i]);
        if (strncmp(text + 1, dtype_keys[i], n) == 0 && text[n + 1] == '"') {
            const char *colon = skip_space(text + n + 2);
            return *colon == ':' ? skip_space(colon + 1) : NULL;
        }
    }
    return NULL;
}

lv_dtype lv_hf_dtype_of(const char *dir)
{
    cJSON *root = NULL;
    lv_dtype dtype = LV_BF16;
    char *path = lv_path("%s/config.json", dir);
    if (lv_file_exists(path) && lv_json_read(&root, path) == LV_OK) {
        for (size_t i = 0; i < sizeof dtype_keys / sizeof *dtype_keys; i++) {
            const char *name =
                cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, dtype_keys[i]));
            dtype = !name                          ? dtype
                    : strcmp(name, "float32") == 0 ? LV_F32
                    : strcmp(name, "float16") == 0 ? LV_F16
                                                   : dtype;
        }
    }
    cJSON_Delete(root);
    free(path);
    return dtype;
}

char *lv_hf_config_with_dtype(const char *text, lv_dtype dtype)
{
    const char *name = dtype == LV_BF16 ? "bfloat16" : dtype == LV_F16 ? "float16" : "float32";
    const char *from = text, *first = strchr(text, '{');
    char *out_text = NULL;
    size_t n = 0;
    int depth = 0;
    bool named = false;
    FILE *out = open_memstream(&out_text, &n);
    LV_CHECK(out && first, "config.json: no object, or out of memory");
    for (const char *at = first; *at;) {
        const char *value = *at == '"' ? value_of_key(at) : NULL;
        if (value && (*value == '"' || strncmp(value, "null", 4) == 0)) {
            fprintf(out, "%.*s\"%s\"", (int)(value - from), from, name);
            named = named || depth == 1;
            at = from = *value == '"' ? skip_string(value) : value + 4;
        } else if (*at == '"') {
            at = skip_string(at);
        } else {
            depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
            at++;
        }
    }
    fprintf(out, "%s", from);
    LV_CHECK(fclose(out) == 0, "config.json: out of memory");
    if (!named) {
        bool empty = *skip_space(first + 1) == '}';
        char *with = lv_path("%.*s{\n  \"%s\": \"%s\"%s%s", (int)(first - text), text,
                             dtype_keys[0], name, empty ? "" : ",", out_text + (first + 1 - text));
        free(out_text);
        return with;
    }
    return out_text;
}

/* ---- the other files ---- */

static int write_config_as(const char *to, const char *from, lv_dtype dtype)
{
    char *text = NULL, *changed = NULL;
    size_t n = 0;
    char *source = lv_path("%s/config.json", from), *target = lv_path("%s/config.json", to);
    int rc = lv_file_read(&text, &n, source);
    if (rc == LV_OK) {
        changed = lv_hf_config_with_dtype(text, dtype);
        rc = lv_file_write(target, changed, strlen(changed));
    }
    free(text);
    free(changed);
    free(source);
    free(target);
    return rc;
}

static bool is_of_weights(const char *name)
{
    for (size_t i = 0; i < sizeof weight_globs / sizeof *weight_globs; i++) {
        if (fnmatch(weight_globs[i], name, 0) == 0) {
            return true;
        }
    }
    return false;
}

static int copy_others(const char *to, const char *from)
{
    lv_hf_files files = {0};
    int rc = lv_hf_files_list(&files, from);
    for (size_t i = 0; i < files.n && rc == LV_OK; i++) {
        char *source = lv_path("%s/%s", from, files.names[i]);
        char *target = lv_path("%s/%s", to, files.names[i]);
        if (!is_of_weights(files.names[i]) && lv_file_is_regular(source)) {
            rc = lv_file_copy(target, source);
        }
        free(source);
        free(target);
    }
    lv_hf_files_free(&files);
    return rc;
}

int lv_hf_convert(lv_hf_conversion *out, const char *to, const char *from, lv_dtype dtype,
                  lv_hf_progress progress)
{
    conversion c = {0};
    lv_hf_conversion sum = {0};
    lv_hf_staging staging;
    LV_CHECK(dtype == LV_BF16 || dtype == LV_F32, "a model in %s", lv_dtype_name(dtype));
    lv_hf_kind kind;
    int rc = lv_hf_any_config(&c.config, &kind, from); /* before hours of conversion */
    if (rc == LV_OK) rc = check_target(to, from);
    if (rc == LV_OK) rc = check_digests(from, &progress);
    if (rc == LV_OK) rc = collect_weights(&c, &sum, from, dtype);
    if (rc == LV_OK) rc = lv_hf_staging_begin(&staging, to);
    if (rc == LV_OK) {
        rc = copy_others(staging.path, from);
        if (rc == LV_OK) rc = write_config_as(staging.path, from, dtype);
        if (rc == LV_OK) {
            rc = lv_weights_write_told(staging.path, c.sources, c.n, lv_hf_max_file_bytes,
                                       progress.writing);
        }
        rc = lv_hf_staging_end(rc, &staging);
    }
    conversion_free(&c);
    if (rc == LV_OK) {
        *out = sum;
    }
    return rc;
}

int lv_hf_language_dtype(lv_dtype *out, const char *dir)
{
    lv_llava_config config;
    lv_hf_kind kind;
    lv_weights *weights = NULL;
    int64_t count[LV_F16 + 1] = {0};
    int rc = lv_hf_any_config(&config, &kind, dir);
    if (rc == LV_OK) rc = lv_weights_open(&weights, dir);
    for (size_t i = 0; rc == LV_OK && i < lv_weights_count(weights); i++) {
        char canonical[LV_HF_NAME_BYTES];
        lv_part part;
        const lv_weight *w = lv_weights_at(weights, i);
        if (lv_hf_name_canonical(canonical, &part, w->name, &config) == LV_HF_NAME_PARAM &&
            part == LV_PART_LANGUAGE) {
            count[w->dtype] += w->n_bytes / (int64_t)lv_dtype_bytes(w->dtype);
        }
    }
    lv_weights_close(&weights);
    if (rc < 0) {
        return lv_fail_within("%s", dir);
    }
    *out = LV_F32;
    for (int d = 0; d <= LV_F16; d++) {
        *out = count[d] > count[*out] ? (lv_dtype)d : *out;
    }
    return LV_OK;
}

char *lv_hf_convert_note(const char *dir, int64_t n_bytes)
{
    int n = (int)strlen(dir);
    while (n > 1 && dir[n - 1] == '/') {
        n--;
    }
    return n_bytes < NOTE_FROM_BYTES
               ? NULL
               : lv_path("%.*s is not in bf16: narrowing it at every start takes %.1f GB of "
                         "memory in each rank. llava convert --model %.*s --dtype bf16 --out "
                         "%.*s-bf16 saves that: its files are read where they lie, once for all "
                         "ranks of a host",
                         n, dir, 1e-9 * (double)n_bytes, n, dir, n, dir);
}
