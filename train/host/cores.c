/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/cores.h"

#include "data/base/file.h"
#include "train/host/cgroup.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { N_WORDS = LV_MAX_CPUS / 64, TEXT_BYTES = 1 << 14 };

/* ---- what the system says ---- */

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

/* The first bytes of a file of the system, whose size is not known before. */
static bool read_text(char text[TEXT_BYTES], const char *path)
{
    FILE *file = fopen(path, "re");
    size_t n = file ? fread(text, 1, TEXT_BYTES - 1, file) : 0;
    if (file) {
        fclose(file);
    }
    text[n] = '\0';
    return n > 0;
}

/* The list in the file at path, which is freed. */
static bool read_list(lv_cpu_set *out, char *path)
{
    char text[TEXT_BYTES];
    bool found = read_text(text, path) && lv_cpu_list_parse(out, text);
    free(path);
    return found;
}

/* The number in the file at path, which is freed; 0 if there is none, or it is not known (-1). */
static int16_t read_number(char *path)
{
    char text[TEXT_BYTES];
    int n = read_text(text, path) ? atoi(text) : 0;
    free(path);
    return n > 0 && n <= INT16_MAX ? (int16_t)n : 0;
}

void lv_topology_read(lv_topology *out, const char *sys)
{
    lv_cpu_set all = {{0}}, set;
    for (int cpu = 0; cpu < LV_MAX_CPUS; cpu++) {
        out->core[cpu] = (int16_t)cpu;
        out->node[cpu] = 0;
        out->socket[cpu] = 0;
    }
    read_list(&all, lv_path("%s/cpu/online", sys));
    for (int cpu = 0; cpu < LV_MAX_CPUS; cpu++) {
        int lowest = 0;
        if (!lv_cpu_set_has(&all, cpu)) {
            continue;
        }
        out->socket[cpu] =
            read_number(lv_path("%s/cpu/cpu%d/topology/physical_package_id", sys, cpu));
        if (!read_list(&set, lv_path("%s/cpu/cpu%d/topology/thread_siblings_list", sys, cpu))) {
            continue;
        }
        while (lowest < cpu && !lv_cpu_set_has(&set, lowest)) {
            lowest++;
        }
        out->core[cpu] = (int16_t)lowest;
    }
    all = (lv_cpu_set){{0}};
    read_list(&all, lv_path("%s/node/online", sys));
    for (int node = 0; node < LV_MAX_CPUS; node++) {
        if (!lv_cpu_set_has(&all, node) ||
            !read_list(&set, lv_path("%s/node/node%d/cpulist", sys, node))) {
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

typedef struct {
    double cpus;
    uint64_t id;
} quota;

/* A lv_cgroup_visit: takes over what the group at dir says, if that is less. */
static void lower_quota(void *context, const char *dir)
{
    quota *least = context;
    char text[TEXT_BYTES];
    double quota_us, period_us;
    struct stat st;
    char *path = lv_path("%s/cpu.max", dir);
    if (read_text(text, path) && sscanf(text, "%lf %lf", &quota_us, &period_us) == 2 &&
        quota_us > 0 && period_us > 0 && quota_us / period_us < least->cpus &&
        stat(dir, &st) == 0) {
        least->cpus = quota_us / period_us;
        least->id = (uint64_t)st.st_ino + ((uint64_t)st.st_dev << 32);
    }
    free(path);
}

double lv_cpu_quota(uint64_t *id, const char *list, const char *mount)
{
    quota least = {.cpus = INFINITY};
    lv_cgroup_walk(list, mount, NULL, lower_quota, &least);
    *id = least.id;
    return least.cpus;
}

/* ---- the split ---- */

typedef struct {
    int16_t node, core, cpu; /* cpu: the lowest of the core's that is allowed */
} place;

static int compare_places(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->node != y->node ? x->node - y->node : x->core - y->core;
}

/* The cores of a set, nodes one after the other. returns their number */
static int list_cores(place places[LV_MAX_CPUS], const lv_cpu_set *cpus,
                      const lv_topology *topology)
{
    lv_cpu_set seen = {{0}};
    int n = 0;
    for (int cpu = 0; cpu < LV_MAX_CPUS; cpu++) {
        int core = topology->core[cpu];
        if (lv_cpu_set_has(cpus, cpu) && !lv_cpu_set_has(&seen, core)) {
            lv_cpu_set_add(&seen, core);
            places[n++] = (place){topology->node[cpu], (int16_t)core, (int16_t)cpu};
        }
    }
    qsort(places, (size_t)n, sizeof *places, compare_places);
    return n;
}

int lv_core_count(const lv_cpu_set *cpus, const lv_topology *topology)
{
    place places[LV_MAX_CPUS];
    return list_cores(places, cpus, topology);
}

static bool overlap(const lv_cpu_set *a, const lv_cpu_set *b)
{
    uint64_t common = 0;
    for (int w = 0; w < N_WORDS; w++) {
        common |= a->bits[w] & b->bits[w];
    }
    return common != 0;
}

/* Those who compete for the same CPUs, directly or through others. */
typedef struct {
    lv_cpu_set cpus;
    int n_ranks, n_cores;
    bool same;    /* all may use the same CPUs */
    int position; /* of the one whose part is wanted */
} rivals;

/* Grows the set until no other rank's CPUs overlap with it. */
static void collect(rivals *r, const lv_rank_cpus *ranks, int n_ranks, int rank)
{
    int before;
    *r = (rivals){.cpus = ranks[rank].allowed};
    do {
        before = r->n_ranks;
        r->n_ranks = r->position = 0;
        r->same = true;
        for (int i = 0; i < n_ranks; i++) {
            const lv_cpu_set *other = &ranks[i].allowed;
            if (i != rank && !overlap(&r->cpus, other)) {
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

/* Of rank i, one of the rivals. */
static int count_threads(const rivals *r, const lv_rank_cpus *ranks, int n_ranks, int i,
                         const lv_topology *topology)
{
    int n_sharing = 0;
    if (ranks[i].n_asked_threads > 0) {
        return ranks[i].n_asked_threads;
    }
    for (int j = 0; j < n_ranks; j++) {
        n_sharing += ranks[j].quota_id == ranks[i].quota_id;
    }
    int own = r->same ? r->n_cores : lv_core_count(&ranks[i].allowed, topology);
    int part = r->n_cores / r->n_ranks < own ? r->n_cores / r->n_ranks : own;
    return at_least_1(fmin(part, ranks[i].quota_cpus / n_sharing));
}

/* Part i of n of the cores, hardware threads included. */
static void take_slice(lv_cpu_share *out, const place *cores, int n_cores, int i, int n,
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
    place cores[LV_MAX_CPUS];
    rivals r;
    collect(&r, ranks, n_ranks, rank);
    r.n_cores = list_cores(cores, &r.cpus, topology);
    *out = (lv_cpu_share){.slice = ranks[rank].allowed, .n_cores = r.n_cores};
    for (int i = 0; i < n_ranks; i++) {
        if (overlap(&r.cpus, &ranks[i].allowed)) {
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
