/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/cli.h"
#include "tools/tools.h"

#include "autograd/error.h"
#include "data/file.h"
#include "data/json.h"
#include "data/manifest.h"
#include "data/pack.h"
#include "train/checkpoint.h"
#include "train/model/hf.h"
#include "train/model/projector.h"
#include "train/model/weights.h"

#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 16 }; /* tensors of a file */

static bool has(const char *dir, const char *name)
{
    char *path = lv_path("%s/%s", dir, name);
    bool there = lv_file_exists(path);
    free(path);
    return there;
}

static void print_size(const char *label, double bytes)
{
    static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB"};
    int unit = 0;
    for (; bytes >= 1000 && unit < 4; unit++) {
        bytes /= 1000;
    }
    printf("  %-20s %.*f %s\n", label, unit > 0, bytes, units[unit]);
}

static void print_count(const char *label, int64_t n)
{
    printf("  %-20s %" PRId64 "\n", label, n);
}

static void print_member(const cJSON *object, const char *key, const char *label)
{
    const cJSON *item = lv_json_find(object, key);
    char *text = item ? cJSON_PrintUnformatted(item) : NULL;
    if (text) {
        printf("  %-20s %s\n", label, text);
    }
    cJSON_free(text);
}

static int verdict(int rc)
{
    if (rc == LV_OK) {
        printf("  whole: every byte is as it was written\n");
    }
    return rc;
}

/* ---- packs ---- */

static int inspect_pack(const char *dir)
{
    lv_pack *pack = NULL;
    int64_t n_tokens = 0, n_supervised = 0, n_images = 0, longest = 0, text_only = 0;
    int rc = lv_pack_verify(dir);
    rc = rc == LV_OK ? lv_pack_open(&pack, dir) : rc;
    if (rc < 0) {
        return rc;
    }
    const lv_sample_counts *counts = lv_pack_counts(pack);
    for (int64_t i = 0; i < lv_pack_n_samples(pack); i++) {
        n_tokens += counts[i].n_tokens;
        n_supervised += counts[i].n_supervised;
        n_images += counts[i].n_images;
        text_only += counts[i].n_images == 0;
        longest = counts[i].n_tokens > longest ? counts[i].n_tokens : longest;
    }
    lv_aspect aspect = LV_ASPECT_SQUARE;
    int stored_size = lv_pack_stored_size(pack, &aspect);
    printf("%s: a pack\n", dir);
    printf("  %-20s %s\n", "template", lv_pack_template(pack));
    printf("  %-20s %s\n", "tokenizer", lv_pack_tokenizer_fingerprint(pack));
    if (stored_size > 0) {
        printf("  %-20s RGB %d x %d, %s\n", "images stored", stored_size, stored_size,
               aspect == LV_ASPECT_PAD ? "pad" : "square");
    } else {
        printf("  %-20s as found\n", "images stored");
    }
    print_count("samples", lv_pack_n_samples(pack));
    print_count("of them text only", text_only);
    print_count("images in samples", n_images);
    print_count("tokens", n_tokens);
    print_count("supervised tokens", n_supervised);
    print_count("longest, tokens", longest);
    lv_pack_close(&pack);
    return verdict(LV_OK);
}

/* ---- checkpoints ---- */

static int inspect_checkpoint(const char *dir)
{
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
    print_count("trained tensors", cJSON_GetArraySize(lv_json_find(manifest, "parameters")));
    cJSON_Delete(manifest);
    return verdict(lv_checkpoint_verify(dir));
}

/* ---- models ---- */

/* Compares with the digests beside it, if this program wrote it. name: one file, NULL: all. */
static int check_digests(const char *dir, const char *name)
{
    cJSON *digests = NULL;
    if (!has(dir, lv_hf_digests_name)) {
        printf("  no %s: not written by this program, so it can not be told whether it is whole\n",
               lv_hf_digests_name);
        return LV_OK;
    }
    char *path = lv_path("%s/%s", dir, lv_hf_digests_name);
    int rc = lv_manifest_read(&digests, path);
    free(path);
    if (rc == LV_OK && name && !lv_json_find(lv_json_find(digests, "files"), name)) {
        printf("  %s does not list it, so it can not be told whether it is whole\n",
               lv_hf_digests_name);
    } else if (rc == LV_OK) {
        rc = verdict(lv_manifest_check_files(digests, dir));
    }
    cJSON_Delete(digests);
    return rc;
}

