/* SPDX-License-Identifier: Apache-2.0 */
#include "train/cluster/threads.h"

#include "autograd/error.h"
#include "tests/units/train/fixture.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

static lv_cpu_set mask_here(void)
{
    lv_cpu_set set = {{0}};
    assert_int_equal(sched_getaffinity(0, sizeof set, (cpu_set_t *)&set), 0);
    return set;
}

static int count(const lv_cpu_set *set)
{
    int n = 0;
    for (int cpu = 0; cpu < LV_MAX_CPUS; cpu++) {
        n += lv_cpu_set_has(set, cpu);
    }
    return n;
}

typedef struct {
    const lv_threads *threads;
    lv_cpu_set inherited, after;
} worker;

static void *leave_core(void *context)
{
    worker *w = context;
    w->inherited = mask_here();
    lv_threads_leave_core(w->threads);
    w->after = mask_here();
    return NULL;
}

static void each_thread_has_a_core_and_those_beside_them_have_all(void **state)
{
    enum { MOST = 1024 };
    static lv_cpu_set masks[MOST];
    static lv_topology topology;
    const lv_comm comm = lv_comm_single();
    lv_cpu_set before = mask_here();
    lv_threads threads;
    pthread_t thread;
    (void)state;
    if (getenv("OMP_NUM_THREADS") || getenv("OMP_PROC_BIND") || getenv("OMP_PLACES")) {
        skip();
    }
    assert_int_equal(lv_threads_start(&threads, &comm), LV_OK);
    assert_int_equal(omp_get_max_threads(), threads.n_threads);
    if (!threads.bound) {
        skip(); /* a quota */
    }
    lv_topology_read(&topology, "/sys/devices/system");
    assert_int_equal(threads.n_threads, lv_core_count(&before, &topology));
#pragma omp parallel
    masks[omp_get_thread_num() % MOST] = mask_here();
    for (int i = 0; i < threads.n_threads && i < MOST; i++) {
        assert_int_equal(count(&masks[i]), 1);
        for (int j = 0; j < i; j++) {
            assert_memory_not_equal(&masks[i], &masks[j], sizeof masks[i]);
        }
    }
    worker w = {.threads = &threads};
    assert_int_equal(pthread_create(&thread, NULL, leave_core, &w), 0);
    pthread_join(thread, NULL);
    assert_int_equal(count(&w.inherited), 1);
    assert_memory_equal(&w.after, &before, sizeof before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_thread_has_a_core_and_those_beside_them_have_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
