/* SPDX-License-Identifier: Apache-2.0 */
#include "data/base/file.h"

#include "autograd/error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { PIECE_BYTES = 1 << 20 };

/* Reads up to n bytes; fewer only at the end of the file. */
static int read_piece(int fd, void *data, size_t n, size_t *got, const char *path)
{
    *got = 0;
    while (*got < n) {
        ssize_t done = read(fd, (char *)data + *got, n - *got);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return lv_fail_errno(LV_ERR_IO, "%s: reading", path);
        }
        if (done == 0) {
            break;
        }
        *got += (size_t)done;
    }
    return LV_OK;
}

int lv_file_open(const char *path, struct stat *st)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc = LV_OK;
    if (fd < 0) {
        return lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    }
    if (fstat(fd, st) < 0) {
        rc = lv_fail_errno(LV_ERR_IO, "%s: reading its size", path);
    } else if (!S_ISREG(st->st_mode)) {
        rc = lv_fail(LV_ERR_IO, "%s: not a regular file", path);
    }
    if (rc < 0) {
        close(fd);
    }
    return rc < 0 ? rc : fd;
}

int lv_file_read(char **out, size_t *n, const char *path)
{
    char *text = NULL;
    struct stat st;
    size_t got = 0;
    int fd = lv_file_open(path, &st);
    int rc = fd;
    if (fd < 0) {
        return rc;
    }
    text = malloc((size_t)st.st_size + 1);
    if (!text) {
        rc =
            lv_fail(LV_ERR_MEMORY, "%s: no memory for its %lld bytes", path, (long long)st.st_size);
        goto fail;
    }
    rc = read_piece(fd, text, (size_t)st.st_size, &got, path);
    if (rc < 0) {
        goto fail;
    }
    text[got] = '\0';
    close(fd);
    *out = text;
    *n = got;
    return LV_OK;
fail:
    free(text);
    close(fd);
    return rc;
}

char *lv_file_beside(const char *path)
{
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    return lv_path("%s.tmp-%s-%ld", path, host, (long)getpid());
}

int lv_new_file_open(lv_new_file *out, const char *path)
{
    char *beside = lv_file_beside(path);
    FILE *file = fopen(beside, "wbe");
    if (!file) {
        int rc = lv_fail_errno(LV_ERR_IO, "%s: creating", beside);
        free(beside);
        return rc;
    }
    *out = (lv_new_file){.path = lv_path("%s", path), .beside = beside, .file = file};
    return LV_OK;
}

int lv_new_file_write(lv_new_file *file, const void *data, size_t n)
{
    return n == 0 || fwrite(data, 1, n, file->file) == n
               ? LV_OK
               : lv_fail_errno(LV_ERR_IO, "%s: writing", file->beside);
}

int lv_new_file_close(lv_new_file *file, int rc)
{
    if (!file->file) {
        return rc;
    }
    if (rc == LV_OK && (fflush(file->file) != 0 || fsync(fileno(file->file)) < 0)) {
        rc = lv_fail_errno(LV_ERR_IO, "%s: writing", file->beside);
    }
    if (fclose(file->file) != 0 && rc == LV_OK) {
        rc = lv_fail_errno(LV_ERR_IO, "%s: closing", file->beside);
    }
    if (rc == LV_OK) rc = lv_file_rename(file->beside, file->path);
    if (rc < 0) {
        unlink(file->beside);
    }
    free(file->beside);
    free(file->path);
    *file = (lv_new_file){0};
    return rc;
}

int lv_file_write(const char *path, const void *data, size_t n)
{
    lv_new_file out = {0};
    int rc = lv_new_file_open(&out, path);
    if (rc == LV_OK) rc = lv_new_file_write(&out, data, n);
    return lv_new_file_close(&out, rc);
}

int lv_file_copy(const char *to, const char *from)
{
    lv_new_file out = {0};
    char *piece = NULL;
    struct stat st;
    size_t got = 0;
    int in = lv_file_open(from, &st);
    if (in < 0) {
        return in;
    }
    int rc = lv_new_file_open(&out, to);
    if (rc == LV_OK && !(piece = malloc(PIECE_BYTES))) {
        rc = lv_fail(LV_ERR_MEMORY, "%s: no memory to copy", from);
    }
    while (rc == LV_OK) {
        rc = read_piece(in, piece, PIECE_BYTES, &got, from);
        if (rc < 0 || got == 0) {
            break;
        }
        rc = lv_new_file_write(&out, piece, got);
    }
    free(piece);
    close(in);
    return lv_new_file_close(&out, rc);
}

int lv_file_sync(const char *path)
{
    int rc = LV_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    }
    if (fsync(fd) < 0) {
        rc = lv_fail_errno(LV_ERR_IO, "%s: syncing", path);
    }
    close(fd);
    return rc;
}

int lv_file_rename(const char *from, const char *to)
{
    if (rename(from, to) < 0) {
        return lv_fail_errno(LV_ERR_IO, "%s: renaming to %s", from, to);
    }
    char *dir = lv_path_dir(to);
    int rc = lv_file_sync(dir);
    free(dir);
    return rc;
}

