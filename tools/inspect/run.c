/* SPDX-License-Identifier: Apache-2.0
 *
 * llava inspect: checkpoints, and the directory of a run.
 */
#include "tools/inspect/inspect.h"
#include "tools/terminal.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "train/checkpoint/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_member(const cJSON *object, const char *key, const char *label)
{
    const cJSON *item = lv_json_find(object, key);
    char *text = item ? lv_json_print_line(item) : NULL;
    if (text) {
        printf("  %-20s %s\n", label, text);
    }
    free(text);
}

int lv_inspect_checkpoint(const char *dir)
{
    const lv_comm single = lv_comm_single();
    cJSON *manifest = NULL;
    int rc = lv_checkpoint_manifest(&manifest, dir);
    if (rc < 0) {
        return rc;
    }
    printf("%s: a checkpoint\n", dir);
    print_member(manifest, "step", "step");
    print_member(manifest, "n_updates", "updates applied");
    print_member(manifest, "n_ranks", "written by ranks");
    print_member(manifest, "n_elements", "trained elements");
    lv_inspect_count("trained tensors", cJSON_GetArraySize(lv_json_find(manifest, "parameters")));
    cJSON_Delete(manifest);
    return lv_inspect_result(lv_checkpoint_verify(&single, dir));
}

static int is_step(const struct dirent *entry)
{
    return strncmp(entry->d_name, "step-", 5) == 0;
}

static void inspect_one(const char *folder, const char *name, int *damaged)
{
    const lv_comm single = lv_comm_single();
    char *path = lv_path("%s/%s", folder, name);
    if (strchr(name, '.')) {
        printf("  %-20s not in use\n", name);
    } else if (lv_checkpoint_verify(&single, path) == LV_OK) {
        printf("  %-20s whole\n", name);
    } else {
        printf("  %-20s ", name);
        lv_print_shown(stdout, lv_error_message(), strlen(lv_error_message()));
        printf("\n");
        *damaged += 1;
    }
    free(path);
}

/* One line a checkpoint; *damaged counts those that are not whole. */
static int inspect_checkpoints(const char *dir, int *damaged)
{
    struct dirent **found = NULL;
    char *folder = lv_path("%s/checkpoints", dir);
    int n = scandir(folder, &found, is_step, alphasort);
    int rc = n >= 0 || errno == ENOENT ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: reading", folder);
    if (rc == LV_OK && n <= 0) {
        printf("  no checkpoint\n");
    }
    for (int i = 0; i < n; i++) {
        inspect_one(folder, found[i]->d_name, damaged);
        free(found[i]);
    }
    free(found);
    free(folder);
    return rc;
}

int lv_inspect_run(const char *dir)
{
    int damaged = 0;
    printf("%s: the directory of a run\n", dir);
    int rc = inspect_checkpoints(dir, &damaged);
    if (rc == LV_OK && damaged > 0) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: %d damaged checkpoint%s", dir, damaged,
                     damaged == 1 ? "" : "s");
    }
    if (rc == LV_OK && lv_inspect_has(dir, "projector.safetensors")) {
        printf("  projector.safetensors\n");
        rc = lv_inspect_digests(dir, "projector.safetensors");
    }
    if (rc == LV_OK && lv_inspect_has(dir, "model")) {
        char *model = lv_path("%s/model", dir);
        rc = lv_inspect_model(model);
        free(model);
    }
    return rc;
}
