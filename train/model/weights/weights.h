/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors in safetensors files, mapped: one file, or a directory with model.safetensors or with
 * several files and model.safetensors.index.json.
 */
#ifndef LV_TRAIN_MODEL_WEIGHTS_WEIGHTS_H
#define LV_TRAIN_MODEL_WEIGHTS_WEIGHTS_H

#include "autograd/tensor.h"

typedef struct lv_weights lv_weights;

typedef struct {
    const char *name;
    lv_dtype dtype;
    int n_dims;
    int64_t shape[LV_MAX_DIMS];
    const void *data; /* mapped, at any alignment */
    int64_t n_bytes;
} lv_weight;

/* lv_weights_open: map the file(s) and check every header entry: dtype, shape, offsets inside the
 * file, length = shape, no overlap, no hole; and an index against its files. A directory with
 * only a projector.safetensors is that file. Tensors of other dtypes (an integer buffer) are kept
 * apart: see lv_weights_other_at.
 * fails  LV_ERR_IO; LV_ERR_FORMAT naming file and tensor; LV_ERR_UNSUPPORTED for .bin files,
 *        saying how to convert them */
int lv_weights_open(lv_weights **out, const char *path);
void lv_weights_close(lv_weights **weights);

/* lv_weights_exist: whether there is a file, or a directory with weights that lv_weights_open reads
 * or refuses by name. */
bool lv_weights_exist(const char *path);

size_t lv_weights_count(const lv_weights *weights);
const lv_weight *lv_weights_at(const lv_weights *weights, size_t i); /* in name order; borrowed */

/* Tensors that are in the files but not read: their names, in order, and their dtype ("I64"). */
size_t lv_weights_other_count(const lv_weights *weights);
const char *lv_weights_other_at(const lv_weights *weights, size_t i, const char **dtype);
const lv_weight *lv_weights_other_weight(const lv_weights *weights, size_t i); /* without a dtype */

/* lv_weight_check_finite: reads all of it, on all threads.
 * fails  LV_ERR_FORMAT naming the tensor and its first element that is NaN or infinite */
int lv_weight_check_finite(const lv_weight *weight);

/* lv_weights_forget: releases the memory of pages that were read and copied. They can be read
 * again.
 * in     weight: of weights that are open */
void lv_weights_forget(const lv_weight *weight);

/* lv_weights_read: the n bytes at data, if one of the files is mapped there, by reading it.
 * returns 1; 0 if none is
 * fails  LV_ERR_IO with the path, also if the file has become shorter */
int lv_weights_read(const lv_weights *weights, void *out, const void *data, int64_t n);

/* lv_weights_fingerprint: of sizes, headers and a fixed sample of the data of all files; cheap also
 * for a large model. */
uint64_t lv_weights_fingerprint(const lv_weights *weights);

typedef struct {
    const char *name; /* without quotes, backslashes, control characters: JSON escapes them */
    const lv_tensor *tensor; /* written as dtype */
    lv_dtype dtype;
    int64_t extra_rows;       /* appended along the first dim, ... */
    const lv_real *extra_row; /* ... each a copy of this one */
    const lv_weight *as_is;   /* instead of a tensor: written byte for byte ... */
    const char *as_is_dtype;  /* ... with this name of its dtype */
} lv_weight_source;

/* Called after each piece of data. */
typedef void (*lv_weights_progress)(int64_t done_bytes, int64_t all_bytes);

/* lv_weights_write: safetensors files in the order given: model.safetensors, or a new file
 * whenever max_file_bytes would be passed and the index. Values are converted in pieces, no tensor
 * is copied whole; each file appears whole or not at all. Files of an earlier model that would be
 * read instead are removed.
 * fails  LV_ERR_IO, LV_ERR_MEMORY */
int lv_weights_write(const char *dir, const lv_weight_source *sources, size_t n,
                     int64_t max_file_bytes);

/* lv_weights_write_told: the same, calling progress. */
int lv_weights_write_told(const char *dir, const lv_weight_source *sources, size_t n,
                          int64_t max_file_bytes, lv_weights_progress progress);

/* lv_weights_write_file: a single file of any name. */
int lv_weights_write_file(const char *path, const lv_weight_source *sources, size_t n);

#endif
