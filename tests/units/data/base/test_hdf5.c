/* SPDX-License-Identifier: Apache-2.0 */
#include "data/base/hdf5.h"

#include "autograd/error.h"
#include "data/base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/llava-hdf5-XXXXXX";
static char path[sizeof folder + 16];

static int make_path(void **state)
{
    (void)state;
    int n = mkdtemp(folder) ? snprintf(path, sizeof path, "%s/file.h5", folder) : -1;
    return n > 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return lv_dir_remove(folder);
}

static int open_file(void)
{
    hid_t file = H5I_INVALID_HID;
    lv_h5_lock();
    int rc = lv_h5_open(&file, path);
    assert_int_equal(rc == LV_OK, file >= 0);
    if (file >= 0) {
        assert_int_equal(lv_h5_close(&file, path), LV_OK);
    }
    lv_h5_unlock();
    return rc;
}

static void a_file_of_our_own_is_opened(void **state)
{
    (void)state;
    hid_t file = H5I_INVALID_HID;
    lv_h5_lock();
    assert_int_equal(lv_h5_create(&file, path), LV_OK);
    assert_int_equal(lv_h5_close(&file, path), LV_OK);
    lv_h5_unlock();
    assert_int_equal(open_file(), LV_OK);
}

static void create_behind(hsize_t n, H5F_libver_t version)
{
    hid_t create = H5Pcreate(H5P_FILE_CREATE), access = H5Pcreate(H5P_FILE_ACCESS);
    assert_true(H5Pset_userblock(create, n) >= 0);
    assert_true(H5Pset_libver_bounds(access, version, H5F_LIBVER_LATEST) >= 0);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, create, access);
    assert_true(file >= 0 && H5Fclose(file) >= 0);
    assert_true(H5Pclose(create) >= 0 && H5Pclose(access) >= 0);
}

static void a_file_behind_a_user_block_is_opened(void **state)
{
    (void)state;
    for (hsize_t n = 512; n <= 4096; n *= 2) {
        create_behind(n, H5F_LIBVER_V110);
        assert_int_equal(open_file(), LV_OK);
    }
}

static void a_file_of_the_format_without_checksums_is_refused(void **state)
{
    (void)state;
    for (hsize_t n = 0; n <= 2048; n = n ? 2 * n : 512) {
        create_behind(n, H5F_LIBVER_EARLIEST);
        assert_int_equal(open_file(), LV_ERR_FORMAT);
        assert_non_null(strstr(lv_error_message(), "without checksums"));
    }
}

static void a_file_cut_in_its_first_bytes_is_refused(void **state)
{
    (void)state;
    for (size_t n = 0; n < 9; n++) {
        assert_int_equal(lv_file_write(path, "\x89HDF\r\n\x1A\n\x03", n), LV_OK);
        assert_int_equal(open_file(), LV_ERR_FORMAT);
        assert_non_null(strstr(lv_error_message(), "not a whole HDF5 file"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_our_own_is_opened),
        cmocka_unit_test(a_file_behind_a_user_block_is_opened),
        cmocka_unit_test(a_file_of_the_format_without_checksums_is_refused),
        cmocka_unit_test(a_file_cut_in_its_first_bytes_is_refused),
    };
    return cmocka_run_group_tests(tests, make_path, remove_folder);
}
