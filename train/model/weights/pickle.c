/* SPDX-License-Identifier: Apache-2.0
 *
 * PyTorch's pickled weights: recognised, and refused with the command that converts them.
 */
#include "train/model/weights/formats.h"

#include "autograd/error.h"

#include <stdlib.h>
#include <string.h>

static const char PYTORCH_MODEL[] = "pytorch_model";
static const char *const suffixes[] = {".bin", ".pt", ".pth", NULL};
static const char *const files[] = {"pytorch_model.bin", "mm_projector.bin", NULL};

/* A zip file, or a pickle of protocol 2. */
static bool is_pickle(const lv_file_map *map)
{
    return map->n_bytes >= 4 &&
           (memcmp(map->data, "PK\3\4", 4) == 0 || memcmp(map->data, "\x80\2", 2) == 0);
}

static int refuse(const char *path, const char *name)
{
    const char *dot = strrchr(name, '.');
    const bool in_dir = lv_dir_exists(path);
    const bool whole = in_dir && strncmp(name, PYTORCH_MODEL, strlen(PYTORCH_MODEL)) == 0;
    char *to = lv_path("%.*s.safetensors", dot ? (int)(dot - name) : (int)strlen(name), name);
    int rc = lv_fail(
        LV_ERR_UNSUPPORTED,
        "%s: PyTorch's pickled weights are not read. Convert them once, in that directory:\n  "
        "python3 -c \"import glob, torch; from safetensors.torch import save_file; t = {}; "
        "[t.update(torch.load(f, map_location='cpu', weights_only=True)) for f in "
        "sorted(glob.glob('%s'))]; save_file({k: v.contiguous().clone() for k, v in t.items()}, "
        "'%s', {'format': 'pt'})\"",
        path, whole ? "pytorch_model*.bin" : name,
        whole    ? "model.safetensors"
        : in_dir ? "projector.safetensors"
                 : to);
    free(to);
    return rc;
}

const lv_weights_format lv_weights_format_pickle = {
    .name = "pickle",
    .suffixes = suffixes,
    .is = is_pickle,
    .files = files,
    .index = "pytorch_model.bin.index.json",
    .refuse = refuse,
};
