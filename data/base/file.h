/* SPDX-License-Identifier: Apache-2.0
 *
 * Files: read whole, mapped, written so that they appear whole or not at all, and their CRC-32.
 * Every failure is LV_ERR_IO (or LV_ERR_MEMORY) with the path and the system's reason. Only
 * regular files are read: a pipe or a device is a failure.
 */
#ifndef LV_DATA_BASE_FILE_H
#define LV_DATA_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

/* lv_file_open: for reading, without waiting for a pipe. returns the descriptor, with the result
 * of fstat. */
int lv_file_open(const char *path, struct stat *st);

/* lv_file_read: the whole file, with a zero byte after it that n does not count; free() it. */
int lv_file_read(char **out, size_t *n, const char *path);

/* lv_file_beside: a temporary name for the file that will be path: "<path>.tmp-<host>-<process>",
 * so that what a killed job's rank leaves does not collide with the next one's; free() it. */
char *lv_file_beside(const char *path);

/* lv_new_file: a file that is written under a temporary name, and appears whole or not at all.
 * Start it with {0}. */
typedef struct {
    char *path, *beside;
    FILE *file; /* to write to; failures name beside */
} lv_new_file;
int lv_new_file_open(lv_new_file *out, const char *path);
int lv_new_file_write(lv_new_file *file, const void *data, size_t n);

/* lv_new_file_close: if rc is LV_OK, synced, renamed over the path, directory synced; otherwise, or
 * if that fails, removed. One that was not opened is left alone. returns rc, or the failure */
int lv_new_file_close(lv_new_file *file, int rc);

/* lv_file_write: a new file of n bytes. */
int lv_file_write(const char *path, const void *data, size_t n);

/* lv_file_rename: rename and sync the directory; from and to are in one directory, and from was
 * synced. */
int lv_file_rename(const char *from, const char *to);

/* lv_file_sync: fsync of a file or directory by name. */
int lv_file_sync(const char *path);

/* lv_file_copy: as lv_file_write, from another file, in pieces. */
int lv_file_copy(const char *to, const char *from);

/* lv_file_crc32: CRC-32 (zlib's) and size of the whole file, read in pieces. */
int lv_file_crc32(uint32_t *crc, int64_t *n_bytes, const char *path);

bool lv_file_exists(const char *path);     /* anything of that name */
bool lv_file_is_regular(const char *path); /* and not a directory, pipe or device */
bool lv_dir_exists(const char *path);
bool lv_link_is_dangling(const char *path); /* a link whose target is missing */

/* lv_dir_create: with its parents; one that exists is no error. */
int lv_dir_create(const char *path);

/* lv_dir_remove: a directory and the files in it, subdirectories too; one that does not exist is
 * no error. A symbolic link is removed, its target stays. */
int lv_dir_remove(const char *path);

typedef struct {
    const uint8_t *data; /* read-only, shared with every process that maps the file */
    size_t n_bytes;
    int fd;
} lv_file_map;
int lv_file_map_open(lv_file_map *out, const char *path);

/* lv_file_map_read: the n bytes at data, which lies in the map, read from the file: an I/O error
 * is a failure here, but a signal in the map. */
int lv_file_map_read(const lv_file_map *map, void *out, const void *data, size_t n,
                     const char *path);
void lv_file_map_close(lv_file_map *map);

/* lv_path: printf into a new string; free() it. Ends the job if there is no memory. */
char *lv_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* lv_path_from: path itself if absolute, otherwise inside the directory base, without leading
 * "../"; free() it. Absolute if base exists. */
char *lv_path_from(const char *base, const char *path);

/* lv_path_dir: the directory part, "." if there is none; free() it. */
char *lv_path_dir(const char *path);

#endif
