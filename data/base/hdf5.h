/* SPDX-License-Identifier: Apache-2.0
 *
 * HDF5 under one lock, silent, with its reason in our messages, and with files that depend on
 * their contents alone (no times, one format version).
 *
 * Every function here but lv_h5_lock is called with the lock held.
 */
#ifndef LV_DATA_BASE_HDF5_H
#define LV_DATA_BASE_HDF5_H

#include <hdf5.h>
#include <stddef.h>
#include <stdint.h>

void lv_h5_lock(void);
void lv_h5_unlock(void);

/* lv_h5_pause: between two of many long calls: lets threads that wait for the lock have it. (A
 * mutex alone mostly returns to the thread that has just released it.) */
void lv_h5_pause(void);

/* lv_h5_fail: as lv_fail, with HDF5's innermost reason after the text. returns code. */
int lv_h5_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* lv_h5_create, lv_h5_open: a file of our own to write, or one to read; no file locks, which
 * network file systems may not have.
 * HDF5's checksums find damage; but HDF5 1.10 is not safe against a malicious file: open no packs
 * or checkpoints of strangers.
 * fails  LV_ERR_IO; open: LV_ERR_FORMAT if it is not whole, or without checksums */
int lv_h5_create(hid_t *out, const char *path);
/* lv_h5_create_after: the same, after n bytes that are left free: 512 or a power of two above. */
int lv_h5_create_after(hid_t *out, const char *path, size_t n);
int lv_h5_open(hid_t *out, const char *path);
/* lv_h5_close: file may be invalid; it is set to H5I_INVALID_HID, or left to lv_h5_discard where
 * the close fails before its end. */
int lv_h5_close(hid_t *file, const char *path);

/* lv_h5_discard: close and remove a file that could not be written to its end, also where HDF5
 * cannot flush it because the disk is full. */
void lv_h5_discard(hid_t *file, const char *path);

/* Scalar attributes of a file or dataset. A text is stored with its own length.
 * fails  LV_ERR_IO; reading: LV_ERR_FORMAT if it is missing, of another type or too long */
int lv_h5_write_text(hid_t object, const char *name, const char *text);
int lv_h5_write_int(hid_t object, const char *name, int64_t value);
int lv_h5_read_text(hid_t object, const char *name, char *text, size_t capacity);
int lv_h5_read_int(hid_t object, const char *name, int64_t *value);

/* lv_h5_dataset_create: contiguous, n_rows x n_columns (one dimension if n_columns is 1). */
int lv_h5_dataset_create(hid_t *out, hid_t file, const char *name, hid_t type, int64_t n_rows,
                         int n_columns);

/* lv_h5_dataset_open: and how many rows it has.
 * fails  LV_ERR_FORMAT if type, shape or layout is another, or the file is too small for it */
int lv_h5_dataset_open(hid_t *out, int64_t *n_rows, hid_t file, const char *name, hid_t type,
                       int n_columns);

/* Rows [first, first + n) of a dataset, all columns. */
int lv_h5_dataset_write(hid_t dataset, hid_t type, int64_t first, int64_t n, const void *data);
int lv_h5_dataset_read(hid_t dataset, hid_t type, int64_t first, int64_t n, void *data);

#endif