static void print_weights(const lv_weights *weights)
{
    int64_t n_elements = 0, n_bytes = 0, n_of[3] = {0};
    for (size_t i = 0; i < lv_weights_count(weights); i++) {
        const lv_weight *w = lv_weights_at(weights, i);
        int64_t count = w->n_bytes / (int64_t)lv_dtype_bytes(w->dtype);
        n_elements += count;
        n_bytes += w->n_bytes;
        n_of[w->dtype] += count;
    }
    print_count("tensors", (int64_t)lv_weights_count(weights));
    print_count("parameters", n_elements);
    for (int dtype = LV_F32; dtype <= LV_F16; dtype++) {
        if (n_of[dtype] > 0 && n_of[dtype] < n_elements) {
            printf("  %-20s %" PRId64 " %s\n", "of them", n_of[dtype], lv_dtype_name(dtype));
        } else if (n_of[dtype] > 0) {
            printf("  %-20s %s\n", "stored as", lv_dtype_name(dtype));
        }
    }
    print_size("size", (double)n_bytes);
}

static void print_text_shape(const lv_llama_config *c)
{
    printf("  %-20s %" PRId64 " layers, hidden %" PRId64 ", %" PRId64 " heads (%" PRId64
           " key/value), inner %" PRId64 ", vocabulary %" PRId64 "%s\n",
           "language model", c->n_layers, c->hidden_size, c->n_heads, c->n_kv_heads,
           c->intermediate_size, c->vocab_size, c->tied ? ", tied" : "");
}

static void print_vision_shape(const lv_clip_config *c)
{
    printf("  %-20s %" PRId64 " layers, hidden %" PRId64 ", %" PRId64 " heads, image %" PRId64
           ", patch %" PRId64 "\n",
           "vision tower", c->n_layers, c->hidden_size, c->n_heads, c->image_size, c->patch_size);
}

static int print_shapes(const char *dir)
{
    static const char *const kinds[] = {"a CLIP vision tower", "a LLaMA",
                                        "a LLaVA in Hugging Face's form",
                                        "a LLaVA in its own form"};
    lv_hf_kind kind;
    lv_llava_config c = {0};
    bool needs_tower = false;
    char type[32];
    int rc = lv_hf_kind_of(&kind, dir);
    if (rc == LV_OK) {
        printf("%s: %s\n", dir, kinds[kind]);
        rc = kind == LV_HF_CLIP    ? lv_hf_clip_config(&c.vision, dir)
             : kind == LV_HF_LLAMA ? lv_hf_llama_config(&c.text, dir)
                                   : lv_hf_llava_config(&c, &needs_tower, dir);
    }
    if (rc < 0) {
        return rc;
    }
    if (c.vision.n_layers > 0) {
        print_vision_shape(&c.vision);
    }
    if (kind == LV_HF_LLAVA || kind == LV_HF_LLAVA_ORIGINAL) {
        printf("  %-20s %s\n", "projector", lv_projector_type(type, sizeof type, &c.projector));
    }
    if (c.text.n_layers > 0) {
        print_text_shape(&c.text);
    }
    return LV_OK;
}

static int inspect_model(const char *dir)
{
    lv_weights *weights = NULL;
    int rc = print_shapes(dir);
    rc = rc == LV_OK ? lv_weights_open(&weights, dir) : rc;
    if (rc == LV_OK) {
        print_weights(weights);
        rc = check_digests(dir, NULL);
    }
    lv_weights_close(&weights);
    return rc;
}

static int inspect_weights_file(const char *path)
{
    lv_weights *weights = NULL;
    int rc = lv_weights_open(&weights, path);
    if (rc < 0) {
        return rc;
    }
    printf("%s: a file of weights\n", path);
    print_weights(weights);
    for (size_t i = 0; i < lv_weights_count(weights) && i < SHOWN; i++) {
        const lv_weight *w = lv_weights_at(weights, i);
        char shape[96];
        printf("    %s %s %s\n", w->name, lv_dtype_name(w->dtype),
               lv_shape_text(shape, sizeof shape, w->n_dims, w->shape));
    }
    if (lv_weights_count(weights) > SHOWN) {
        printf("    ... and %zu more\n", lv_weights_count(weights) - SHOWN);
    }
    lv_weights_close(&weights);
    char *dir = lv_path_dir(path);
    const char *slash = strrchr(path, '/');
    rc = check_digests(dir, slash ? slash + 1 : path);
    free(dir);
    return rc;
}

/* ---- runs ---- */

