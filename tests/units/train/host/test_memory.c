/* SPDX-License-Identifier: Apache-2.0
 *
 * train/host/memory.h, on files as Linux has them, and of this process.
 */
#include "train/host/memory.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "tests/units/train/fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void put(void **state, const char *dir, const char *name, const char *text)
{
    char *folder = lv_path("%s/%s", (const char *)*state, dir);
    char *path = lv_path("%s/%s", folder, name);
    assert_int_equal(lv_dir_create(folder), LV_OK);
    assert_int_equal(lv_file_write(path, text, strlen(text)), LV_OK);
    free(path);
    free(folder);
}

static int64_t memory(void **state, int64_t (*function)(const char *, const char *))
{
    char *proc = lv_path("%s/proc", (const char *)*state);
    char *mount = lv_path("%s/groups", (const char *)*state);
    int64_t n = function(proc, mount);
    free(mount);
    free(proc);
    return n;
}

static int64_t available(void **state)
{
    return memory(state, lv_memory_available);
}

static int64_t left(void **state)
{
    return memory(state, lv_memory_left);
}

static void a_host_without_groups_says_what_is_available(void **state)
{
    assert_int_equal(available(state), 0);
    assert_true(left(state) == INT64_MAX);
    put(state, "proc", "meminfo", "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    5000 kB\n");
    assert_int_equal(available(state), 5000 * 1024);
    assert_int_equal(left(state), 5000 * 1024);
}

static void a_group_of_version_2_or_one_above_it_may_leave_less(void **state)
{
    put(state, "proc", "meminfo", "MemAvailable: 5000 kB\n");
    put(state, "proc/self", "cgroup", "0::/job/step\n");
    put(state, "groups/job/step", "memory.max", "max\n");
    put(state, "groups/job/step", "memory.current", "1000\n");
    assert_int_equal(available(state), 5000 * 1024);
    put(state, "groups/job", "memory.max", "3000000\n");
    put(state, "groups/job", "memory.current", "2000000\n");
    assert_int_equal(available(state), 1000000);
    put(state, "groups/job", "memory.stat", "anon 5\ninactive_file 600000\n");
    assert_int_equal(available(state), 1600000);
    put(state, "groups/job", "memory.stat", "inactive_file 600000\nactive_file 100000\n");
    assert_int_equal(available(state), 1600000);
    assert_int_equal(left(state), 1700000);
    put(state, "groups/job/step", "memory.max", "900\n");
    assert_int_equal(available(state), 0);
}

static void a_group_of_version_1_too(void **state)
{
    put(state, "proc", "meminfo", "MemAvailable: 5000 kB\n");
    put(state, "proc/self", "cgroup", "5:cpu:/other\n4:memory:/job\n0::/\n");
    put(state, "groups/memory/job", "memory.limit_in_bytes", "3000000\n");
    put(state, "groups/memory/job", "memory.usage_in_bytes", "2000000\n");
    put(state, "groups/memory/job", "memory.stat", "inactive_file 1\ntotal_inactive_file 500000\n");
    assert_int_equal(available(state), 1500000);
}

static void the_limit_of_a_container_is_seen_where_its_path_is_the_hosts(void **state)
{
    put(state, "proc", "meminfo", "MemAvailable: 5000 kB\n");
    put(state, "proc/self", "cgroup", "4:memory:/docker/abc\n");
    put(state, "groups/memory", "memory.limit_in_bytes", "2000000\n");
    put(state, "groups/memory", "memory.usage_in_bytes", "500000\n");
    assert_int_equal(available(state), 1500000);
}

/* Bytes of a mapping, in use. */
static void *touch(int flags, int fd, size_t n)
{
    void *memory = mmap(NULL, n, PROT_READ | PROT_WRITE, flags, fd, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    memset(memory, 1, n);
    return memory;
}

static void memory_is_told_apart_by_what_is_behind_it(void **state)
{
    enum { SHARED = 24 << 20, OWN = 16 << 20, SLACK = 2 << 20 };
    const int fd = memfd_create("shared", MFD_CLOEXEC);
    (void)state;
    assert_int_equal(ftruncate(fd, SHARED), 0);
    const lv_process_memory before = lv_memory_now();
    void *shared = touch(MAP_SHARED, fd, SHARED);
    void *own = touch(MAP_PRIVATE | MAP_ANONYMOUS, -1, OWN);
    const lv_process_memory after = lv_memory_now();
    assert_in_range(after.shmem_bytes - before.shmem_bytes + SLACK, SHARED, SHARED + 2 * SLACK);
    assert_in_range(after.anon_bytes - before.anon_bytes + SLACK, OWN, OWN + 2 * SLACK);
    assert_in_range(after.file_bytes - before.file_bytes + SLACK, 0, 2 * SLACK);
    munmap(shared, SHARED);
    munmap(own, OWN);
    close(fd);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_open, fixture_close)
    const struct CMUnitTest tests[] = {
        TEST(a_host_without_groups_says_what_is_available),
        TEST(a_group_of_version_2_or_one_above_it_may_leave_less),
        TEST(a_group_of_version_1_too),
        TEST(the_limit_of_a_container_is_seen_where_its_path_is_the_hosts),
        cmocka_unit_test(memory_is_told_apart_by_what_is_behind_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
