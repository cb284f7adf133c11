/* SPDX-License-Identifier: Apache-2.0
 *
 * A file read from its beginning to its end through a sliding window. Read, not mapped: a file
 * that is cut short meanwhile is a failure, not a signal.
 */
#ifndef LV_DATA_BASE_FILE_WINDOW_H
#define LV_DATA_BASE_FILE_WINDOW_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef struct {
    char *path;
    int fd;
    int64_t n_bytes; /* of the file, and when it was written, as found at first */
    struct timespec written;
    size_t piece_bytes; /* read at a time */
    int64_t begin, end; /* offsets in the file of the window's bytes */
    char *data;         /* [capacity], byte begin first */
    size_t capacity;
} lv_file_window;

/* lv_file_window_open: an empty window at the beginning; out is {0} on failure.
 * fails  LV_ERR_IO: no such file, or not a regular one; LV_ERR_MEMORY; all with the path */
int lv_file_window_open(lv_file_window *out, const char *path, size_t piece_bytes);
void lv_file_window_close(lv_file_window *window);

/* lv_file_window_fill: drop the bytes before kept, in [begin, end], and read a piece after end.
 * Moves the data. returns 1; 0 at the end of the file; LV_ERR_IO, also if the file's size or time
 * are not as they were; LV_ERR_MEMORY */
int lv_file_window_fill(lv_file_window *window, int64_t kept);

/* lv_file_window_seek: an empty window at that offset. */
void lv_file_window_seek(lv_file_window *window, int64_t offset);

/* lv_file_window_changed: LV_ERR_IO, the file was changed. */
int lv_file_window_changed(const lv_file_window *window);

static inline const char *lv_file_window_at(const lv_file_window *window, int64_t offset)
{
    return window->data + (offset - window->begin);
}

#endif
