/* SPDX-License-Identifier: Apache-2.0
 *
 * data/file.h: only regular files are read, and nothing without a name is made.
 */
#include "autograd/error.h"
#include "data/file.h"
#include "data/hdf5_util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/llava-file-XXXXXX";
static char *fifo, *copy;

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(dir)) {
        return -1;
    }
    fifo = lv_path("%s/fifo", dir);
    copy = lv_path("%s/copy", dir);
    alarm(20); /* who waits for a pipe is ended */
    return mkfifo(fifo, 0600);
}

static int tear_down(void **state)
{
    (void)state;
    free(fifo);
    free(copy);
    return lv_dir_remove(dir);
}

/* Every way to read. */
static void refuse_all(const char *path)
{
    char *text = NULL;
    size_t n = 0;
    uint32_t crc = 0;
    int64_t n_bytes = 0;
    lv_file_map map = {0};
    hid_t file;
    assert_int_equal(lv_file_read(&text, &n, path), LV_ERR_IO);
    assert_non_null(strstr(lv_error_message(), path));
    assert_int_equal(lv_file_crc32(&crc, &n_bytes, path), LV_ERR_IO);
    assert_int_equal(lv_file_copy(copy, path), LV_ERR_IO);
    assert_false(lv_file_exists(copy));
    assert_int_equal(lv_file_map_open(&map, path), LV_ERR_IO);
    lv_h5_lock();
    assert_int_equal(lv_h5_open(&file, path), LV_ERR_IO);
    lv_h5_unlock();
}

static void a_pipe_is_refused_and_not_waited_for(void **state)
{
    (void)state;
    refuse_all(fifo);
}

static void a_device_without_an_end_is_refused(void **state)
{
    (void)state;
    refuse_all("/dev/zero");
}

static void a_directory_is_refused(void **state)
{
    (void)state;
    refuse_all(dir);
}

static void what_is_not_there_is_refused(void **state)
{
    (void)state;
    refuse_all("/nowhere/at/all");
}

static void a_directory_without_a_name_is_refused(void **state)
{
    (void)state;
    assert_int_equal(lv_dir_create(""), LV_ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipe_is_refused_and_not_waited_for),
        cmocka_unit_test(a_device_without_an_end_is_refused),
        cmocka_unit_test(a_directory_is_refused),
        cmocka_unit_test(what_is_not_there_is_refused),
        cmocka_unit_test(a_directory_without_a_name_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
