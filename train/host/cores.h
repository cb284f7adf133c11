/* SPDX-License-Identifier: Apache-2.0
 *
 * The cores of a host, and how the ranks on it share them. The split depends on its arguments alone,
 * so that each rank can compute it for all of them. No thread is bound here.
 */
#ifndef LV_TRAIN_HOST_CORES_H
#define LV_TRAIN_HOST_CORES_H

#include <stdbool.h>
#include <stdint.h>

enum { LV_MAX_CPUS = 8192 }; /* the most that Linux can be built for */

/* A CPU is what the system numbers: a hardware thread. */
typedef struct {
    uint64_t bits[LV_MAX_CPUS / 64];
} lv_cpu_set;

static inline bool lv_cpu_set_has(const lv_cpu_set *set, int cpu)
{
    return set->bits[cpu / 64] >> cpu % 64 & 1;
}

static inline void lv_cpu_set_add(lv_cpu_set *set, int cpu)
{
    set->bits[cpu / 64] |= UINT64_C(1) << cpu % 64;
}

/* lv_cpu_list_parse: "0-3,8,10-11", as sysfs prints it. returns false if it is something else */
bool lv_cpu_list_parse(lv_cpu_set *out, const char *text);

typedef struct {
    int16_t core[LV_MAX_CPUS]; /* the lowest CPU of the same core */
    int16_t node[LV_MAX_CPUS]; /* of memory */
    int16_t socket[LV_MAX_CPUS];
} lv_topology;

/* lv_topology_read: from sys, which is "/sys/devices/system" but for tests. What it lacks: each
 * CPU is a core, and all memory is one node of one socket. */
void lv_topology_read(lv_topology *out, const char *sys);

/* lv_core_count: the cores that have a CPU in the set. */
int lv_core_count(const lv_cpu_set *cpus, const lv_topology *topology);

/* lv_socket_of: the socket that has all CPUs of the set; -1 if there are several. */
int lv_socket_of(const lv_cpu_set *cpus, const lv_topology *topology);

/* What the ranks of a host exchange. */
typedef struct {
    lv_cpu_set allowed; /* a launcher may choose different ones for each rank */
    double quota_cpus;
    uint64_t quota_id;
    int32_t n_requested_threads; /* OMP_NUM_THREADS, 0 if not set */
} lv_rank_cpus;

typedef struct {
    int n_threads;
    bool exclusive;             /* thread i may be bound to cpu[i]: a core of its own */
    int16_t cpu[LV_MAX_CPUS];   /* ... its first allowed CPU, cores of a node side by side */
    lv_cpu_set slice;           /* all CPUs of this rank's part of the cores */
    int n_cores, n_all_threads; /* of all ranks that share CPUs with this one, itself included */
} lv_cpu_share;

/* lv_cpu_share_of: a rank's part.
 *   threads: cores / ranks that may use them, at least one; no more than the quota; or as requested
 *   exclusive if there is a core for each of them, and none is left idle: with fewer threads than
 *   cores, by OMP_NUM_THREADS or a quota, another job might be bound to the same cores. Ranks whose CPUs overlap without being the same are never exclusive. */
void lv_cpu_share_of(lv_cpu_share *out, const lv_rank_cpus *ranks, int n_ranks, int rank,
                     const lv_topology *topology);

#endif
