/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/weights/weights.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/base/hash.h"
#include "data/json/json.h"
#include "train/model/weights/formats.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    char *path;
    lv_file_map map;
    size_t header_bytes;
} weights_file;

struct lv_weights {
    weights_file *files; /* in name order */
    size_t n_files;
    lv_header_entry *entries; /* those that can be read first, each part in name order */
    size_t n_entries, n_readable;
};

#define LV_WEIGHTS_FORMAT(name) extern const lv_weights_format lv_weights_format_##name;
#include "train/model/weights/formats.def"
#undef LV_WEIGHTS_FORMAT

static const lv_weights_format *const formats[] = {
#define LV_WEIGHTS_FORMAT(name) &lv_weights_format_##name,
#include "train/model/weights/formats.def"
#undef LV_WEIGHTS_FORMAT
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

static bool has_suffix(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

static const lv_weights_format *format_by_name(const char *path)
{
    for (int i = 0; i < N_FORMATS; i++) {
        for (const char *const *suffix = formats[i]->suffixes; *suffix; suffix++) {
            if (has_suffix(path, *suffix)) {
                return formats[i];
            }
        }
    }
    return NULL;
}

static const lv_weights_format *format_by_content(const lv_file_map *map)
{
    for (int i = 0; i < N_FORMATS; i++) {
        if (formats[i]->is && formats[i]->is(map)) {
            return formats[i];
        }
    }
    return formats[0];
}

static void free_entries(lv_header_entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(entries[i].name);
    }
    free(entries);
}

/* Maps one more file and appends its tensors. */
static int add_file(lv_weights *weights, const char *path)
{
    lv_header_entry *entries = NULL;
    size_t n = 0;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const lv_weights_format *format = format_by_name(name);
    if (format && format->refuse) {
        return format->refuse(path, name);
    }
    weights_file *file = &weights->files[weights->n_files];
    int rc = lv_file_map_open(&file->map, path);
    if (rc < 0) {
        return rc;
    }
    file->path = lv_path("%s", path);
    weights->n_files++;
    format = format ? format : format_by_content(&file->map);
    if (format->refuse) {
        return format->refuse(path, name);
    }
    rc = format->parse(&entries, &n, &file->header_bytes, &file->map);
    if (rc < 0) {
        free_entries(entries, n);
        return lv_fail_within("%s", path);
    }
    size_t total = weights->n_entries + n;
    lv_header_entry *all = realloc(weights->entries, (total + 1) * sizeof *all);
    if (!all) {
        free_entries(entries, n);
        return lv_fail(LV_ERR_MEMORY, "%s: out of memory", path);
    }
    for (size_t i = 0; i < n; i++) {
        entries[i].file = weights->n_files - 1;
        all[weights->n_entries + i] = entries[i];
    }
    free(entries); /* the names moved */
    weights->entries = all;
    weights->n_entries = total;
    return LV_OK;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const lv_header_entry *)a)->name, ((const lv_header_entry *)b)->name);
}

static int compare_readable(const void *a, const void *b)
{
    const lv_header_entry *x = a, *y = b;
    return x->readable != y->readable ? y->readable - x->readable : strcmp(x->name, y->name);
}

static int sort_entries(lv_weights *weights)
{
    lv_header_entry *e = weights->entries;
    qsort(e, weights->n_entries, sizeof *e, compare_names);
    for (size_t i = 1; i < weights->n_entries; i++) {
        if (strcmp(e[i - 1].name, e[i].name) == 0) {
            return lv_fail(LV_ERR_FORMAT, "tensor \"%s\" is in both %s and %s", e[i].name,
                           weights->files[e[i - 1].file].path, weights->files[e[i].file].path);
        }
    }
    qsort(e, weights->n_entries, sizeof *e, compare_readable);
    while (weights->n_readable < weights->n_entries && e[weights->n_readable].readable) {
        weights->n_readable++;
    }
    return LV_OK;
}

static const lv_header_entry *find_entry(const lv_weights *weights, const char *name, bool readable)
{
    lv_header_entry key = {.name = (char *)(uintptr_t)name};
    const lv_header_entry *first = weights->entries + (readable ? 0 : weights->n_readable);
    size_t n = readable ? weights->n_readable : weights->n_entries - weights->n_readable;
    return n ? bsearch(&key, first, n, sizeof key, compare_names) : NULL;
}

