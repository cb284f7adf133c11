/* SPDX-License-Identifier: Apache-2.0
 *
 * The HDF5 side of a checkpoint: one rank's slice of the flat buffers.
 */
#ifndef LV_TRAIN_CHECKPOINT_SLICE_H
#define LV_TRAIN_CHECKPOINT_SLICE_H

#include "autograd/real.h"

#include <stdint.h>

enum { LV_SLICE_BUFFERS = 3 };
extern const char *const lv_slice_names[LV_SLICE_BUFFERS]; /* "param", "exp_avg", "exp_avg_sq" */

/* lv_slice_write: elements [begin, end) of each buffer, synced to the disk.
 * in     buffers[i]: the whole flat buffer
 * fails  LV_ERR_IO with the path */
int lv_slice_write(const char *path, const lv_real *const buffers[LV_SLICE_BUFFERS], int64_t begin,
                   int64_t end);

/* lv_slice_read: back to their places; a NULL buffer is not wanted.
 * fails  LV_ERR_FORMAT if the file is another slice than [begin, end), LV_ERR_IO */
int lv_slice_read(const char *path, lv_real *const buffers[LV_SLICE_BUFFERS], int64_t begin,
                  int64_t end);

#endif
