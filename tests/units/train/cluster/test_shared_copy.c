/* SPDX-License-Identifier: Apache-2.0
 *
 * A rank alone; several ranks are in tests/mpi/weights.sh.
 */
#include "train/cluster/shared_copy.h"

#include "autograd/error.h"
#include "tests/units/train/fixture.h"

#include <signal.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rank_alone_has_cleared_memory_of_any_size),
        cmocka_unit_test(what_was_sealed_can_be_read_and_not_written),
        cmocka_unit_test(more_than_the_host_has_left_is_refused_with_both_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
