/* SPDX-License-Identifier: Apache-2.0
 *
 * The HDF5 file of one rank in a checkpoint: the ranges of flat elements that it owns ("pieces",
 * int64 (n,2): begin and end of each, ascending, none empty) and their values, range after range, as
 * datasets "param", f32, and "exp_avg" and "exp_avg_sq" (AdamW's m and v), f32 or, of moments of bf16,
 * uint16.
 */
#ifndef LV_TRAIN_CHECKPOINT_FILE_H
#define LV_TRAIN_CHECKPOINT_FILE_H

#include "train/model/params/params.h"

enum { LV_RANK_PARAM, LV_RANK_EXP_AVG, LV_RANK_EXP_AVG_SQ, LV_RANK_BUFFERS };

/* The values that a rank owns: buffers of own_count elements; LV_RANK_PARAM may be NULL: the master
 * values in params. */
typedef struct {
    lv_params *params;
    void *buffers[LV_RANK_BUFFERS];
    lv_dtype moments; /* of the buffers but LV_RANK_PARAM, which is LV_F32 */
} lv_rank_values;

/* lv_rank_values_of: moments NULL: none. */
lv_rank_values lv_rank_values_of(lv_params *params, const lv_moments *moments);
lv_dtype lv_rank_values_dtype(const lv_rank_values *values, int buffer);

/* lv_rank_values_element_bytes: of one element in all buffers. */
int64_t lv_rank_values_element_bytes(const lv_rank_values *values);

/* lv_rank_values_at: the elements of the rank's shard of one bucket. */
void *lv_rank_values_at(const lv_rank_values *values, int buffer, const lv_bucket_shard *own);

/* lv_rank_file_write: a new file, not yet synced, of all buffers. On any thread; in blocks, so that
 * the loader's threads can read packs in between (one lock for all of HDF5).
 * fails  LV_ERR_IO with the path; an incomplete file is removed */
int lv_rank_file_write(const char *path, const lv_rank_values *values);

/* lv_rank_file_ranges: the ranges in a file; free() them.
 * fails  LV_ERR_FORMAT if they are not ascending ranges of [0, count), LV_ERR_IO */
int lv_rank_file_ranges(lv_range **out, int64_t *n, const char *path, int64_t count);

/* A parameter's first flat element when it was saved, and in this run: the order of parameters may
 * differ, as between an f32 and a bf16 run. */
typedef struct {
    int64_t saved_begin, begin, count;
} lv_param_layout;

typedef struct {
    size_t n;
    lv_param_layout *params; /* ascending by saved_begin, contiguous */
} lv_layout;

/* lv_rank_file_read: the elements of these ranges that this rank owns; if there are none the file is
 * not opened.
 * in     ranges: those of the file
 * out    values: into the buffers that are not NULL, and LV_RANK_PARAM
 * fails  LV_ERR_FORMAT if the datasets do not fit the ranges, LV_ERR_IO */
int lv_rank_file_read(const char *path, const lv_range *ranges, int64_t n, const lv_layout *layout,
                      const lv_rank_values *values);

#endif
