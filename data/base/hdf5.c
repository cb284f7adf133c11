/* SPDX-License-Identifier: Apache-2.0 */
#include "data/base/hdf5.h"

#include "autograd/error.h"
#include "data/base/file.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int n_waiting; /* threads, for the lock */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Set once a file could not be written: HDF5 may have kept it open, would flush it at exit, and can
 * crash over that. */
static atomic_bool write_failed;

static void end(void)
{
    if (!write_failed) {
        H5close();
    }
}

static void begin_hdf5(void)
{
    H5dont_atexit();
    atexit(end);
}

void lv_h5_lock(void)
{
    pthread_once(&once, begin_hdf5);
    atomic_fetch_add(&n_waiting, 1);
    LV_CHECK(pthread_mutex_lock(&lock) == 0, "the HDF5 lock");
    atomic_fetch_sub(&n_waiting, 1);
    /* HDF5 prints its error stack by default, in each thread that uses it. */
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void lv_h5_unlock(void)
{
    LV_CHECK(pthread_mutex_unlock(&lock) == 0, "the HDF5 lock");
}

void lv_h5_pause(void)
{
    static const struct timespec a_moment = {.tv_nsec = 200000}; /* to wake up in */
    lv_h5_unlock();
    if (atomic_load(&n_waiting) > 0) {
        nanosleep(&a_moment, NULL);
    }
    lv_h5_lock();
}

enum { REASON_BYTES = 256 };

/* The description, or of one with times, pointers and the system's message in it that alone. */
static herr_t keep_last(unsigned n, const H5E_error2_t *error, void *reason)
{
    static const char SYSTEM[] = "error message = '";
    (void)n;
    if (error->desc) {
        const char *system = strstr(error->desc, SYSTEM);
        const char *text = system ? system + strlen(SYSTEM) : error->desc;
        snprintf(reason, REASON_BYTES, "%.*s", (int)strcspn(text, system ? "'\n" : "\n"), text);
    }
    return 0;
}

int lv_h5_fail(int code, const char *fmt, ...)
{
    char text[1024], reason[REASON_BYTES] = "";
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_last, reason);
    H5Eclear2(H5E_DEFAULT);
    return lv_fail(code, "%s%s%s", text, *reason ? ": " : "", reason);
}

/* File access: the one format version that HDF5 1.10 and all later ones write alike; its metadata
 * carry checksums. */
static hid_t access_list(void)
{
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    herr_t bad = H5Pset_libver_bounds(list, H5F_LIBVER_V110, H5F_LIBVER_V110);
#if H5_VERSION_GE(1, 10, 7) && !(H5_VERS_MAJOR == 1 && H5_VERS_MINOR == 12 && H5_VERS_RELEASE == 0)
    bad |= H5Pset_file_locking(list, 0, 1);
#endif
    if (bad < 0) {
        H5Pclose(list);
        return H5I_INVALID_HID;
    }
    return list;
}

int lv_h5_create(hid_t *out, const char *path)
{
    return lv_h5_create_after(out, path, 0);
}

int lv_h5_create_after(hid_t *out, const char *path, size_t n)
{
    hid_t access = access_list();
    hid_t create = H5Pcreate(H5P_FILE_CREATE);
    hid_t file = H5I_INVALID_HID;
    if (access >= 0 && H5Pset_obj_track_times(create, 0) >= 0 && H5Pset_userblock(create, n) >= 0) {
        file = H5Fcreate(path, H5F_ACC_TRUNC, create, access);
    }
    int rc = file < 0 ? lv_h5_fail(LV_ERR_IO, "%s: creating", path) : LV_OK;
    write_failed |= rc < 0;
    H5Pclose(create);
    H5Pclose(access);
    *out = file;
    return rc;
}

/* A file of the format before 1.8 has no checksums, and HDF5 does not survive every damage to one:
 * it is never handed to HDF5. As in HDF5, the superblock is searched at the file's beginning and
 * after a user block of 512 bytes or a power of two above. */
static int check_superblock(const char *path)
{
    static const char signature[] = "\x89HDF\r\n\x1A\n";
    enum { SIGNATURE_BYTES = 8, FIRST_WITH_CHECKSUMS = 2 };
    uint8_t start[SIGNATURE_BYTES + 1]; /* and the superblock's version */
    FILE *file = fopen(path, "rb");
    int rc = file ? lv_fail(LV_ERR_FORMAT, "%s: not a whole HDF5 file", path)
                  : lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    for (off_t at = 0; file && fseeko(file, at, SEEK_SET) == 0 &&
                       fread(start, 1, sizeof start, file) == sizeof start;
         at = at ? 2 * at : 512) {
        if (memcmp(start, signature, SIGNATURE_BYTES) == 0) {
            rc = start[SIGNATURE_BYTES] >= FIRST_WITH_CHECKSUMS
                     ? LV_OK
                     : lv_fail(LV_ERR_FORMAT,
                               "%s: an HDF5 file of the old format without checksums, which this "
                               "program does not write",
                               path);
            break;
        }
    }
    if (file) {
        fclose(file);
    }
    return rc;
}

