/* SPDX-License-Identifier: Apache-2.0
 *
 * llava inspect: what a path is.
 */
#include "tools/inspect/inspect.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/json/manifest.h"
#include "tools/cli.h"
#include "tools/terminal.h"
#include "tools/tools.h"
#include "train/checkpoint/checkpoint.h"

#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { PACK, CHECKPOINT, RUN, MODEL, A_FILE } path_kind;

/* A folder with a manifest.json. */
static int kind_by_manifest(path_kind *out, const char *dir)
{
    cJSON *manifest = NULL;
    const char *format = "";
    char *path = lv_path("%s/manifest.json", dir);
    int rc = lv_manifest_read(&manifest, path);
    if (rc == LV_OK && (rc = lv_json_string(manifest, "format", true, &format)) < 0) {
        lv_fail_within("%s", path);
    }
    if (rc == LV_OK && strcmp(format, lv_checkpoint_format) == 0) {
        *out = CHECKPOINT;
    } else if (rc == LV_OK && strcmp(format, lv_pack_format_name) == 0) {
        *out = PACK;
    } else if (rc == LV_OK) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: neither a pack nor a checkpoint: \"%s\"", path, format);
    }
    cJSON_Delete(manifest);
    free(path);
    return rc;
}

static size_t n_files(const char *dir, const char *pattern)
{
    char *path = lv_path("%s/%s", dir, pattern);
    glob_t found;
    size_t n = glob(path, GLOB_NOSORT, NULL, &found) == 0 ? found.gl_pathc : 0;
    if (n > 0) {
        globfree(&found);
    }
    free(path);
    return n;
}

/* Why a folder can not be inspected. */
static int fail_unknown(const char *dir)
{
    size_t n_samples = n_files(dir, "samples-*.h5*"), n_images = n_files(dir, "images-*.h5*");
    if (n_samples + n_images > 0) {
        return lv_fail(LV_ERR_FORMAT,
                       "%s: a pack that is not finished: %zu file%s of samples, %zu of images, no "
                       "manifest.json; `llava pack` with the same arguments goes on with it",
                       dir, n_samples, n_samples == 1 ? "" : "s", n_images);
    }
    if (n_files(dir, "rank-*.h5") > 0) {
        return lv_fail(LV_ERR_FORMAT,
                       "%s: a checkpoint that was not finished: no manifest.json in it", dir);
    }
    if (lv_inspect_has(dir, "language_model") || lv_inspect_has(dir, "vision_tower")) {
        return lv_fail(LV_ERR_FORMAT,
                       "%s: holds models, and is none: inspect %s/language_model or "
                       "%s/vision_tower",
                       dir, dir, dir);
    }
    return lv_fail(LV_ERR_FORMAT,
                   "%s: no manifest.json (pack, checkpoint), checkpoints (run) or config.json "
                   "(model) in it",
                   dir);
}

static int path_kind_of(path_kind *out, const char *path)
{
    if (!lv_file_exists(path)) {
        return lv_fail(LV_ERR_IO, "%s: there is no such file or directory", path);
    }
    if (!lv_dir_exists(path)) {
        *out = A_FILE;
    } else if (lv_inspect_has(path, "manifest.json")) {
        return kind_by_manifest(out, path);
    } else if (lv_inspect_has(path, "checkpoints") || lv_inspect_has(path, "metrics.jsonl")) {
        *out = RUN;
    } else if (lv_inspect_has(path, "config.json")) {
        *out = MODEL;
    } else {
        return fail_unknown(path);
    }
    return LV_OK;
}

/* A single file: weights, or something that is only a part of what can be inspected. */
static int inspect_file(const char *path)
{
    static const char HDF5[] = "\x89HDF\r\n\x1a\n";
    char start[8] = "";
    if (!lv_file_is_regular(path)) {
        return lv_fail(LV_ERR_IO, "%s: neither a file nor a directory", path);
    }
    FILE *file = fopen(path, "rb");
    if (!file) {
        return lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    }
    size_t n = fread(start, 1, sizeof start, file);
    fclose(file);
    const size_t length = strlen(path);
    bool is_h5 = length > 3 && strcmp(path + length - 3, ".h5") == 0; /* it may begin otherwise */
    if (is_h5 || (n == sizeof start && memcmp(start, HDF5, sizeof start) == 0)) {
        return lv_fail(
            LV_ERR_FORMAT,
            "%s: an HDF5 file, one part of a pack or of a checkpoint: inspect its folder", path);
    }
    if (n > 0 && (start[0] == '{' || start[0] == '[')) {
        return lv_fail(LV_ERR_FORMAT, "%s: a JSON file: inspect the folder that it belongs to",
                       path);
    }
    return lv_inspect_weights_file(path);
}

/* ---- flags ---- */

/* The first flag that is given, NULL: none. */
static const char *first_flag(const lv_inspect_options *o)
{
    return o->sample != LV_NOT_GIVEN           ? "--sample"
           : o->id                             ? "--id"
           : o->tokenizer                      ? "--tokenizer"
           : o->png                            ? "--png"
           : o->image != LV_NOT_GIVEN          ? "--image"
           : o->aspect                         ? "--aspect"
           : o->image_size != LV_NOT_GIVEN     ? "--image-size"
           : o->rows_per_image != LV_NOT_GIVEN ? "--rows-per-image"
           : o->max_length != LV_NOT_GIVEN     ? "--max-length"
           : o->quick                          ? "--quick"
           : o->json                           ? "--json"
                                               : NULL;
}

