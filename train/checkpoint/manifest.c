/* SPDX-License-Identifier: Apache-2.0 */
#include "train/checkpoint/manifest.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/json/manifest.h"
#include "train/config/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char lv_checkpoint_format[] = "llava.c checkpoint";
enum { FORMAT_VERSION = 2, HEX_BYTES = 17 };

char *lv_checkpoint_file_name(int rank)
{
    return lv_path("rank-%05d.h5", rank);
}

static void add_hex(cJSON *object, const char *key, uint64_t value)
{
    char text[HEX_BYTES];
    snprintf(text, sizeof text, "%016" PRIx64, value); /* a JSON number has 53 bits */
    cJSON_AddStringToObject(object, key, text);
}

static int same_hex(const cJSON *object, const char *key, uint64_t value, const char *what)
{
    char text[HEX_BYTES];
    const char *saved = NULL;
    int rc = lv_json_string(object, key, true, &saved);
    if (rc < 0) {
        return rc;
    }
    snprintf(text, sizeof text, "%016" PRIx64, value);
    return strcmp(saved, text) == 0
               ? LV_OK
               : lv_fail(LV_ERR_CONFIG, "%s (fingerprint %s, the run began with %s)", what, text,
                         saved);
}

static void add_parameters(cJSON *root, lv_params *params)
{
    cJSON *list = cJSON_AddArrayToObject(root, "parameters");
    for (size_t i = 0; i < lv_params_count(params); i++) {
        const lv_param *param = lv_params_at(params, i);
        if (!param->trainable) {
            continue;
        }
        cJSON *entry = cJSON_CreateObject();
        cJSON *shape = cJSON_AddArrayToObject(entry, "shape");
        cJSON_AddStringToObject(entry, "name", param->name);
        cJSON_AddNumberToObject(entry, "begin", (double)param->offset);
        for (int d = 0; d < param->tensor.n_dims; d++) {
            cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)param->tensor.shape[d]));
        }
        cJSON_AddItemToArray(list, entry);
    }
}

cJSON *lv_checkpoint_manifest_make(int n_ranks, const lv_train_state *state,
                                   const lv_run_identity *identity, lv_params *params)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "format", lv_checkpoint_format);
    cJSON_AddNumberToObject(root, "version", FORMAT_VERSION);
    cJSON_AddNumberToObject(root, "step", (double)state->step);
    cJSON_AddNumberToObject(root, "n_updates", (double)state->n_updates);
    cJSON_AddNumberToObject(root, "n_skipped_in_a_row", (double)state->n_skipped_in_a_row);
    cJSON_AddNumberToObject(root, "n_steps", (double)state->n_steps);
    cJSON_AddNumberToObject(root, "n_ranks", n_ranks);
    cJSON_AddNumberToObject(root, "n_elements", (double)lv_params_flat_count(params));
    add_hex(root, "frozen_fingerprint", identity->frozen_fingerprint);
    add_hex(root, "data_fingerprint", identity->data_fingerprint);
    add_parameters(root, params);
    cJSON_AddItemToObject(root, "config", cJSON_Duplicate(identity->config, true));
    return root;
}

int lv_checkpoint_manifest(cJSON **out, const char *dir)
{
    const char *format = NULL;
    int64_t version = 0;
    cJSON *root = NULL;
    char *path = lv_path("%s/manifest.json", dir);
    int rc = lv_manifest_read(&root, path);
    if (rc == LV_OK && (lv_json_string(root, "format", true, &format) < 0 ||
                        lv_json_int(root, "version", true, &version) < 0 ||
                        strcmp(format, lv_checkpoint_format) != 0 || version != FORMAT_VERSION)) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: not a checkpoint of this version (%d)", path,
                     FORMAT_VERSION);
    }
    free(path);
    if (rc < 0) {
        cJSON_Delete(root);
        return rc;
    }
    *out = root;
    return LV_OK;
}

int lv_checkpoint_manifest_files(int *n_files, const cJSON *manifest)
{
    const cJSON *files = lv_json_find(manifest, "files");
    const int n_listed = cJSON_GetArraySize(files);
    int64_t n_ranks = 0;
    int rc = lv_json_int(manifest, "n_ranks", true, &n_ranks);
    if (rc == LV_OK && (n_ranks < 1 || n_ranks != n_listed)) {
        rc = lv_fail(LV_ERR_FORMAT, "\"n_ranks\" is %" PRId64 ", \"files\" lists %d", n_ranks,
                     n_listed);
    }
    for (int rank = 0; rc == LV_OK && rank < n_listed; rank++) {
        char *name = lv_checkpoint_file_name(rank);
        if (!lv_json_find(files, name)) {
            rc = lv_fail(LV_ERR_FORMAT, "%s is not listed", name);
        }
        free(name);
    }
    if (rc == LV_OK) {
        *n_files = n_listed;
    }
    return rc;
}

/* ---- does it fit? ---- */

static bool same_member(const cJSON *a, const cJSON *b, const char *key)
{
    return a && b && lv_json_equal(lv_json_find(a, key), lv_json_find(b, key));
}

