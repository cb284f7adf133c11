/* SPDX-License-Identifier: Apache-2.0
 *
 * data/base/file.h: only regular files are read, nothing without a name is made, and a new file is there
 * whole or not at all.
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/base/hdf5.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
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

static void holds(const char *path, const char *want)
{
    char *text = NULL;
    size_t n = 0;
    assert_int_equal(lv_file_read(&text, &n, path), LV_OK);
    assert_string_equal(text, want);
    free(text);
}

static void
a_new_file_takes_its_place_when_it_is_closed_well_and_leaves_nothing_otherwise(void **state)
{
    (void)state;
    char *path = lv_path("%s/new", dir), *beside = lv_file_beside(path);
    lv_new_file file = {0};
    assert_int_equal(lv_file_write(path, "old", 3), LV_OK);
    for (int rc = LV_ERR_IO; rc <= LV_OK; rc += LV_OK - LV_ERR_IO) {
        assert_int_equal(lv_new_file_open(&file, path), LV_OK);
        assert_int_equal(lv_new_file_write(&file, "ne", 2), LV_OK);
        assert_int_equal(lv_new_file_write(&file, "w", 1), LV_OK);
        assert_true(lv_file_exists(beside));
        holds(path, "old");
        assert_int_equal(lv_new_file_close(&file, rc), rc);
        assert_false(lv_file_exists(beside));
        holds(path, rc == LV_OK ? "new" : "old");
    }
    assert_int_equal(lv_new_file_close(&file, LV_ERR_FORMAT), LV_ERR_FORMAT); /* harmless */
    free(beside);
    free(path);
}

static void a_new_file_that_cannot_be_written_is_named_and_leaves_nothing(void **state)
{
    (void)state;
    const struct rlimit no_room = {.rlim_cur = 10000, .rlim_max = RLIM_INFINITY};
    struct rlimit before;
    static const char data[20000];
    char *path = lv_path("%s/large", dir), *beside = lv_file_beside(path);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &no_room), 0);
    assert_int_equal(lv_file_write(path, data, sizeof data), LV_ERR_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_non_null(strstr(lv_error_message(), path));
    assert_non_null(strstr(lv_error_message(), strerror(EFBIG)));
    assert_false(lv_file_exists(path));
    assert_false(lv_file_exists(beside));
    free(beside);
    free(path);
}

static void removing_a_directory_leaves_what_links_name(void **state)
{
    (void)state;
    char *kept = lv_path("%s/kept", dir), *inside = lv_path("%s/kept/file", dir);
    char *gone = lv_path("%s/gone", dir), *link_in_it = lv_path("%s/gone/link", dir);
    assert_int_equal(lv_dir_create(kept), LV_OK);
    assert_int_equal(lv_file_write(inside, "x", 1), LV_OK);
    assert_int_equal(lv_dir_create(gone), LV_OK);
    assert_int_equal(symlink(kept, link_in_it), 0);
    assert_int_equal(lv_dir_remove(gone), LV_OK);
    assert_false(lv_file_exists(gone));
    holds(inside, "x");
    assert_int_equal(symlink(kept, gone), 0);
    assert_int_equal(lv_dir_remove(gone), LV_OK);
    assert_false(lv_file_exists(gone));
    holds(inside, "x");
    free(link_in_it);
    free(gone);
    free(inside);
    free(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipe_is_refused_and_not_waited_for),
        cmocka_unit_test(a_device_without_an_end_is_refused),
        cmocka_unit_test(a_directory_is_refused),
        cmocka_unit_test(what_is_not_there_is_refused),
        cmocka_unit_test(a_directory_without_a_name_is_refused),
        cmocka_unit_test(
            a_new_file_takes_its_place_when_it_is_closed_well_and_leaves_nothing_otherwise),
        cmocka_unit_test(a_new_file_that_cannot_be_written_is_named_and_leaves_nothing),
        cmocka_unit_test(removing_a_directory_leaves_what_links_name),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
