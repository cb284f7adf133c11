/* SPDX-License-Identifier: Apache-2.0 */
#include "train/checkpoint_slice.h"

#include "autograd/error.h"
#include "data/file.h"
#include "data/hdf5_util.h"

const char *const lv_slice_names[LV_SLICE_BUFFERS] = {"param", "exp_avg", "exp_avg_sq"};

static hid_t real_type(void)
{
    return sizeof(lv_real) == sizeof(float) ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE;
}

static int write_buffer(hid_t file, const char *name, const lv_real *data, int64_t count)
{
    hid_t set = H5I_INVALID_HID;
    int rc = lv_h5_dataset_create(&set, file, name, H5T_IEEE_F32LE, count, 1);
    rc = rc < 0 ? rc : lv_h5_dataset_write(set, real_type(), 0, count, data);
    if (set >= 0 && H5Dclose(set) < 0 && rc == LV_OK) {
        rc = lv_h5_fail(LV_ERR_IO, "closing \"%s\"", name);
    }
    return rc;
}

static int write_all(hid_t file, const lv_real *const buffers[LV_SLICE_BUFFERS], int64_t begin,
                     int64_t end)
{
    int rc = lv_h5_write_int(file, "begin", begin);
    rc = rc < 0 ? rc : lv_h5_write_int(file, "end", end);
    for (int i = 0; rc == LV_OK && i < LV_SLICE_BUFFERS; i++) {
        rc = write_buffer(file, lv_slice_names[i], buffers[i] + begin, end - begin);
    }
    if (rc == LV_OK && H5Fflush(file, H5F_SCOPE_LOCAL) < 0) {
        rc = lv_h5_fail(LV_ERR_IO, "writing");
    }
    return rc < 0 ? lv_fail(rc, "%s (is the disk full?)", lv_error_message()) : LV_OK;
}

int lv_slice_write(const char *path, const lv_real *const buffers[LV_SLICE_BUFFERS], int64_t begin,
                   int64_t end)
{
    hid_t file = H5I_INVALID_HID;
    lv_h5_lock(); /* the loader's threads read packs meanwhile */
    int rc = lv_h5_create(&file, path);
    if (rc == LV_OK && (rc = write_all(file, buffers, begin, end)) < 0) {
        lv_fail_within("%s", path);
    } else if (rc == LV_OK) {
        rc = lv_h5_close(&file, path);
    }
    if (rc < 0) {
        lv_h5_discard(&file, path);
    }
    lv_h5_unlock();
    return rc < 0 ? rc : lv_file_sync(path);
}

static int read_buffer(hid_t file, const char *name, lv_real *data, int64_t count)
{
    hid_t set = H5I_INVALID_HID;
    int64_t n = 0;
    int rc = lv_h5_dataset_open(&set, &n, file, name, H5T_IEEE_F32LE, 1);
    if (rc == LV_OK && n != count) {
        rc = lv_fail(LV_ERR_FORMAT, "\"%s\" holds %lld elements, expected %lld", name, (long long)n,
                     (long long)count);
    }
    rc = rc < 0 ? rc : lv_h5_dataset_read(set, real_type(), 0, count, data);
    if (set >= 0) {
        H5Dclose(set);
    }
    return rc;
}

static int read_all(hid_t file, lv_real *const buffers[LV_SLICE_BUFFERS], int64_t begin,
                    int64_t end)
{
    int64_t file_begin = -1, file_end = -1;
    int rc = lv_h5_read_int(file, "begin", &file_begin);
    rc = rc < 0 ? rc : lv_h5_read_int(file, "end", &file_end);
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
    return rc;
}

int lv_slice_read(const char *path, lv_real *const buffers[LV_SLICE_BUFFERS], int64_t begin,
                  int64_t end)
{
    hid_t file = H5I_INVALID_HID;
    lv_h5_lock();
    int rc = lv_h5_open(&file, path);
    if (rc == LV_OK) {
        rc = read_all(file, buffers, begin, end);
        rc = rc < 0 ? lv_fail_within("%s", path) : rc;
        H5Fclose(file);
    }
    lv_h5_unlock();
    return rc;
}
