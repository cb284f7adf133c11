/* SPDX-License-Identifier: Apache-2.0
 *
 * The header of one safetensors file, checked as untrusted input:
 *   8 bytes n, little endian; n bytes of JSON {"name": {"dtype", "shape", "data_offsets"}, ...};
 *   the tensors' bytes, without holes.
 * source github.com/huggingface/safetensors, README: Format
 */
#ifndef LV_TRAIN_MODEL_WEIGHTS_SAFETENSORS_H
#define LV_TRAIN_MODEL_WEIGHTS_SAFETENSORS_H

#include "data/base/file.h"
#include "train/model/weights/weights.h"

typedef struct {
    char *name;             /* owned; weight.name points to it */
    lv_weight weight;       /* weight.dtype is undefined unless readable */
    const char *dtype_name; /* as in the file: "F32" */
    bool readable;          /* the dtype is one of lv_dtype */
    size_t file;            /* for the caller */
} lv_header_entry;

/* lv_header_parse: all tensors of a mapped file, in the order of their bytes.
 * out    entries: lv_header_free; header_bytes: offset of the first tensor
 * fails  LV_ERR_FORMAT, LV_ERR_UNSUPPORTED (more than LV_MAX_DIMS dims), LV_ERR_MEMORY */
int lv_header_parse(lv_header_entry **entries, size_t *n, size_t *header_bytes,
                    const lv_file_map *map);
void lv_header_free(lv_header_entry *entries, size_t n);

/* lv_header_dtype_name: its name in safetensors: "BF16". */
const char *lv_header_dtype_name(lv_dtype dtype);

#endif
