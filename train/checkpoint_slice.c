/* SPDX-License-Identifier: Apache-2.0 */
#include "train/checkpoint_slice.h"

#include "autograd/error.h"
#include "data/file.h"

#include <hdf5.h>
#include <stdbool.h>

const char *const lv_slice_names[LV_SLICE_BUFFERS] = {"param", "exp_avg", "exp_avg_sq"};

static hid_t real_type(void)
{
    return sizeof(lv_real) == sizeof(float) ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE;
}

static bool write_bound(hid_t file, const char *name, int64_t value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(file, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool done = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT64, &value) >= 0;
    if (attribute >= 0) {
        done = H5Aclose(attribute) >= 0 && done;
    }
    H5Sclose(space);
    return done;
}

static bool write_buffer(hid_t file, const char *name, const lv_real *data, int64_t count)
{
    hsize_t size = (hsize_t)count;
    hid_t space = H5Screate_simple(1, &size, NULL);
    hid_t options = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_obj_track_times(options, false);
    hid_t set = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, options, H5P_DEFAULT);
    bool done = set >= 0 && (count == 0 ||
                             H5Dwrite(set, real_type(), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    if (set >= 0) {
        done = H5Dclose(set) >= 0 && done;
    }
    H5Pclose(options);
    H5Sclose(space);
    return done;
}

int lv_slice_write(const char *path, const lv_real *const buffers[LV_SLICE_BUFFERS], int64_t begin,
                   int64_t end)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (file < 0) {
        return lv_fail_errno(LV_ERR_IO, "%s: creating", path);
    }
    bool done = write_bound(file, "begin", begin) && write_bound(file, "end", end);
    for (int i = 0; done && i < LV_SLICE_BUFFERS; i++) {
        done = write_buffer(file, lv_slice_names[i], buffers[i] + begin, end - begin);
    }
    done = done && H5Fflush(file, H5F_SCOPE_LOCAL) >= 0;
    if (H5Fclose(file) < 0 || !done) {
        return lv_fail_errno(LV_ERR_IO, "%s: writing (is the disk full?)", path);
    }
    return lv_file_sync(path);
}

static int read_bound(hid_t file, const char *name, int64_t *value)
{
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    bool done = attribute >= 0 && H5Aread(attribute, H5T_NATIVE_INT64, value) >= 0;
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    return done ? LV_OK : lv_fail(LV_ERR_FORMAT, "the attribute \"%s\" is missing", name);
}

static int read_buffer(hid_t file, const char *name, lv_real *data, int64_t count)
{
    hsize_t size = 0;
    int rc = LV_OK;
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t space = set >= 0 ? H5Dget_space(set) : H5I_INVALID_HID;
    if (space < 0 || H5Sget_simple_extent_ndims(space) != 1 ||
        H5Sget_simple_extent_dims(space, &size, NULL) < 0 || size != (hsize_t)count) {
        rc = lv_fail(LV_ERR_FORMAT, "the dataset \"%s\" is missing or has another length", name);
    } else if (count > 0 && H5Dread(set, real_type(), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        rc = lv_fail(LV_ERR_IO, "the dataset \"%s\" can not be read", name);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (set >= 0) {
        H5Dclose(set);
    }
    return rc;
}

int lv_slice_read(const char *path, lv_real *const buffers[LV_SLICE_BUFFERS], int64_t begin,
                  int64_t end)
{
    int64_t file_begin = -1, file_end = -1;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0) {
        return lv_fail(LV_ERR_FORMAT, "%s: not an HDF5 file, or damaged", path);
    }
    int rc = read_bound(file, "begin", &file_begin);
    if (rc == LV_OK) {
        rc = read_bound(file, "end", &file_end);
    }
    if (rc == LV_OK && (file_begin != begin || file_end != end)) {
        rc = lv_fail(LV_ERR_FORMAT,
                     "holds the elements [%lld, %lld), the manifest says [%lld, %lld)",
                     (long long)file_begin, (long long)file_end, (long long)begin, (long long)end);
    }
    for (int i = 0; rc == LV_OK && i < LV_SLICE_BUFFERS; i++) {
        if (buffers[i]) {
            rc = read_buffer(file, lv_slice_names[i], buffers[i] + begin, end - begin);
        }
    }
    H5Fclose(file);
    return rc < 0 ? lv_fail_within("%s", path) : rc;
}
