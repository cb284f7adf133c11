/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors in safetensors files, mapped: one file, or a directory with model.safetensors or with
 * several files and model.safetensors.index.json.
 */
#ifndef LV_TRAIN_MODEL_WEIGHTS_H
#define LV_TRAIN_MODEL_WEIGHTS_H

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
 * file, length = shape, no overlap.
 * fails  LV_ERR_IO; LV_ERR_FORMAT naming file and tensor; LV_ERR_UNSUPPORTED for .bin files and
 *        other dtypes, saying how to convert them */
int lv_weights_open(lv_weights **out, const char *path);
void lv_weights_close(lv_weights **weights);

size_t lv_weights_count(const lv_weights *weights);
const lv_weight *lv_weights_at(const lv_weights *weights, size_t i); /* in name order; borrowed */
const lv_weight *lv_weights_find(const lv_weights *weights, const char *name); /* NULL if none */

/* lv_weights_fingerprint: of sizes, headers and a fixed sample of the data of all files; cheap also
 * for a large model. */
int lv_weights_fingerprint(const lv_weights *weights, uint64_t *out);

/* lv_weights_writer: one directory of safetensors files, a new file whenever max_file_bytes would
 * be passed, and the index if there is more than one; files appear whole or not at all. */
typedef struct {
    const char *name;
    const lv_tensor *tensor; /* written as dtype */
    lv_dtype dtype;
} lv_weight_source;
int lv_weights_write(const char *dir, const lv_weight_source *sources, size_t n,
                     int64_t max_file_bytes);

/* lv_weights_write_file: a single file of any name. */
int lv_weights_write_file(const char *path, const lv_weight_source *sources, size_t n);

#endif