static int compare_parameters(const cJSON *manifest, lv_params *params)
{
    const cJSON *saved = lv_json_find(manifest, "parameters");
    const cJSON *saved_entry = saved ? saved->child : NULL;
    cJSON *wrapper = cJSON_CreateObject();
    add_parameters(wrapper, params);
    const cJSON *entry = lv_json_find(wrapper, "parameters")->child;
    int rc = LV_OK;
    while (rc == LV_OK && (entry || saved_entry)) {
        if (!same_member(entry, saved_entry, "name") || !same_member(entry, saved_entry, "shape")) {
            char *a = saved_entry ? lv_json_print_line(saved_entry) : NULL;
            char *b = entry ? lv_json_print_line(entry) : NULL;
            rc = lv_fail(LV_ERR_SHAPE, "the checkpoint has %s where the model has %s",
                         a ? a : "no more parameters", b ? b : "no more parameters");
            free(a);
            free(b);
            break;
        }
        entry = entry->next;
        saved_entry = saved_entry->next;
    }
    cJSON_Delete(wrapper);
    return rc;
}

static int compare_count(const cJSON *manifest, const lv_params *params)
{
    int64_t n_elements = 0;
    int rc = lv_json_int(manifest, "n_elements", true, &n_elements);
    return rc < 0 || n_elements == lv_params_flat_count(params)
               ? rc
               : lv_fail(LV_ERR_SHAPE, "%" PRId64 " elements, the model has %" PRId64, n_elements,
                         lv_params_flat_count(params));
}

static int compare_identity(const cJSON *manifest, const lv_run_identity *identity)
{
    const bool of_run = identity->config != NULL;
    int rc = of_run ? lv_config_compare(lv_json_find(manifest, "config"), identity->config) : LV_OK;
    if (rc == LV_OK) {
        rc = same_hex(manifest, "frozen_fingerprint", identity->frozen_fingerprint,
                      "the frozen weights are not those that the run began with");
    }
    if (rc == LV_OK && of_run) {
        rc = same_hex(manifest, "data_fingerprint", identity->data_fingerprint,
                      "the packs are not those that the run began with");
    }
    if (rc == LV_ERR_CONFIG && of_run) {
        rc = lv_fail(rc, "%s: a run goes on as it began; put that back, or choose another run.dir",
                     lv_error_message());
    }
    return rc;
}

int lv_checkpoint_manifest_compare(const cJSON *manifest, const lv_run_identity *identity,
                                   lv_params *params)
{
    int rc = identity ? compare_identity(manifest, identity) : LV_OK;
    if (rc == LV_OK) rc = compare_parameters(manifest, params);
    return rc < 0 ? rc : compare_count(manifest, params);
}

static int by_saved_begin(const void *a, const void *b)
{
    const lv_param_layout *x = a, *y = b;
    return (x->saved_begin > y->saved_begin) - (x->saved_begin < y->saved_begin);
}

static int check_contiguous(const lv_layout *layout, int64_t count)
{
    int64_t end = 0;
    size_t i = 0;
    for (; i < layout->n && layout->params[i].saved_begin == end; i++) {
        end += layout->params[i].count;
    }
    return i == layout->n && end == count
               ? LV_OK
               : lv_fail(LV_ERR_FORMAT,
                         "the \"begin\" of its parameters can not be: from %" PRId64 " on", end);
}

int lv_checkpoint_manifest_layout(lv_layout *out, const cJSON *manifest, lv_params *params)
{
    lv_layout layout = {.params = calloc(lv_params_count(params) + 1, sizeof *layout.params)};
    const cJSON *entry = lv_json_find(manifest, "parameters");
    LV_CHECK(layout.params, "out of memory for a list of parameters");
    int rc = LV_OK;
    entry = entry ? entry->child : NULL;
    for (size_t i = 0; rc == LV_OK && entry && i < lv_params_count(params); i++) {
        const lv_param *param = lv_params_at(params, i);
        if (param->trainable) {
            lv_param_layout *p = &layout.params[layout.n++];
            p->begin = param->offset;
            p->count = lv_tensor_count(&param->tensor);
            rc = lv_json_int(entry, "begin", true, &p->saved_begin);
            entry = entry->next;
        }
    }
    qsort(layout.params, layout.n, sizeof *layout.params, by_saved_begin);
    if (rc == LV_OK) rc = check_contiguous(&layout, lv_params_flat_count(params));
    if (rc < 0) {
        free(layout.params);
        return rc;
    }
    *out = layout;
    return LV_OK;
}

int lv_checkpoint_manifest_state(lv_train_state *out, const cJSON *manifest)
{
    lv_train_state s = {0};
    int rc = lv_json_int(manifest, "step", true, &s.step);
    if (rc == LV_OK) rc = lv_json_int(manifest, "n_updates", true, &s.n_updates);
    if (rc == LV_OK) {
        rc = lv_json_int(manifest, "n_skipped_in_a_row", true, &s.n_skipped_in_a_row);
    }
    if (rc == LV_OK) rc = lv_json_int(manifest, "n_steps", false, &s.n_steps);
    if (rc == LV_OK && (s.n_updates < 0 || s.n_updates > s.step || s.n_skipped_in_a_row < 0 ||
                        s.n_skipped_in_a_row > s.step)) {
        rc = lv_fail(LV_ERR_FORMAT,
                     "impossible: step %" PRId64 ", %" PRId64 " updates, %" PRId64
                     " steps skipped in a row",
                     s.step, s.n_updates, s.n_skipped_in_a_row);
    }
    if (rc == LV_OK) {
        *out = s;
    }
    return rc;
}
