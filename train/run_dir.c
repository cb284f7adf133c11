/* SPDX-License-Identifier: Apache-2.0 */
#include "train/run_dir.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "train/checkpoint/dir.h"
#include "train/metrics.h"
#include "train/model/hf/hf.h"
#include "train/watch/heartbeat.h"

#include <stdlib.h>
#include <string.h>

static const char ADVICE[] = "choose another run.dir, or move it away";

/* A run's config.json has every section and is laid out as lv_json_print does, which no one writes
 * by hand. */
static int check_config(const char *path)
{
    static const char *const sections[] = {"run",   "model",      "data", "train",
                                           "optim", "checkpoint", "comm", "log"};
    cJSON *root = NULL;
    char *text = NULL, *printed = NULL;
    size_t n = 0;
    int rc = lv_file_read(&text, &n, path);
    if (rc < 0) {
        return rc;
    }
    bool own = lv_json_parse(&root, text, n) == LV_OK && cJSON_IsObject(root);
    for (size_t i = 0; own && i < sizeof sections / sizeof *sections; i++) {
        own = cJSON_IsObject(lv_json_find(root, sections[i]));
    }
    printed = own ? lv_json_print(root) : NULL;
    own = own && strlen(printed) == n && memcmp(printed, text, n) == 0;
    cJSON_Delete(root);
    free(printed);
    free(text);
    return own ? LV_OK
               : lv_fail(LV_ERR_CONFIG,
                         "%s: the run would write its config there over a file that is not of a "
                         "run: %s",
                         path, ADVICE);
}

/* Outputs are read by their digests, but only a run's directory is written to again. */
static int check_output(const lv_config *config, bool is_run)
{
    static const char projector[] = "projector.safetensors";
    const char *run_dir = config->run.dir;
    const bool full = config->train.output_full;
    char *path = lv_path("%s/%s", run_dir, full ? "model" : projector);
    int rc = full ? lv_hf_check_replaceable(path) : lv_hf_check_projector(run_dir, projector);
    if (rc == LV_OK && !is_run && lv_file_exists(path) && lv_hf_check_empty(path) < 0) {
        rc = lv_fail(LV_ERR_CONFIG,
                     "%s would be replaced by the run's, but %s is not the directory of a run: it "
                     "has no config.json of one; %s",
                     path, run_dir, ADVICE);
    }
    free(path);
    return rc;
}

/* ---- what the run reads ---- */

static bool is_within(const char *path, const char *dir)
{
    char *a = realpath(path, NULL), *b = realpath(dir, NULL);
    size_t n = b ? strlen(b) : 0;
    bool within = a && b && strncmp(a, b, n) == 0 && (a[n] == '\0' || a[n] == '/');
    free(a);
    free(b);
    return within;
}

static int check_inputs(const lv_config *c)
{
    const struct {
        const char *key, *path;
    } inputs[] = {{"model.llava", c->model.llava},
                  {"model.vision_tower", c->model.vision_tower},
                  {"model.language_model", c->model.language_model},
                  {"model.projector.weights", c->model.projector_weights}};
    char *out =
        lv_path("%s/%s", c->run.dir, c->train.output_full ? "model" : "projector.safetensors");
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < sizeof inputs / sizeof *inputs; i++) {
        if (inputs[i].path && is_within(inputs[i].path, out)) {
            rc = lv_fail(LV_ERR_CONFIG,
                         "%s: %s is where this run writes its output; choose another run.dir",
                         inputs[i].key, inputs[i].path);
        }
    }
    free(out);
    return rc;
}

int lv_run_dir_check(const lv_config *config, int n_ranks)
{
    char *path = lv_path("%s/config.json", config->run.dir);
    const bool has_config = lv_file_exists(path);
    int rc = has_config ? check_config(path) : LV_OK;
    if (rc == LV_OK) rc = check_inputs(config);
    if (rc == LV_OK) rc = check_output(config, has_config);
    if (rc == LV_OK) rc = lv_metrics_check(config->run.dir);
    if (rc == LV_OK) rc = lv_checkpoint_check_own(config->run.dir);
    free(path);
    path = lv_path("%s/heartbeat", config->run.dir);
    if (rc == LV_OK && n_ranks > 1) rc = lv_heartbeat_check_dir(path);
    free(path);
    return rc;
}
