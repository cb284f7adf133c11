/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/cgroup.h"
#include "train/host/cores.h"

#include "data/base/file.h"
#include "tests/units/train/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 2 nodes of 4 cores of 2 CPUs: CPU c and c + 8 are core c; even cores are on node 0. */
static lv_topology interleaved(void)
{
    lv_topology t;
    for (int cpu = 0; cpu < LV_MAX_CPUS; cpu++) {
        t.core[cpu] = (int16_t)(cpu < 16 ? cpu % 8 : cpu);
        t.node[cpu] = (int16_t)(cpu % 2);
    }
    return t;
}

static lv_rank_cpus rank_on(const char *list)
{
    lv_rank_cpus rank = {.quota_cpus = INFINITY};
    assert_true(lv_cpu_list_parse(&rank.allowed, list));
    return rank;
}

static void assert_slice(const lv_cpu_share *share, const char *list)
{
    lv_cpu_set want;
    assert_true(lv_cpu_list_parse(&want, list));
    assert_memory_equal(&share->slice, &want, sizeof want);
}

static lv_cpu_share share_of(const lv_rank_cpus *ranks, int n, int rank)
{
    const lv_topology topology = interleaved();
    lv_cpu_share share;
    lv_cpu_share_of(&share, ranks, n, rank, &topology);
    return share;
}

static void lists_of_CPUs_are_read_as_the_system_writes_them(void **state)
{
    lv_cpu_set set;
    (void)state;
    assert_true(lv_cpu_list_parse(&set, "0-2,64,8190-8191\n"));
    int n = 0;
    for (int cpu = 0; cpu < LV_MAX_CPUS; cpu++) {
        n += lv_cpu_set_has(&set, cpu);
    }
    assert_int_equal(n, 6);
    assert_true(lv_cpu_set_has(&set, 2) && lv_cpu_set_has(&set, 64) && lv_cpu_set_has(&set, 8191));
    const char *const wrong[] = {"0-8192", "3-1", "1,x", "0-", "-1", "1 2", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(lv_cpu_list_parse(&set, wrong[i]));
    }
}

static void one_rank_has_a_thread_a_core_and_its_hardware_threads_are_in_the_slice(void **state)
{
    (void)state;
    lv_rank_cpus rank = rank_on("0-15");
    lv_cpu_share share = share_of(&rank, 1, 0);
    const int16_t cpus[] = {0, 2, 4, 6, 1, 3, 5, 7}; /* node after node */
    assert_int_equal(share.n_threads, 8);
    assert_true(share.exclusive);
    assert_memory_equal(share.cpu, cpus, sizeof cpus);
    assert_slice(&share, "0-15");
}

static void ranks_of_one_mask_share_its_cores_out_without_crossing_nodes(void **state)
{
    (void)state;
    lv_rank_cpus ranks[] = {rank_on("0-15"), rank_on("0-15")};
    lv_cpu_share first = share_of(ranks, 2, 0), second = share_of(ranks, 2, 1);
    assert_int_equal(first.n_threads, 4);
    assert_true(first.exclusive && second.exclusive);
    assert_slice(&first, "0,2,4,6,8,10,12,14");
    assert_slice(&second, "1,3,5,7,9,11,13,15");
    assert_int_equal(second.cpu[0], 1);
}

static void every_core_is_in_one_slice_and_all_ranks_have_as_many_threads(void **state)
{
    (void)state;
    for (int n = 1; n <= 8; n++) {
        lv_rank_cpus ranks[8];
        int owners[16] = {0};
        for (int r = 0; r < n; r++) {
            ranks[r] = rank_on("0-15");
        }
        for (int r = 0; r < n; r++) {
            lv_cpu_share share = share_of(ranks, n, r);
            assert_int_equal(share.n_threads, 8 / n);
            assert_true(share.exclusive);
            for (int cpu = 0; cpu < 16; cpu++) {
                owners[cpu] += lv_cpu_set_has(&share.slice, cpu);
            }
            for (int t = 0; t < share.n_threads; t++) {
                assert_true(lv_cpu_set_has(&share.slice, share.cpu[t]));
            }
        }
        for (int cpu = 0; cpu < 16; cpu++) {
            assert_int_equal(owners[cpu], 1);
        }
    }
}

static void a_launchers_binding_is_kept(void **state)
{
    (void)state;
    /* two ranks on each socket, in turn; and a rank on a hardware thread each */
    lv_rank_cpus sockets[] = {rank_on("0,2,4,6"), rank_on("1,3,5,7"), rank_on("0,2,4,6"),
                              rank_on("1,3,5,7")};
    lv_cpu_share share = share_of(sockets, 4, 3);
    assert_int_equal(share.n_threads, 2);
    assert_true(share.exclusive);
    assert_slice(&share, "5,7");
    lv_rank_cpus hyper[] = {rank_on("0"), rank_on("8")};
    share = share_of(hyper, 2, 1);
    assert_int_equal(share.n_threads, 1);
    assert_true(share.exclusive);
    assert_int_equal(share.cpu[0], 8);
}