int lv_h5_open(hid_t *out, const char *path)
{
    *out = H5I_INVALID_HID;
    if (!lv_file_is_regular(path)) {
        return lv_fail(LV_ERR_IO, "%s: there is no such file, or not a regular one", path);
    }
    int rc = check_superblock(path);
    if (rc < 0) {
        return rc;
    }
    hid_t access = access_list();
    hid_t file = access < 0 ? H5I_INVALID_HID : H5Fopen(path, H5F_ACC_RDONLY, access);
    rc = file < 0 ? lv_h5_fail(LV_ERR_FORMAT, "%s: not a whole HDF5 file", path) : LV_OK;
    H5Pclose(access);
    *out = file;
    return rc;
}

/* Flushed first: a file that could not be closed must not be closed again. */
int lv_h5_close(hid_t *file, const char *path)
{
    if (*file < 0) {
        return LV_OK;
    }
    int rc =
        H5Fflush(*file, H5F_SCOPE_LOCAL) < 0 ? lv_h5_fail(LV_ERR_IO, "%s: writing", path) : LV_OK;
    if (rc == LV_OK) {
        rc = H5Fclose(*file) < 0 ? lv_h5_fail(LV_ERR_IO, "%s: closing", path) : LV_OK;
        write_failed |= rc < 0;
        *file = H5I_INVALID_HID;
    }
    return rc;
}

/* A file that HDF5 cannot flush stays open, and is flushed again at exit. Cut to nothing it leaves
 * room on the disk, and the flush of what nobody will read succeeds. */
void lv_h5_discard(hid_t *file, const char *path)
{
    if (*file >= 0) {
        (void)!truncate(path, 0);
        write_failed |= H5Fclose(*file) < 0;
    }
    unlink(path);
    *file = H5I_INVALID_HID;
}

static int write_attribute(hid_t object, const char *name, hid_t file_type, hid_t type,
                           const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(object, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT);
    int rc = attribute < 0 || H5Awrite(attribute, type, value) < 0
                 ? lv_h5_fail(LV_ERR_IO, "writing the attribute \"%s\"", name)
                 : LV_OK;
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    H5Sclose(space);
    return rc;
}

int lv_h5_write_text(hid_t object, const char *name, const char *text)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    int rc = H5Tset_size(type, strlen(text) + 1) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0
                 ? lv_h5_fail(LV_ERR_IO, "the type of the attribute \"%s\"", name)
                 : write_attribute(object, name, type, type, text);
    H5Tclose(type);
    return rc;
}

