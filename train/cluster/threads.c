/* SPDX-License-Identifier: Apache-2.0 */
#include "train/cluster/threads.h"

#include "autograd/error.h"
#include "train/host/cgroup.h"

#include <inttypes.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* This rank's host. */
typedef struct {
    lv_topology topology;
    lv_rank_cpus *ranks; /* of the host, by local rank */
    lv_cpu_share share;
    int n_bound_cores;     /* that any rank of the host may use */
    int n_reachable_cores; /* that the system would let them use */
} host_cores;

static bool read_mask(lv_cpu_set *out)
{
    memset(out, 0, sizeof *out);
    return sched_getaffinity(0, sizeof *out, (cpu_set_t *)out) == 0;
}

static bool set_mask(const lv_cpu_set *cpus)
{
    return sched_setaffinity(0, sizeof *cpus, (const cpu_set_t *)cpus) == 0;
}

static bool user_binds(void)
{
    return getenv("OMP_PROC_BIND") || getenv("OMP_PLACES") ||
           omp_get_proc_bind() != omp_proc_bind_false;
}

/* Where OpenMP binds, this thread is bound already; its places have the CPUs allowed before. */
static int find_allowed(lv_cpu_set *out)
{
    int ids[LV_MAX_CPUS];
    if (!read_mask(out)) {
        return lv_fail_errno(LV_ERR_IO, "sched_getaffinity");
    }
    for (int p = 0; omp_get_proc_bind() != omp_proc_bind_false && p < omp_get_num_places(); p++) {
        int n = omp_get_place_num_procs(p);
        if (n > LV_MAX_CPUS) {
            continue;
        }
        omp_get_place_proc_ids(p, ids);
        for (int i = 0; i < n; i++) {
            if (ids[i] >= 0 && ids[i] < LV_MAX_CPUS) {
                lv_cpu_set_add(out, ids[i]);
            }
        }
    }
    return LV_OK;
}

void lv_threads_release(void)
{
    lv_cpu_set allowed;
    if (omp_get_proc_bind() != omp_proc_bind_false && find_allowed(&allowed) == LV_OK) {
        set_mask(&allowed);
    }
}

int lv_threads_check_env(void)
{
    const char *value = getenv("OMP_NUM_THREADS");
    return omp_get_max_threads() <= LV_MAX_CPUS
               ? LV_OK
               : lv_fail(LV_ERR_CONFIG,
                         "OMP_NUM_THREADS=%s in the environment: at most %d threads are possible",
                         value ? value : "", LV_MAX_CPUS);
}

/* The CPUs that a control group allows: what is left of a mask of all of them. */
static void find_reachable(lv_cpu_set *out, const lv_cpu_set *allowed)
{
    lv_cpu_set before, all;
    memset(&all, 0xff, sizeof all);
    *out = *allowed;
    if (read_mask(&before) && set_mask(&all)) {
        read_mask(out);
        set_mask(&before);
    }
}

/* Collective: gathers what the ranks of the host may use, and computes this one's share. */
static int find_share(host_cores *h, const lv_comm *comm, int n_requested_threads)
{
    lv_rank_cpus own = {.n_requested_threads = n_requested_threads};
    lv_cpu_set reachable, used = {{0}};
    h->ranks = calloc((size_t)comm->n_local_ranks, sizeof *h->ranks);
    int rc = h->ranks ? find_allowed(&own.allowed)
                      : lv_fail(LV_ERR_MEMORY, "out of memory for the ranks of a host");
    own.quota_cpus = lv_cpu_quota(&own.quota_id, "/proc/self/cgroup", "/sys/fs/cgroup");
    rc = lv_comm_agree(comm, rc);
    if (rc == LV_OK) rc = lv_comm_gather_host(comm, h->ranks, &own, sizeof own);
    if (rc < 0) {
        return rc;
    }
    lv_topology_read(&h->topology, "/sys/devices/system");
    lv_cpu_share_of(&h->share, h->ranks, comm->n_local_ranks, comm->local_rank, &h->topology);
    for (int r = 0; r < comm->n_local_ranks; r++) {
        for (size_t w = 0; w < sizeof used.bits / sizeof *used.bits; w++) {
            used.bits[w] |= h->ranks[r].allowed.bits[w];
        }
    }
    find_reachable(&reachable, &used);
    const char *slurm = getenv("SLURM_CPUS_ON_NODE"); /* may give less than it enforces */
    int allocated = slurm ? atoi(slurm) : LV_MAX_CPUS;
    h->n_bound_cores = lv_core_count(&used, &h->topology);
    h->n_reachable_cores = lv_core_count(&reachable, &h->topology);
    if (allocated > 0 && allocated < h->n_reachable_cores) {
        h->n_reachable_cores = allocated;
    }
    return LV_OK;
}

