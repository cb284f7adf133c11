/* SPDX-License-Identifier: Apache-2.0 */
#include "data/base/file_window.h"

#include "autograd/error.h"
#include "data/base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int lv_file_window_open(lv_file_window *out, const char *path, size_t piece_bytes)
{
    struct stat st;
    int fd = lv_file_open(path, &st);
    if (fd < 0) {
        return fd;
    }
    size_t capacity = 2 * piece_bytes;
    char *data = malloc(capacity);
    if (!data) {
        close(fd);
        return lv_fail(LV_ERR_MEMORY, "%s: no memory to read it", path);
    }
    *out = (lv_file_window){.path = lv_path("%s", path),
                            .fd = fd,
                            .n_bytes = st.st_size,
                            .written = st.st_mtim,
                            .piece_bytes = piece_bytes,
                            .data = data,
                            .capacity = capacity};
    return LV_OK;
}

void lv_file_window_close(lv_file_window *window)
{
    if (window->data) {
        close(window->fd);
        free(window->path);
        free(window->data);
    }
    *window = (lv_file_window){0};
}

int lv_file_window_changed(const lv_file_window *window)
{
    return lv_fail(LV_ERR_IO, "%s: was changed by another program while it was being read",
                   window->path);
}

static int check_unchanged(const lv_file_window *w)
{
    struct stat now;
    if (fstat(w->fd, &now) < 0) {
        return lv_fail_errno(LV_ERR_IO, "%s: reading its size", w->path);
    }
    bool same = now.st_size == w->n_bytes && now.st_mtim.tv_sec == w->written.tv_sec &&
                now.st_mtim.tv_nsec == w->written.tv_nsec;
    return same ? LV_OK : lv_file_window_changed(w);
}

/* Drops the bytes before kept and makes room for a piece. */
static int make_room(lv_file_window *w, int64_t kept)
{
    size_t used = (size_t)(w->end - kept);
    if (kept > w->begin) {
        memmove(w->data, lv_file_window_at(w, kept), used);
        w->begin = kept;
    }
    if (w->capacity - used >= w->piece_bytes) {
        return LV_OK;
    }
    size_t capacity = 2 * w->capacity;
    char *data = realloc(w->data, capacity);
    if (!data) {
        return lv_fail(LV_ERR_MEMORY, "%s: no memory for %zu bytes of it", w->path, capacity);
    }
    w->data = data;
    w->capacity = capacity;
    return LV_OK;
}

int lv_file_window_fill(lv_file_window *window, int64_t kept)
{
    int64_t left = window->n_bytes - window->end;
    size_t n = left < (int64_t)window->piece_bytes ? (size_t)left : window->piece_bytes, got = 0;
    int rc = make_room(window, kept);
    if (rc == LV_OK) rc = check_unchanged(window);
    while (rc == LV_OK && got < n) {
        char *to = window->data + (window->end - window->begin);
        ssize_t done = pread(window->fd, to, n - got, window->end);
        if (done < 0 && errno != EINTR) {
            rc = lv_fail_errno(LV_ERR_IO, "%s: reading", window->path);
        } else if (done == 0) {
            rc = lv_file_window_changed(window);
        } else if (done > 0) {
            got += (size_t)done;
            window->end += done;
        }
    }
    return rc < 0 ? rc : n > 0;
}

void lv_file_window_seek(lv_file_window *window, int64_t offset)
{
    window->begin = window->end = offset;
}