/* The distinct files of an index, in name order. */
static int list_files(const char ***out, size_t *n, const cJSON *map)
{
    const cJSON *item;
    size_t count = 0, kept = 0;
    const char **names = malloc(((size_t)cJSON_GetArraySize(map) + 1) * sizeof *names);
    if (!names) {
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    cJSON_ArrayForEach (item, map) {
        const char *name = cJSON_IsString(item) ? item->valuestring : "";
        if (!*name || *name == '.' || strchr(name, '/')) {
            free(names);
            return lv_fail(LV_ERR_FORMAT, "\"%s\": expected the name of a file beside the index",
                           item->string);
        }
        names[count++] = name;
    }
    qsort(names, count, sizeof *names, compare_strings);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(names[kept - 1], names[i]) != 0) {
            names[kept++] = names[i];
        }
    }
    *out = names;
    *n = kept;
    return LV_OK;
}

/* Each tensor of the index is in the file that the index names. */
static int check_index(const lv_weights *weights, const cJSON *map)
{
    const cJSON *item;
    cJSON_ArrayForEach (item, map) {
        const lv_header_entry *entry = find_entry(weights, item->string, true);
        if (!entry) {
            entry = find_entry(weights, item->string, false);
        }
        const char *path = entry ? weights->files[entry->file].path : "/";
        if (strcmp(strrchr(path, '/') + 1, item->valuestring) != 0) {
            return lv_fail(LV_ERR_FORMAT, "tensor \"%s\" is not in %s", item->string,
                           item->valuestring);
        }
    }
    return LV_OK;
}

static int open_index(lv_weights *weights, const char *dir, const char *index_path)
{
    cJSON *root = NULL;
    const char **names = NULL;
    size_t n = 0;
    int rc = lv_json_read(&root, index_path);
    if (rc < 0) {
        return rc;
    }
    const cJSON *map = lv_json_find(root, "weight_map");
    if (!cJSON_IsObject(map)) {
        rc = lv_fail(LV_ERR_FORMAT, "\"weight_map\": expected an object, found %s",
                     lv_json_kind(map));
        goto done;
    }
    rc = list_files(&names, &n, map);
    if (rc < 0) {
        goto done;
    }
    weights->files = calloc(n + 1, sizeof *weights->files);
    if (!weights->files) {
        rc = lv_fail(LV_ERR_MEMORY, "out of memory");
        goto done;
    }
    for (size_t i = 0; i < n && rc == LV_OK; i++) {
        char *path = lv_path("%s/%s", dir, names[i]);
        rc = add_file(weights, path);
        free(path);
    }
    if (rc == LV_OK) rc = sort_entries(weights);
    if (rc == LV_OK) rc = check_index(weights, map);
done:
    free(names);
    cJSON_Delete(root);
    return rc < 0 ? lv_fail_within("%s", index_path) : LV_OK;
}

static int open_single(lv_weights *weights, const char *path)
{
    weights->files = calloc(1, sizeof *weights->files);
    int rc = weights->files ? add_file(weights, path) : lv_fail(LV_ERR_MEMORY, "out of memory");
    return rc < 0 ? rc : sort_entries(weights);
}

/* The file or index with a directory's weights; NULL if it has none. path: free() it. */
static const lv_weights_format *find_in_dir(const char *dir, char **path, const char **name)
{
    for (int i = 0; i < N_FORMATS; i++) {
        for (int k = 0; formats[i]->files[k]; k++) {
            const char *const names[] = {formats[i]->files[k], k == 0 ? formats[i]->index : NULL};
            for (int c = 0; c < 2 && names[c]; c++) {
                *name = names[c];
                *path = lv_path("%s/%s", dir, *name);
                if (lv_file_exists(*path)) {
                    return formats[i];
                }
                free(*path);
            }
        }
    }
    *path = NULL;
    return NULL;
}

static int open_dir(lv_weights *weights, const char *dir)
{
    char *path = NULL;
    const char *name;
    const lv_weights_format *format = find_in_dir(dir, &path, &name);
    if (!format) {
        return lv_fail(LV_ERR_IO, "%s: there is neither %s nor %s", dir, formats[0]->files[0],
                       formats[0]->index);
    }
    int rc = format->refuse          ? format->refuse(dir, name)
             : name == format->index ? open_index(weights, dir, path)
                                     : open_single(weights, path);
    free(path);
    return rc;
}