static void more_ranks_than_cores_are_not_bound(void **state)
{
    (void)state;
    lv_rank_cpus ranks[] = {rank_on("0-1"), rank_on("0-1"), rank_on("0-1")};
    lv_cpu_share share = share_of(ranks, 3, 2);
    assert_int_equal(share.n_threads, 1);
    assert_false(share.exclusive);
    assert_int_equal(share.n_all_threads, 3);
    assert_int_equal(share.n_cores, 2);
    assert_slice(&share, "0-1");
}

static void masks_that_overlap_are_not_bound_and_share_what_they_have_together(void **state)
{
    (void)state;
    /* 0 and 2 meet only through 1 */
    lv_rank_cpus ranks[] = {rank_on("0-1"), rank_on("1-6"), rank_on("6-7"), rank_on("100")};
    for (int r = 0; r < 3; r++) {
        lv_cpu_share share = share_of(ranks, 4, r);
        assert_int_equal(share.n_threads, 2);
        assert_false(share.exclusive);
        assert_int_equal(share.n_cores, 8);
        assert_int_equal(share.n_all_threads, 6);
    }
    assert_true(share_of(ranks, 4, 3).exclusive);
}

static void the_users_number_of_threads_wins_and_is_bound_only_if_it_fills_the_cores(void **state)
{
    (void)state;
    const struct {
        int asked, n_all;
        bool exclusive;
    } cases[] = {{1, 2, false}, {3, 6, false}, {4, 8, true}, {5, 10, false}, {8, 16, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_rank_cpus ranks[] = {rank_on("0-15"), rank_on("0-15")};
        ranks[0].n_requested_threads = ranks[1].n_requested_threads = cases[i].asked;
        lv_cpu_share share = share_of(ranks, 2, 1);
        assert_int_equal(share.n_threads, cases[i].asked);
        assert_int_equal(share.n_all_threads, cases[i].n_all);
        assert_int_equal(share.exclusive, cases[i].exclusive);
    }
}

static void a_quota_is_shared_by_the_ranks_under_it(void **state)
{
    (void)state;
    lv_rank_cpus ranks[] = {rank_on("0-15"), rank_on("0-15"), rank_on("0-15")};
    ranks[0].quota_cpus = ranks[1].quota_cpus = 3.5;
    ranks[0].quota_id = ranks[1].quota_id = 7;
    assert_int_equal(share_of(ranks, 3, 0).n_threads, 1);
    assert_false(share_of(ranks, 3, 0).exclusive);
    assert_int_equal(share_of(ranks, 3, 2).n_threads, 2);
    ranks[0].quota_cpus = ranks[1].quota_cpus = 0.5; /* there is no less than one thread */
    assert_int_equal(share_of(ranks, 3, 1).n_threads, 1);
    ranks[0].quota_cpus = ranks[1].quota_cpus = 100;
    assert_int_equal(share_of(ranks, 3, 1).n_threads, 2);
}

static void write_in(void **state, const char *dir, const char *name, const char *text)
{
    char *path = lv_path("%s/%s", fixture_path(state, dir), name);
    assert_int_equal(lv_dir_create(fixture_path(state, dir)), 0);
    assert_int_equal(lv_file_write(path, text, strlen(text)), 0);
    free(path);
}

enum { HOST_CPUS = 4, HOST_NODES = 3 };

/* What the system tells of a host; NULL: of a CPU or node that is off. */
typedef struct {
    const char *cpus, *siblings[HOST_CPUS]; /* ... of the same core, by CPU */
    const char *nodes, *of_node[HOST_NODES];
} host;

static lv_topology topology_of(void **state, const host *h)
{
    char dir[64];
    lv_topology topology;
    write_in(state, "sys/cpu", "online", h->cpus);
    write_in(state, "sys/node", "online", h->nodes);
    for (int cpu = 0; cpu < HOST_CPUS; cpu++) {
        snprintf(dir, sizeof dir, "sys/cpu/cpu%d/topology", cpu);
        if (h->siblings[cpu]) {
            write_in(state, dir, "thread_siblings_list", h->siblings[cpu]);
        }
    }
    for (int node = 0; node < HOST_NODES; node++) {
        snprintf(dir, sizeof dir, "sys/node/node%d", node);
        if (h->of_node[node]) {
            write_in(state, dir, "cpulist", h->of_node[node]);
        }
    }
    lv_topology_read(&topology, fixture_path(state, "sys"));
    return topology;
}

static void cores_and_nodes_are_read_from_the_system(void **state)
{
    const host h = {.cpus = "0-3\n",
                    .siblings = {"0,2\n", "1,3\n", "0,2\n", "1,3\n"},
                    .nodes = "0-1\n",
                    .of_node = {"0,2\n", "1,3\n"}};
    lv_topology t = topology_of(state, &h);
    assert_int_equal(t.core[2], 0);
    assert_int_equal(t.core[3], 1);
    assert_int_equal(t.node[2], 0);
    assert_int_equal(t.node[3], 1);
    lv_topology_read(&t, fixture_path(state, "nowhere"));
    assert_int_equal(t.core[3], 3);
    assert_int_equal(t.node[3], 0);
}

static void a_set_of_CPUs_is_on_one_socket_or_on_several(void **state)
{
    const host h = {.cpus = "0-3\n", .nodes = "0\n", .of_node = {"0-3\n"}};
    write_in(state, "sys/cpu/cpu1/topology", "physical_package_id", "0\n");
    write_in(state, "sys/cpu/cpu2/topology", "physical_package_id", "36\n");
    write_in(state, "sys/cpu/cpu3/topology", "physical_package_id", "-1\n");
    lv_topology t = topology_of(state, &h);
    lv_cpu_set set;
    assert_true(lv_cpu_list_parse(&set, "2"));
    assert_int_equal(lv_socket_of(&set, &t), 36);
    assert_true(lv_cpu_list_parse(&set, "0-1,3")); /* what is not known counts as the first */
    assert_int_equal(lv_socket_of(&set, &t), 0);
    assert_true(lv_cpu_list_parse(&set, "1-2"));
    assert_int_equal(lv_socket_of(&set, &t), -1);
}

static void a_core_that_is_off_does_not_hide_those_behind_it(void **state)
{
    const host h = {.cpus = "0,2-3\n",
                    .siblings = {"0\n", NULL, "2-3\n", "2-3\n"},
                    .nodes = "0,2\n",
                    .of_node = {"0\n", NULL, "2-3\n"}};
    lv_topology t = topology_of(state, &h);
    assert_int_equal(t.core[3], 2);
    assert_int_equal(t.node[3], 2);
}

static double quota(void **state, const char *list, uint64_t *id)
{
    fixture_write(state, "cgroup", list);
    return lv_cpu_quota(id, fixture_path(state, "cgroup"), fixture_path(state, "mount"));
}

static void the_smallest_quota_of_a_group_and_those_above_it_counts(void **state)
{
    uint64_t id = 1, other = 1, above = 1;
    write_in(state, "mount/a/b", "cpu.max", "max 100000\n");
    write_in(state, "mount/a", "cpu.max", "150000 100000\n");
    write_in(state, "mount/c", "cpu.max", "400000 100000\n");
    assert_true(isinf(quota(state, "0::/\n", &id)) && id == 0);
    assert_true(isinf(quota(state, "12:cpu,cpuacct:/a\n", &id)) && id == 0);
    assert_true(isinf(quota(state, "", &id)));
    assert_true(quota(state, "3:cpuset:/c\n0::/a/b\n", &id) == 1.5 && id != 0);
    assert_true(quota(state, "0::/a\n", &other) == 1.5 && other == id);
    assert_true(quota(state, "0::/c\n", &other) == 4 && other != id);
    write_in(state, "mount", "cpu.max", "50000 100000\n");
    assert_true(quota(state, "0::/the/hosts/name/of/it\n", &above) == 0.5);
    assert_true(quota(state, "0::/a/b\n", &other) == 0.5 && other == above);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_CPUs_are_read_as_the_system_writes_them),
        cmocka_unit_test(one_rank_has_a_thread_a_core_and_its_hardware_threads_are_in_the_slice),
        cmocka_unit_test(ranks_of_one_mask_share_its_cores_out_without_crossing_nodes),
        cmocka_unit_test(every_core_is_in_one_slice_and_all_ranks_have_as_many_threads),
        cmocka_unit_test(a_launchers_binding_is_kept),
        cmocka_unit_test(more_ranks_than_cores_are_not_bound),
        cmocka_unit_test(masks_that_overlap_are_not_bound_and_share_what_they_have_together),
        cmocka_unit_test(the_users_number_of_threads_wins_and_is_bound_only_if_it_fills_the_cores),
        cmocka_unit_test(a_quota_is_shared_by_the_ranks_under_it),
        cmocka_unit_test_setup_teardown(cores_and_nodes_are_read_from_the_system, fixture_open,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(a_set_of_CPUs_is_on_one_socket_or_on_several, fixture_open,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(a_core_that_is_off_does_not_hide_those_behind_it,
                                        fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(the_smallest_quota_of_a_group_and_those_above_it_counts,
                                        fixture_open, fixture_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