int lv_file_crc32(uint32_t *crc, int64_t *n_bytes, const char *path)
{
    struct stat st;
    size_t got = 0;
    uLong sum = crc32(0, NULL, 0);
    int64_t total = 0;
    int fd = lv_file_open(path, &st);
    if (fd < 0) {
        return fd;
    }
    unsigned char *piece = malloc(PIECE_BYTES);
    int rc = piece ? LV_OK : lv_fail(LV_ERR_MEMORY, "%s: no memory to read", path);
    while (rc == LV_OK) {
        rc = read_piece(fd, piece, PIECE_BYTES, &got, path);
        if (rc < 0 || got == 0) {
            break;
        }
        sum = crc32(sum, piece, (uInt)got);
        total += (int64_t)got;
    }
    free(piece);
    close(fd);
    if (rc == LV_OK) {
        *crc = (uint32_t)sum;
        *n_bytes = total;
    }
    return rc;
}

bool lv_file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool lv_file_is_regular(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool lv_dir_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool lv_link_is_dangling(const char *path)
{
    struct stat st;
    return !lv_file_exists(path) && lstat(path, &st) == 0;
}

int lv_dir_create(const char *path)
{
    if (!*path) {
        return lv_fail(LV_ERR_IO, "a directory without a name can not be created");
    }
    char *partial = lv_path("%s", path);
    int rc = LV_OK;
    for (char *at = partial + 1; rc == LV_OK; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        char end = *at;
        *at = '\0';
        if (mkdir(partial, 0777) < 0 && errno != EEXIST) {
            rc = lv_fail_errno(LV_ERR_IO, "%s: creating the directory", partial);
        }
        *at = end;
        if (end == '\0') {
            break;
        }
    }
    if (rc == LV_OK && !lv_dir_exists(path)) {
        rc = lv_fail(LV_ERR_IO,
                     lv_link_is_dangling(path) ? "%s: a link to a directory that is not there"
                                               : "%s: exists and is not a directory",
                     path);
    }
    free(partial);
    return rc;
}

int lv_dir_remove(const char *path)
{
    struct stat own;
    if (lstat(path, &own) == 0 && S_ISLNK(own.st_mode)) {
        return unlink(path) == 0 ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: removing", path);
    }
    DIR *dir = opendir(path);
    int rc = LV_OK;
    if (!dir) {
        return errno == ENOENT ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    }
    for (struct dirent *entry; rc == LV_OK && (entry = readdir(dir));) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        char *child = lv_path("%s/%s", path, entry->d_name);
        if (lstat(child, &st) == 0 && S_ISDIR(st.st_mode)) {
            rc = lv_dir_remove(child);
        } else if (unlink(child) < 0) {
            rc = lv_fail_errno(LV_ERR_IO, "%s: removing", child);
        }
        free(child);
    }
    closedir(dir);
    if (rc == LV_OK && rmdir(path) < 0) {
        rc = lv_fail_errno(LV_ERR_IO, "%s: removing", path);
    }
    return rc;
}

int lv_file_map_open(lv_file_map *out, const char *path)
{
    struct stat st;
    int fd = lv_file_open(path, &st);
    if (fd < 0) {
        return fd;
    }
    if (st.st_size == 0) {
        close(fd);
        return lv_fail(LV_ERR_IO, "%s: an empty file", path);
    }
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        int rc = lv_fail_errno(LV_ERR_IO, "%s: mapping", path);
        close(fd);
        return rc;
    }
    *out = (lv_file_map){.data = data, .n_bytes = (size_t)st.st_size, .fd = fd};
    return LV_OK;
}

int lv_file_map_read(const lv_file_map *map, void *out, const void *data, size_t n,
                     const char *path)
{
    off_t at = (off_t)((const uint8_t *)data - map->data);
    LV_CHECK((size_t)at <= map->n_bytes && n <= map->n_bytes - (size_t)at,
             "%zu bytes at %lld of %s", n, (long long)at, path);
    for (size_t got = 0; got < n;) {
        ssize_t done = pread(map->fd, (char *)out + got, n - got, at + (off_t)got);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return lv_fail_errno(LV_ERR_IO, "%s: reading", path);
        }
        if (done == 0) {
            return lv_fail(LV_ERR_IO, "%s: it had %zu bytes, and was cut short while in use", path,
                           map->n_bytes);
        }
        got += (size_t)done;
    }
    return LV_OK;
}

void lv_file_map_close(lv_file_map *map)
{
    if (map->data) {
        munmap((void *)(uintptr_t)map->data, map->n_bytes);
        close(map->fd);
    }
    *map = (lv_file_map){0};
}

char *lv_path(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *path = malloc((size_t)n + 1);
    LV_CHECK(path, "out of memory for a path");
    va_start(args, fmt);
    vsnprintf(path, (size_t)n + 1, fmt, args);
    va_end(args);
    return path;
}

char *lv_path_from(const char *base, const char *path)
{
    char *real = path[0] == '/' ? NULL : realpath(base, NULL);
    if (!real) {
        return path[0] == '/' ? lv_path("%s", path) : lv_path("%s/%s", base, path);
    }
    /* a real path has no links, so going up is cutting its last part */
    while (strncmp(path, "../", 3) == 0 || strncmp(path, "./", 2) == 0) {
        if (path[1] == '.') {
            char *slash = strrchr(real, '/');
            slash[slash == real] = '\0';
        }
        path = strchr(path, '/') + 1;
    }
    char *joined = lv_path("%s/%s", strcmp(real, "/") == 0 ? "" : real, path);
    free(real);
    return joined;
}

char *lv_path_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    return !slash          ? lv_path(".")
           : slash == path ? lv_path("/")
                           : lv_path("%.*s", (int)(slash - path), path);
}
