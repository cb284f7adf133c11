/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/cores.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_WORDS = LV_MAX_CPUS / 64, TEXT_BYTES = 1 << 14, PATH_BYTES = 1024 };

/* ---- the topology, from sysfs ---- */

bool lv_cpu_list_parse(lv_cpu_set *out, const char *text)
{
    lv_cpu_set set = {{0}};
    const char *at = text;
    while (isdigit((unsigned char)*at)) {
        char *end;
        long first = strtol(at, &end, 10), last = first;
        if (*end == '-') {
            at = end + 1;
            last = strtol(at, &end, 10);
        }
        if (end == at || last < first || last >= LV_MAX_CPUS) {
            return false;
        }
        for (long cpu = first; cpu <= last; cpu++) {
            lv_cpu_set_add(&set, (int)cpu);
        }
        at = *end == ',' ? end + 1 : end;
    }
    if (*at != '\n' && *at != '\0') {
        return false;
    }
    *out = set;
    return true;
}

/* The text of the file at a path that is made from fmt; "" if there is none. */
__attribute__((format(printf, 2, 3))) static void read_text(char text[TEXT_BYTES], const char *fmt,
                                                            ...)
{
    char path[PATH_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(path, sizeof path, fmt, args);
    va_end(args);
    FILE *file = fopen(path, "re");
    size_t n = file ? fread(text, 1, TEXT_BYTES - 1, file) : 0;
    if (file) {
        fclose(file);
    }
    text[n] = '\0';
}

/* 0 if it is unknown (-1, or no number). */
static int16_t parse_number(const char *text)
{
    const int n = atoi(text);
    return n > 0 && n <= INT16_MAX ? (int16_t)n : 0;
}

void lv_topology_read(lv_topology *out, const char *sys)
{
    char text[TEXT_BYTES];
    lv_cpu_set all = {{0}}, set;
    for (int cpu = 0; cpu < LV_MAX_CPUS; cpu++) {
        out->core[cpu] = (int16_t)cpu;
        out->node[cpu] = 0;
        out->socket[cpu] = 0;
    }
    read_text(text, "%s/cpu/online", sys);
    lv_cpu_list_parse(&all, text);
    for (int cpu = 0; cpu < LV_MAX_CPUS; cpu++) {
        int lowest = 0;
        if (!lv_cpu_set_has(&all, cpu)) {
            continue;
        }
        read_text(text, "%s/cpu/cpu%d/topology/physical_package_id", sys, cpu);
        out->socket[cpu] = parse_number(text);
        read_text(text, "%s/cpu/cpu%d/topology/thread_siblings_list", sys, cpu);
        if (!lv_cpu_list_parse(&set, text)) {
            continue;
        }
        while (lowest < cpu && !lv_cpu_set_has(&set, lowest)) {
            lowest++;
        }
        out->core[cpu] = (int16_t)lowest;
    }
    all = (lv_cpu_set){{0}};
    read_text(text, "%s/node/online", sys);
    lv_cpu_list_parse(&all, text);
    for (int node = 0; node < LV_MAX_CPUS; node++) {
        if (!lv_cpu_set_has(&all, node)) {
            continue;
        }
        read_text(text, "%s/node/node%d/cpulist", sys, node);
        if (!lv_cpu_list_parse(&set, text)) {
            continue;
        }
        for (int cpu = 0; cpu < LV_MAX_CPUS; cpu++) {
            out->node[cpu] = lv_cpu_set_has(&set, cpu) ? (int16_t)node : out->node[cpu];
        }
    }
}

int lv_socket_of(const lv_cpu_set *cpus, const lv_topology *topology)
{
    int socket = -1;
    for (int cpu = 0; cpu < LV_MAX_CPUS; cpu++) {
        if (lv_cpu_set_has(cpus, cpu)) {
            if (socket >= 0 && socket != topology->socket[cpu]) {
                return -1;
            }
            socket = topology->socket[cpu];
        }
    }
    return socket;
}

/* ---- the split ---- */

typedef struct {
    int16_t node, core, cpu; /* cpu: the lowest of the core's that is allowed */
} core_place;

static int compare_places(const void *a, const void *b)
{
    const core_place *x = a, *y = b;
    return x->node != y->node ? x->node - y->node : x->core - y->core;
}

/* The cores of a set, nodes one after the other. returns their number */
static int list_cores(core_place places[LV_MAX_CPUS], const lv_cpu_set *cpus,
                      const lv_topology *topology)
{
    lv_cpu_set seen = {{0}};
    int n = 0;
    for (int cpu = 0; cpu < LV_MAX_CPUS; cpu++) {
        int core = topology->core[cpu];
        if (lv_cpu_set_has(cpus, cpu) && !lv_cpu_set_has(&seen, core)) {
            lv_cpu_set_add(&seen, core);
            places[n++] = (core_place){topology->node[cpu], (int16_t)core, (int16_t)cpu};
        }
    }
    qsort(places, (size_t)n, sizeof *places, compare_places);
    return n;
}

int lv_core_count(const lv_cpu_set *cpus, const lv_topology *topology)
{
    core_place places[LV_MAX_CPUS];
    return list_cores(places, cpus, topology);
}

static bool cpus_overlap(const lv_cpu_set *a, const lv_cpu_set *b)
{
    uint64_t common = 0;
    for (int w = 0; w < N_WORDS; w++) {
        common |= a->bits[w] & b->bits[w];
    }
    return common != 0;
}

/* The ranks that share CPUs with a rank, directly or through others, itself included. */
typedef struct {
    lv_cpu_set cpus;
    int n_ranks, n_cores;
    bool same;    /* all may use the same CPUs */
    int position; /* of that rank */
} sharing_ranks;

/* Adds ranks until no other rank's CPUs overlap with the set. */
static void find_sharing_ranks(sharing_ranks *r, const lv_rank_cpus *ranks, int n_ranks, int rank)
{
    int before;
    *r = (sharing_ranks){.cpus = ranks[rank].allowed};
    do {
        before = r->n_ranks;
        r->n_ranks = r->position = 0;
        r->same = true;
        for (int i = 0; i < n_ranks; i++) {
            const lv_cpu_set *other = &ranks[i].allowed;
            if (i != rank && !cpus_overlap(&r->cpus, other)) {
                continue;
            }
            for (int w = 0; w < N_WORDS; w++) {
                r->cpus.bits[w] |= other->bits[w];
            }
            r->same = r->same && memcmp(other, &ranks[rank].allowed, sizeof *other) == 0;
            r->position += i < rank;
            r->n_ranks++;
        }
    } while (r->n_ranks != before);
}

static int at_least_1(double n)
{
    return n > 1 ? (int)n : 1;
}

/* The threads of rank i, one of those ranks. */
static int count_threads(const sharing_ranks *r, const lv_rank_cpus *ranks, int n_ranks, int i,
                         const lv_topology *topology)
{
    int n_sharing = 0;
    if (ranks[i].n_requested_threads > 0) {
        return ranks[i].n_requested_threads;
    }
    for (int j = 0; j < n_ranks; j++) {
        n_sharing += ranks[j].quota_id == ranks[i].quota_id;
    }
    int own = r->same ? r->n_cores : lv_core_count(&ranks[i].allowed, topology);
    int part = r->n_cores / r->n_ranks < own ? r->n_cores / r->n_ranks : own;
    return at_least_1(fmin(part, ranks[i].quota_cpus / n_sharing));
}

/* Part i of n of the cores, hardware threads included. */
static void take_slice(lv_cpu_share *out, const core_place *cores, int n_cores, int i, int n,
                       const lv_cpu_set *allowed, const lv_topology *topology)
{
    int begin = (int)((int64_t)n_cores * i / n), end = (int)((int64_t)n_cores * (i + 1) / n);
    lv_cpu_set mine = {{0}};
    for (int c = begin; c < end; c++) {
        out->cpu[c - begin] = cores[c].cpu;
        lv_cpu_set_add(&mine, cores[c].core);
    }
    memset(&out->slice, 0, sizeof out->slice);
    for (int cpu = 0; cpu < LV_MAX_CPUS; cpu++) {
        if (lv_cpu_set_has(allowed, cpu) && lv_cpu_set_has(&mine, topology->core[cpu])) {
            lv_cpu_set_add(&out->slice, cpu);
        }
    }
}

void lv_cpu_share_of(lv_cpu_share *out, const lv_rank_cpus *ranks, int n_ranks, int rank,
                     const lv_topology *topology)
{
    core_place cores[LV_MAX_CPUS];
    sharing_ranks r;
    find_sharing_ranks(&r, ranks, n_ranks, rank);
    r.n_cores = list_cores(cores, &r.cpus, topology);
    *out = (lv_cpu_share){.slice = ranks[rank].allowed, .n_cores = r.n_cores};
    for (int i = 0; i < n_ranks; i++) {
        if (cpus_overlap(&r.cpus, &ranks[i].allowed)) {
            out->n_all_threads += count_threads(&r, ranks, n_ranks, i, topology);
        }
    }
    out->n_threads = count_threads(&r, ranks, n_ranks, rank, topology);
    out->exclusive =
        r.same && out->n_all_threads <= r.n_cores && out->n_threads == r.n_cores / r.n_ranks;
    if (out->exclusive) {
        take_slice(out, cores, r.n_cores, r.position, r.n_ranks, &ranks[rank].allowed, topology);
    }
}