/* On rank 0, for its own host; n_hosts: how many of all are so. */
static void warn_crowded(const host_cores *h, const lv_comm *comm, int64_t n_hosts)
{
    const char *fewer = !getenv("OMP_NUM_THREADS") ? "fewer ranks"
                        : comm->n_local_ranks == 1 ? "a smaller OMP_NUM_THREADS"
                                                   : "fewer ranks or a smaller OMP_NUM_THREADS";
    char hosts[48] = "";
    if (n_hosts > 1) {
        snprintf(hosts, sizeof hosts, " (%" PRId64 " hosts are so)", n_hosts);
    }
    lv_warn("%d threads on %d core%s of this host: they take turns, unbound; %s would be faster%s",
            h->share.n_all_threads, h->share.n_cores, h->share.n_cores == 1 ? "" : "s", fewer,
            hosts);
}

static void warn_confined(const host_cores *h, const lv_comm *comm)
{
    lv_warn(
        "the launcher has bound %s of this host to %d of its %d cores; all are used with mpirun "
        "--bind-to none, or srun --cpu-bind=none",
        comm->n_local_ranks == 1 ? "the rank" : "the ranks", h->n_bound_cores,
        h->n_reachable_cores);
}

/* Collective: warns on rank 0 of what is slow. */
static int warn_of_slowness(const host_cores *h, const lv_comm *comm, bool uses_all)
{
    int64_t n_crowded = comm->local_rank == 0 && h->share.n_all_threads > h->share.n_cores;
    int rc = lv_comm_sum_int64(comm, &n_crowded, 1);
    if (rc < 0 || comm->rank > 0) {
        return rc;
    }
    if (uses_all && lv_comm_launched() && h->n_bound_cores < h->n_reachable_cores) {
        warn_confined(h, comm);
    } else if (n_crowded > 0) {
        warn_crowded(h, comm, n_crowded);
    }
    return LV_OK;
}

/* returns false if the system refuses it for a thread */
static bool bind_threads(const lv_cpu_share *share)
{
    int n_failed = 0;
#pragma omp parallel reduction(+ : n_failed)
    {
        lv_cpu_set own = {{0}};
        lv_cpu_set_add(&own, share->cpu[omp_get_thread_num()]);
        n_failed += !set_mask(&own);
    }
    return n_failed == 0;
}

/* Collective: the line about all ranks. */
static int describe_threads(lv_threads *t, const lv_comm *comm)
{
    int64_t n_hosts = comm->local_rank == 0;
    double largest[] = {t->n_threads, -t->n_threads, !t->bound};
    char threads[48];
    int rc = lv_comm_sum_int64(comm, &n_hosts, 1);
    if (rc == LV_OK) rc = lv_comm_max_double(comm, largest, 3);
    int most = (int)largest[0], fewest = (int)-largest[1];
    snprintf(threads, sizeof threads, fewest < most ? "%d to %d" : "%d", fewest, most);
    const char *binding = user_binds()     ? "binding left to OMP_PROC_BIND and OMP_PLACES"
                          : largest[2] > 0 ? "not bound"
                          : most == 1      ? "bound to a core"
                                           : "each bound to a core";
    snprintf(t->line, sizeof t->line, "%" PRId64 " host%s, %d rank%s of %s thread%s, %s", n_hosts,
             n_hosts == 1 ? "" : "s", comm->n_ranks, comm->n_ranks == 1 ? "" : "s", threads,
             most == 1 ? "" : "s", binding);
    return rc;
}

int lv_threads_start(lv_threads *out, const lv_comm *comm)
{
    host_cores *h = calloc(1, sizeof *h);
    int rc = lv_comm_agree(
        comm, h ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory for the cores of a host"));
    if (rc < 0) {
        goto done;
    }
    rc = find_share(h, comm, getenv("OMP_NUM_THREADS") ? omp_get_max_threads() : 0);
    if (rc == LV_OK) rc = warn_of_slowness(h, comm, true);
    if (rc < 0) {
        goto done;
    }
    *out =
        (lv_threads){.n_threads = h->share.n_threads, .slice = h->ranks[comm->local_rank].allowed};
    omp_set_dynamic(false); /* the same number each time, for the same bits */
    omp_set_num_threads(out->n_threads);
    if (!user_binds() && h->share.exclusive && bind_threads(&h->share)) {
        out->bound = true;
        out->slice = h->share.slice;
    }
    rc = describe_threads(out, comm);
done:
    free(h ? h->ranks : NULL);
    free(h);
    return rc;
}

void lv_threads_leave_core(const void *threads)
{
    const lv_threads *t = threads;
    set_mask(&t->slice); /* if it is refused, the thread stays where it is */
}

int lv_threads_check(const lv_comm *comm)
{
    host_cores *h = calloc(1, sizeof *h);
    int rc = lv_comm_agree(
        comm, h ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory for the cores of a host"));
    if (rc == LV_OK) rc = find_share(h, comm, 1);
    if (rc == LV_OK) rc = warn_of_slowness(h, comm, false);
    free(h ? h->ranks : NULL);
    free(h);
    return rc;
}
