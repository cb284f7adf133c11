/* SPDX-License-Identifier: Apache-2.0
 *
 * The HDF5 side of a checkpoint: one rank's file, with the pieces of the flat elements that it owns
 * ("pieces", int64 (n,2): begin and end of each, ascending, none empty) and their values, piece
 * after piece, as f32 datasets "param", "exp_avg" and "exp_avg_sq" (AdamW's m and v).
 */
#ifndef LV_TRAIN_CHECKPOINT_FILE_H
#define LV_TRAIN_CHECKPOINT_FILE_H

#include "train/model/params/params.h"

enum { LV_RANK_PARAM, LV_RANK_EXP_AVG, LV_RANK_EXP_AVG_SQ, LV_RANK_BUFFERS };

/* What a rank owns, and where it is: buffers of own_count elements, or for LV_RANK_PARAM NULL: the
 * master values in params. */
typedef struct {
    lv_params *params;
    lv_real *buffers[LV_RANK_BUFFERS];
} lv_rank_values;

/* lv_rank_values_at: the elements of one of the rank's pieces. */
lv_real *lv_rank_values_at(const lv_rank_values *values, int buffer, const lv_piece *piece);

/* lv_rank_file_write: a new file, not yet synced. All buffers are there. On any thread, in blocks:
 * the loader's threads read packs between them.
 * fails  LV_ERR_IO with the path; what was written of it is removed */
int lv_rank_file_write(const char *path, const lv_rank_values *values);

/* lv_rank_file_pieces: the pieces that a file holds; free() them.
 * fails  LV_ERR_FORMAT if they are not ascending pieces of [0, count), LV_ERR_IO */
int lv_rank_file_pieces(lv_range **out, int64_t *n, const char *path, int64_t count);

/* Where a parameter's elements began when they were saved, and where they begin now: the order in
 * the flat buffers may differ, as between an f32 and a bf16 run. */
typedef struct {
    int64_t saved, now, count;
} lv_param_place;

typedef struct {
    size_t n;
    lv_param_place *places; /* ascending by saved, end to end */
} lv_layout;

/* lv_rank_file_read: what this rank owns of those pieces; the file is not opened if that is
 * nothing. A buffer that is NULL (other than LV_RANK_PARAM) is not wanted.
 * in     pieces: of this file
 * fails  LV_ERR_FORMAT if the datasets do not fit them, LV_ERR_IO */
int lv_rank_file_read(const char *path, const lv_range *pieces, int64_t n, const lv_layout *layout,
                      const lv_rank_values *values);

#endif