static int check_flags(const lv_inspect_options *o)
{
    bool one = o->sample != LV_NOT_GIVEN || o->id;
    if (o->sample != LV_NOT_GIVEN && o->id) {
        return lv_fail(LV_ERR_CONFIG, "--sample and --id: one of them");
    }
    if (!one && (o->png || o->tokenizer)) {
        return lv_fail(LV_ERR_CONFIG, "%s needs --sample K or --id ID",
                       o->png ? "--png" : "--tokenizer");
    }
    if (!o->png && (o->image != LV_NOT_GIVEN || o->aspect)) {
        return lv_fail(LV_ERR_CONFIG, "%s needs --png FILE", o->aspect ? "--aspect" : "--image");
    }
    return one && o->quick
               ? lv_fail(LV_ERR_CONFIG, "--quick is for a whole pack: of one sample nothing but "
                                        "itself is read and checked")
               : LV_OK;
}

static int inspect(const char *path, const lv_inspect_options *options)
{
    path_kind what = A_FILE;
    int rc = check_flags(options);
    if (rc == LV_OK) rc = path_kind_of(&what, path);
    if (rc < 0) {
        return rc;
    }
    if (what != PACK && first_flag(options)) {
        return lv_fail(LV_ERR_CONFIG, "%s is for packs, and %s is none", first_flag(options), path);
    }
    switch (what) {
    case PACK:
        return lv_inspect_pack(path, options);
    case CHECKPOINT:
        return lv_inspect_checkpoint(path);
    case RUN:
        return lv_inspect_run(path);
    case MODEL:
        return lv_inspect_model(path);
    case A_FILE:
        break;
    }
    return inspect_file(path);
}

static const char SUMMARY[] =
    "Say what is in a pack, a checkpoint, a run or a model, and whether it is whole: what this "
    "program\nwrote carries checksums, and every byte is compared. Exit status 1 if one differs.";

static const char DETAILS[] =
    "The flags are for packs. One sample is shown as training sees it: its prompt, then its ids, "
    "what is\nsupervised in green on a terminal, elsewhere between " LV_MARK_BEGIN
    " and " LV_MARK_END
    ". <image> and special pieces are bold on a\nterminal. A newline is shown as \u21B5 and a new "
    "line, a tab as \u21E5; these four signs and all control and\nformat characters that the data "
    "holds are shown as <U+001B>.";

int lv_tool_inspect(int argc, char **argv)
{
    const char *path = NULL;
    lv_inspect_options o = {.sample = LV_NOT_GIVEN,
                            .image_size = LV_NOT_GIVEN,
                            .image = LV_NOT_GIVEN,
                            .max_length = LV_NOT_GIVEN,
                            .rows_per_image = LV_NOT_GIVEN};
    const lv_flag flags[] = {
        {.name = "--sample",
         .kind = LV_FLAG_INT,
         .value = &o.sample,
         .placeholder = "K",
         .help = "show sample K, from 0",
         .max = 9e15},
        {.name = "--id",
         .kind = LV_FLAG_TEXT,
         .value = &o.id,
         .placeholder = "ID",
         .help = "show the first sample with this id"},
        {.name = "--tokenizer",
         .kind = LV_FLAG_TEXT,
         .value = &o.tokenizer,
         .placeholder = "DIR|FILE",
         .help = "to show its text with (default the copy in the pack)"},
        {.name = "--png",
         .kind = LV_FLAG_TEXT,
         .value = &o.png,
         .placeholder = "FILE",
         .help = "write the sample's image as the model sees it, cropped or padded and resized"},
        {.name = "--image",
         .kind = LV_FLAG_INT,
         .value = &o.image,
         .placeholder = "I",
         .help = "for --png: which image of the sample, from 0 (default 0)",
         .max = INT32_MAX},
        {.name = "--aspect",
         .kind = LV_FLAG_CHOICE,
         .value = &o.aspect,
         .placeholder = "square|pad",
         .help = "for --png: crop or pad (default as the pack stores pixels, or square)"},
        {.name = "--image-size",
         .kind = LV_FLAG_INT,
         .value = &o.image_size,
         .placeholder = "N",
         .help = "edge in pixels (default as the pack stores pixels, or 336)",
         .min = 1,
         .max = 4096},
        {.name = "--rows-per-image",
         .kind = LV_FLAG_INT,
         .value = &o.rows_per_image,
         .placeholder = "R",
         .help = "rows that an image becomes (default (N/14)^2: 576 for 336 pixels, 256 for 224)",
         .min = 1,
         .max = 1 << 20},
        {.name = "--max-length",
         .kind = LV_FLAG_INT,
         .value = &o.max_length,
         .placeholder = "N",
         .help = "rows to which training would cut a sample (default 2048)",
         .min = 1,
         .max = INT32_MAX},
        {.name = "--quick",
         .kind = LV_FLAG_SWITCH,
         .value = &o.quick,
         .help = "do not read and compare every byte of the pack"},
        {.name = "--json",
         .kind = LV_FLAG_SWITCH,
         .value = &o.json,
         .help = "print one JSON object, for scripts"},
    };
    const lv_cli cli = {.name = "inspect",
                        .positional = "FILE|DIR",
                        .positional_value = &path,
                        .summary = SUMMARY,
                        .details = DETAILS,
                        .flags = flags,
                        .n_flags = sizeof flags / sizeof flags[0]};
    int rc = lv_cli_start(&cli, NULL, argc, argv);
    if (rc == LV_OK) rc = inspect(path, &o);
    return lv_cli_finish(&cli, NULL, rc);
}