/* One line a checkpoint; *damaged counts those that are not whole. */
static int inspect_checkpoints(const char *dir, int *damaged)
{
    char *pattern = lv_path("%s/checkpoints/step-*", dir);
    glob_t found;
    int status = glob(pattern, 0, NULL, &found);
    free(pattern);
    if (status != 0) {
        printf("  no checkpoint\n");
        return status == GLOB_NOMATCH ? LV_OK : lv_fail(LV_ERR_IO, "%s: reading", dir);
    }
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *name = strrchr(found.gl_pathv[i], '/') + 1;
        if (strchr(name, '.')) {
            printf("  %-20s not in use\n", name);
        } else if (lv_checkpoint_verify(found.gl_pathv[i]) == LV_OK) {
            printf("  %-20s whole\n", name);
        } else {
            printf("  %-20s %s\n", name, lv_error_message());
            *damaged += 1;
        }
    }
    globfree(&found);
    return LV_OK;
}

static int inspect_run(const char *dir)
{
    int damaged = 0;
    printf("%s: the directory of a run\n", dir);
    int rc = inspect_checkpoints(dir, &damaged);
    if (rc == LV_OK && damaged > 0) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: %d damaged checkpoint%s", dir, damaged,
                     damaged == 1 ? "" : "s");
    }
    if (rc == LV_OK && has(dir, "projector.safetensors")) {
        printf("  projector.safetensors\n");
        rc = check_digests(dir, "projector.safetensors");
    }
    if (rc == LV_OK && has(dir, "model")) {
        char *model = lv_path("%s/model", dir);
        rc = inspect_model(model);
        free(model);
    }
    return rc;
}

/* ---- which of them ---- */

static int inspect_manifest_dir(const char *dir)
{
    cJSON *manifest = NULL;
    const char *format = "";
    char *path = lv_path("%s/manifest.json", dir);
    int rc = lv_manifest_read(&manifest, path);
    if (rc == LV_OK && (rc = lv_json_string(manifest, "format", true, &format)) < 0) {
        lv_fail_within("%s", path);
    }
    if (rc == LV_OK && strcmp(format, lv_checkpoint_format) == 0) {
        rc = inspect_checkpoint(dir);
    } else if (rc == LV_OK && strcmp(format, lv_pack_format_name) == 0) {
        rc = inspect_pack(dir);
    } else if (rc == LV_OK) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: neither a pack nor a checkpoint: \"%s\"", path, format);
    }
    cJSON_Delete(manifest);
    free(path);
    return rc;
}

/* A single file: weights, or something that is only a part of what can be inspected. */
static int inspect_file(const char *path)
{
    static const char HDF5[] = "\x89HDF\r\n\x1a\n";
    char start[8] = "";
    FILE *file = fopen(path, "rb");
    if (!file) {
        return lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    }
    size_t n = fread(start, 1, sizeof start, file);
    fclose(file);
    if (n == sizeof start && memcmp(start, HDF5, sizeof start) == 0) {
        return lv_fail(
            LV_ERR_FORMAT,
            "%s: an HDF5 file, one part of a pack or of a checkpoint: inspect its folder", path);
    }
    if (n > 0 && (start[0] == '{' || start[0] == '[')) {
        return lv_fail(LV_ERR_FORMAT, "%s: a JSON file: inspect the folder that it belongs to",
                       path);
    }
    return inspect_weights_file(path);
}

static int inspect(const char *path)
{
    if (!lv_file_exists(path)) {
        return lv_fail(LV_ERR_IO, "%s: there is no such file or directory", path);
    }
    if (!lv_dir_exists(path)) {
        return inspect_file(path);
    }
    if (has(path, "manifest.json")) {
        return inspect_manifest_dir(path);
    }
    if (has(path, "checkpoints") || has(path, "metrics.jsonl")) {
        return inspect_run(path);
    }
    if (has(path, "config.json")) {
        return inspect_model(path);
    }
    if (has(path, "language_model") || has(path, "vision_tower")) {
        return lv_fail(LV_ERR_FORMAT,
                       "%s: holds models, and is none: inspect %s/language_model or "
                       "%s/vision_tower",
                       path, path, path);
    }
    return lv_fail(LV_ERR_FORMAT,
                   "%s: no manifest.json (pack, checkpoint), checkpoints (run) or config.json "
                   "(model) in it; a pack or checkpoint without its manifest was never finished",
                   path);
}

int lv_tool_inspect(int argc, char **argv)
{
    const char *path = NULL;
    const lv_cli cli = {
        .name = "inspect",
        .positional = "FILE|DIR",
        .positional_value = &path,
        .summary =
            "Say what is in a pack, a checkpoint, a run or a model, and whether it is whole: "
            "what this program\nwrote carries checksums, and every byte is compared. Exit "
            "status 1 if one differs."};
    int rc = lv_cli_start(&cli, NULL, argc, argv);
    rc = rc == LV_OK ? inspect(path) : rc;
    return lv_cli_finish(&cli, NULL, rc);
}