int lv_weights_open(lv_weights **out, const char *path)
{
    lv_weights *weights = calloc(1, sizeof *weights);
    if (!weights) {
        return lv_fail(LV_ERR_MEMORY, "%s: out of memory", path);
    }
    int rc = lv_dir_exists(path) ? open_dir(weights, path) : open_single(weights, path);
    if (rc < 0) {
        lv_weights_close(&weights);
        return rc;
    }
    *out = weights;
    return LV_OK;
}

void lv_weights_close(lv_weights **weights)
{
    lv_weights *w = *weights;
    if (!w) {
        return;
    }
    free_entries(w->entries, w->n_entries);
    for (size_t i = 0; i < w->n_files; i++) {
        lv_file_map_close(&w->files[i].map);
        free(w->files[i].path);
    }
    free(w->files);
    free(w);
    *weights = NULL;
}

bool lv_weights_exist(const char *path)
{
    char *file = NULL;
    const char *name;
    if (!lv_dir_exists(path)) {
        return lv_file_exists(path);
    }
    const bool found = find_in_dir(path, &file, &name) != NULL;
    free(file);
    return found;
}

size_t lv_weights_count(const lv_weights *weights)
{
    return weights->n_readable;
}

const lv_weight *lv_weights_at(const lv_weights *weights, size_t i)
{
    LV_CHECK(i < weights->n_readable, "weight %zu of %zu", i, weights->n_readable);
    return &weights->entries[i].weight;
}

size_t lv_weights_other_count(const lv_weights *weights)
{
    return weights->n_entries - weights->n_readable;
}

const char *lv_weights_other_at(const lv_weights *weights, size_t i, const char **dtype)
{
    LV_CHECK(i < lv_weights_other_count(weights), "weight %zu of the unread ones", i);
    const lv_header_entry *entry = &weights->entries[weights->n_readable + i];
    *dtype = entry->dtype_name;
    return entry->name;
}

const lv_weight *lv_weights_other_weight(const lv_weights *weights, size_t i)
{
    LV_CHECK(i < lv_weights_other_count(weights), "weight %zu of the unread ones", i);
    return &weights->entries[weights->n_readable + i].weight;
}

void lv_weights_forget(const lv_weight *weight)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)weight->data + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)weight->data + (uintptr_t)weight->n_bytes) / page * page;
    if (begin < end) { /* advice: nothing depends on it */
        madvise((void *)begin, end - begin, MADV_DONTNEED);
    }
}

int lv_weights_read(const lv_weights *weights, void *out, const void *data, int64_t n)
{
    const uintptr_t at = (uintptr_t)data;
    for (size_t i = 0; i < weights->n_files; i++) {
        const weights_file *file = &weights->files[i];
        const uintptr_t begin = (uintptr_t)file->map.data;
        if (at >= begin && at < begin + file->map.n_bytes) {
            int rc = lv_file_map_read(&file->map, out, data, (size_t)n, file->path);
            return rc < 0 ? rc : 1;
        }
    }
    return 0;
}

/* Begin, middle and end: a sample from every tensor. */
static uint64_t hash_tensor(uint64_t hash, const lv_weight *weight)
{
    enum { SAMPLE_BYTES = 256 };
    const uint8_t *data = weight->data;
    size_t n = (size_t)weight->n_bytes;
    if (n <= 3 * SAMPLE_BYTES) {
        return lv_hash_bytes(hash, data, n);
    }
    hash = lv_hash_bytes(hash, data, SAMPLE_BYTES);
    hash = lv_hash_bytes(hash, data + n / 2, SAMPLE_BYTES);
    return lv_hash_bytes(hash, data + n - SAMPLE_BYTES, SAMPLE_BYTES);
}

uint64_t lv_weights_fingerprint(const lv_weights *weights)
{
    uint64_t hash = LV_HASH_START;
    for (size_t i = 0; i < weights->n_files; i++) {
        hash = lv_hash_uint64(hash, weights->files[i].map.n_bytes);
        hash = lv_hash_bytes(hash, weights->files[i].map.data, weights->files[i].header_bytes);
    }
    for (size_t i = 0; i < weights->n_entries; i++) {
        hash = hash_tensor(hash, &weights->entries[i].weight);
    }
    return hash;
}
