/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_weights_format: a format of files of weights. A format is one file that defines it, and one
 * line in formats.def.
 */
#ifndef LV_TRAIN_MODEL_WEIGHTS_FORMATS_H
#define LV_TRAIN_MODEL_WEIGHTS_FORMATS_H

#include "data/base/file.h"
#include "train/model/weights/weights.h"

/* A tensor of a file. */
typedef struct {
    char *name;             /* owned; weight.name points to it */
    lv_weight weight;       /* weight.dtype is undefined unless readable */
    const char *dtype_name; /* as safetensors calls it: "F32" */
    bool readable;          /* the dtype is one of lv_dtype */
    size_t file;            /* for the caller */
} lv_header_entry;

/* lv_weights_format: one row of the table. Lists of names end with NULL. */
typedef struct {
    const char *name;
    const char *const *suffixes; /* of its files: ".safetensors" */
    /* Whether it is one, of a file with no suffix of any format. NULL: never. */
    bool (*is)(const lv_file_map *map);
    const char *const *files; /* which alone holds a directory's weights, in order of preference */
    const char *index; /* JSON whose "weight_map" has the file of each tensor, after files[0] */
    /* All tensors of a mapped file, which is untrusted input, in the order of their bytes.
     * out    entries, n: malloc'ed, the caller's to free with their names, also after a failure;
     *        header_bytes: offset of the first tensor
     * fails  LV_ERR_FORMAT, LV_ERR_UNSUPPORTED (more than LV_MAX_DIMS dims), LV_ERR_MEMORY */
    int (*parse)(lv_header_entry **entries, size_t *n, size_t *header_bytes,
                 const lv_file_map *map);
    /* Instead of parse, of a format that is recognised but not read: LV_ERR_UNSUPPORTED with the
     * way out. in  path: the file, or the directory that has a file of that name */
    int (*refuse)(const char *path, const char *name);
} lv_weights_format;

/* lv_header_dtype_name: its name in safetensors: "BF16". */
const char *lv_header_dtype_name(lv_dtype dtype);

#endif
