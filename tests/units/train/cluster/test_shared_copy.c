/* SPDX-License-Identifier: Apache-2.0
 *
 * A rank alone; several ranks are in tests/mpi/weights.sh.
 */
#include "train/cluster/shared_copy.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "tests/units/train/fixture.h"
#include "train/host/memory.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_rank_alone_has_cleared_memory_of_any_size(void **state)
{
    static const int64_t sizes[] = {1, 4096, 4097, (4 << 20) + 64};
    const lv_comm comm = lv_comm_single();
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        lv_shared_copy copy = {0};
        assert_int_equal(lv_shared_copy_create(&copy, &comm, 3, sizes[i]), LV_OK);
        assert_int_equal(copy.part, 0);
        assert_int_equal(copy.n_parts, 1);
        assert_int_equal(copy.n_copies, 1);
        assert_int_equal((uintptr_t)copy.data % 64, 0);
        char *data = copy.data;
        for (int64_t k = 0; k < sizes[i]; k++) {
            assert_int_equal(data[k], 0);
            data[k] = (char)k;
        }
        lv_shared_copy_destroy(&copy);
        assert_null(copy.data);
    }
}

static void what_was_sealed_can_be_read_and_not_written(void **state)
{
    const lv_comm comm = lv_comm_single();
    lv_shared_copy copy = {0};
    int status;
    (void)state;
    assert_int_equal(lv_shared_copy_create(&copy, &comm, 0, 100), LV_OK);
    char *data = copy.data;
    data[99] = 7;
    assert_int_equal(lv_shared_copy_seal(&copy), LV_OK);
    assert_int_equal(data[99], 7);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        data[99] = 8;
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    lv_shared_copy_destroy(&copy);
}

static void more_than_the_host_has_left_is_refused_with_both_numbers(void **state)
{
    const lv_comm comm = lv_comm_single();
    lv_shared_copy copy = {0};
    (void)state;
    assert_fails(lv_shared_copy_create(&copy, &comm, 0, INT64_C(1) << 50), LV_ERR_MEMORY,
                 "1 x 1125.9 TB, but this host has ");
    assert_null(copy.data);
}

/* ---- the memory that is left ---- */

static void write_in(void **state, const char *dir, const char *name, const char *text)
{
    char *path = lv_path("%s/%s", fixture_path(state, dir), name);
    assert_int_equal(lv_dir_create(fixture_path(state, dir)), 0);
    assert_int_equal(lv_file_write(path, text, strlen(text)), 0);
    free(path);
}

static int64_t left(void **state)
{
    return lv_memory_left(fixture_path(state, "proc/meminfo"), fixture_path(state, "proc/cgroup"),
                          fixture_path(state, "cg"));
}

static void what_the_system_says_is_left(void **state)
{
    assert_true(left(state) == INT64_MAX);
    write_in(state, "proc", "meminfo",
             "MemTotal:       24571000 kB\nMemFree: 1 kB\nMemAvailable:   19000000 kB\n");
    assert_true(left(state) == INT64_C(19000000) * 1024);
}

static void the_narrowest_control_group_counts_with_its_file_caches_as_left(void **state)
{
    write_in(state, "proc", "meminfo", "MemAvailable: 9000000 kB\n");
    write_in(state, "proc", "cgroup", "1:cpu:/other\n0::/job/step\n");
    write_in(state, "cg/job/step", "memory.max", "max\n");
    write_in(state, "cg/job/step", "memory.current", "700000\n");
    assert_true(left(state) == INT64_C(9000000) * 1024);
    write_in(state, "cg/job", "memory.max", "1000000\n");
    write_in(state, "cg/job", "memory.current", "900000\n");
    assert_true(left(state) == 100000);
    write_in(state, "cg/job", "memory.stat",
             "anon 5\nfile 300000\nshmem 250000\ninactive_file 40000\nactive_file 10000\n");
    assert_true(left(state) == 150000);
    write_in(state, "cg/job", "memory.max", "800000\n");
    assert_true(left(state) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rank_alone_has_cleared_memory_of_any_size),
        cmocka_unit_test(what_was_sealed_can_be_read_and_not_written),
        cmocka_unit_test(more_than_the_host_has_left_is_refused_with_both_numbers),
        cmocka_unit_test_setup_teardown(what_the_system_says_is_left, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(
            the_narrowest_control_group_counts_with_its_file_caches_as_left, fixture_open,
            fixture_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