int lv_h5_write_int(hid_t object, const char *name, int64_t value)
{
    return write_attribute(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

/* Opens a scalar attribute and its type. */
static int open_attribute(hid_t *attribute, hid_t *type, hid_t object, const char *name)
{
    *type = H5I_INVALID_HID;
    *attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (*attribute < 0) {
        return lv_h5_fail(LV_ERR_FORMAT, "the attribute \"%s\" is missing", name);
    }
    hid_t space = H5Aget_space(*attribute);
    *type = H5Aget_type(*attribute);
    bool scalar = space >= 0 && *type >= 0 && H5Sget_simple_extent_npoints(space) == 1;
    if (space >= 0) {
        H5Sclose(space);
    }
    return scalar ? LV_OK : lv_fail(LV_ERR_FORMAT, "the attribute \"%s\" is not one value", name);
}

static void close_attribute(hid_t attribute, hid_t type)
{
    if (type >= 0) {
        H5Tclose(type);
    }
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
}

int lv_h5_read_text(hid_t object, const char *name, char *text, size_t capacity)
{
    hid_t attribute, type;
    int rc = open_attribute(&attribute, &type, object, name);
    if (rc == LV_OK && (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 ||
                        H5Tget_size(type) == 0 || H5Tget_size(type) > capacity)) {
        rc = lv_fail(LV_ERR_FORMAT, "the attribute \"%s\" is not a text of up to %zu bytes", name,
                     capacity - 1);
    }
    if (rc == LV_OK && H5Aread(attribute, type, text) < 0) {
        rc = lv_h5_fail(LV_ERR_FORMAT, "reading the attribute \"%s\"", name);
    }
    if (rc == LV_OK) {
        text[H5Tget_size(type) - 1] = '\0';
    }
    close_attribute(attribute, type);
    return rc;
}

int lv_h5_read_int(hid_t object, const char *name, int64_t *value)
{
    hid_t attribute, type;
    int rc = open_attribute(&attribute, &type, object, name);
    if (rc == LV_OK && H5Tequal(type, H5T_STD_I64LE) <= 0) {
        rc = lv_fail(LV_ERR_FORMAT, "the attribute \"%s\" is not a 64-bit integer", name);
    }
    if (rc == LV_OK && H5Aread(attribute, H5T_NATIVE_INT64, value) < 0) {
        rc = lv_h5_fail(LV_ERR_FORMAT, "reading the attribute \"%s\"", name);
    }
    close_attribute(attribute, type);
    return rc;
}

int lv_h5_dataset_create(hid_t *out, hid_t file, const char *name, hid_t type, int64_t n_rows,
                         int n_columns)
{
    hsize_t dims[2] = {(hsize_t)n_rows, (hsize_t)n_columns};
    hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(n_columns == 1 ? 1 : 2, dims, NULL);
    hid_t dataset = H5I_INVALID_HID;
    if (space >= 0 && H5Pset_obj_track_times(create, 0) >= 0 &&
        H5Pset_layout(create, H5D_CONTIGUOUS) >= 0) {
        dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    }
    int rc = dataset < 0 ? lv_h5_fail(LV_ERR_IO, "creating \"%s\"", name) : LV_OK;
    if (space >= 0) {
        H5Sclose(space);
    }
    H5Pclose(create);
    *out = dataset;
    return rc;
}

static bool has_layout(hid_t dataset, H5D_layout_t layout)
{
    hid_t list = H5Dget_create_plist(dataset);
    bool same = list >= 0 && H5Pget_layout(list) == layout && H5Pget_external_count(list) == 0;
    if (list >= 0) {
        H5Pclose(list);
    }
    return same;
}

static bool has_type(hid_t dataset, hid_t type)
{
    hid_t own = H5Dget_type(dataset);
    bool same = own >= 0 && H5Tequal(own, type) > 0;
    if (own >= 0) {
        H5Tclose(own);
    }
    return same;
}

static bool has_shape(hid_t dataset, int n_columns, int64_t *n_rows)
{
    hsize_t dims[2] = {0, 1};
    hid_t space = H5Dget_space(dataset);
    int rank = n_columns == 1 ? 1 : 2;
    bool same = space >= 0 && H5Sget_simple_extent_ndims(space) == rank &&
                H5Sget_simple_extent_dims(space, dims, NULL) == rank &&
                dims[1] == (hsize_t)n_columns && dims[0] <= INT64_MAX;
    if (space >= 0) {
        H5Sclose(space);
    }
    *n_rows = (int64_t)dims[0];
    return same;
}

/* Whether the name is data of this file itself: a link could lead to a pipe, on which HDF5 would
 * wait. */
static bool is_here(hid_t file, const char *name)
{
    H5L_info_t link;
    return H5Lget_info(file, name, &link, H5P_DEFAULT) < 0 || link.type == H5L_TYPE_HARD;
}

int lv_h5_dataset_open(hid_t *out, int64_t *n_rows, hid_t file, const char *name, hid_t type,
                       int n_columns)
{
    hsize_t file_bytes = 0;
    *out = H5I_INVALID_HID;
    if (!is_here(file, name)) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\" is a link, not data of this file", name);
    }
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0) {
        return lv_h5_fail(LV_ERR_FORMAT, "opening \"%s\"", name);
    }
    size_t row_bytes = H5Tget_size(type) * (size_t)n_columns;
    if (!has_type(dataset, type) || !has_shape(dataset, n_columns, n_rows) ||
        !has_layout(dataset, H5D_CONTIGUOUS) || H5Fget_filesize(file, &file_bytes) < 0 ||
        (hsize_t)*n_rows > file_bytes / row_bytes) {
        H5Dclose(dataset);
        return lv_fail(LV_ERR_FORMAT, "\"%s\" has another type, shape or size than it must", name);
    }
    *out = dataset;
    return LV_OK;
}

/* Selects whole rows of the dataset; *memory is a space of the same shape. */
static bool select_rows(hid_t dataset, int64_t first, int64_t n, hid_t *space, hid_t *memory)
{
    hsize_t dims[2] = {0, 1}, start[2] = {(hsize_t)first, 0};
    *memory = H5I_INVALID_HID;
    *space = H5Dget_space(dataset);
    if (*space < 0 || H5Sget_simple_extent_dims(*space, dims, NULL) < 0) {
        return false;
    }
    hsize_t count[2] = {(hsize_t)n, dims[1]};
    *memory = H5Screate_simple(H5Sget_simple_extent_ndims(*space), count, NULL);
    return *memory >= 0 &&
           H5Sselect_hyperslab(*space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0;
}

static void close_spaces(hid_t space, hid_t memory)
{
    if (space >= 0) {
        H5Sclose(space);
    }
    if (memory >= 0) {
        H5Sclose(memory);
    }
}

int lv_h5_dataset_write(hid_t dataset, hid_t type, int64_t first, int64_t n, const void *data)
{
    hid_t space, memory;
    int rc = LV_OK;
    if (n == 0) {
        return LV_OK;
    }
    if (!select_rows(dataset, first, n, &space, &memory) ||
        H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, data) < 0) {
        rc = lv_h5_fail(LV_ERR_IO, "writing");
    }
    close_spaces(space, memory);
    return rc;
}

int lv_h5_dataset_read(hid_t dataset, hid_t type, int64_t first, int64_t n, void *data)
{
    hid_t space, memory;
    int rc = LV_OK;
    if (n == 0) {
        return LV_OK;
    }
    if (!select_rows(dataset, first, n, &space, &memory) ||
        H5Dread(dataset, type, memory, space, H5P_DEFAULT, data) < 0) {
        rc = lv_h5_fail(LV_ERR_IO, "reading");
    }
    close_spaces(space, memory);
    return rc;
}
