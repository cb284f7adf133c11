/* SPDX-License-Identifier: Apache-2.0 */
#include "train/cluster/job.h"

#include "autograd/cpu.h"
#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "data/base/file.h"
#include "data/base/hash.h"
#include "data/json/json.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

/* A text that is too long ends in a hash of all of it, so that it still differs from others. */
static void put_text(char out[LV_JOB_TEXT_BYTES], const char *text)
{
    enum { HASH_BYTES = 20 };
    if (strlen(text) < LV_JOB_TEXT_BYTES) {
        memcpy(out, text, strlen(text) + 1);
        return;
    }
    snprintf(out, LV_JOB_TEXT_BYTES, "%.*s...%016" PRIx64, LV_JOB_TEXT_BYTES - HASH_BYTES, text,
             lv_hash_text(LV_HASH_START, text));
}

/* ---- the facts of a rank ---- */

int lv_job_launcher_size(const char **variable)
{
    /* the innermost launcher's first: mpirun may run within a step of srun */
    static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE",
                                            "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "FLUX_JOB_SIZE"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *text = getenv(variables[i]);
        if (text) {
            *variable = variables[i];
            return atoi(text);
        }
    }
    return 0;
}

/* Under another MPI's launcher each rank is the only one of MPI_COMM_WORLD. */
static int check_launcher(const lv_comm *comm, const char *mpi)
{
    const char *variable = "";
    int n = lv_job_launcher_size(&variable);
    return comm->n_ranks > 1 || n <= 1
               ? LV_OK
               : lv_fail(LV_ERR_CONFIG,
                         "the launcher has started %d ranks (%s), but to MPI (%s) each of them is "
                         "alone: use the mpirun of the MPI that llava was built with, or srun "
                         "--mpi=pmix (--mpi=pmi2 for MPICH)",
                         n, variable, mpi);
}

static void list_differences(FILE *out, const char *section, const cJSON *own, const cJSON *first)
{
    const cJSON *item;
    cJSON_ArrayForEach (item, own) {
        const cJSON *other = cJSON_GetObjectItemCaseSensitive(first, item->string);
        char *key = lv_path("%s%s%s", section, *section ? "." : "", item->string);
        if (cJSON_IsObject(item) && cJSON_IsObject(other)) {
            list_differences(out, key, item, other);
        } else if (!other || !lv_json_equal(item, other)) {
            char *value = lv_json_print_line(item);
            fprintf(out, "%s%s=%s", ftell(out) > 0 ? " " : "", key, value);
            free(value);
        }
        free(key);
    }
}

void lv_job_config(char out[LV_JOB_TEXT_BYTES], const cJSON *own, const cJSON *first)
{
    char *text = NULL;
    size_t n = 0;
    FILE *list = open_memstream(&text, &n);
    put_text(out, "unknown: no memory");
    if (list) {
        list_differences(list, "", own, first);
    }
    if (list && fclose(list) == 0) {
        put_text(out, text);
    }
    free(text);
}

/* Collective: this rank's configuration and --resume against rank 0's. */
static int compare_config(char out[LV_JOB_TEXT_BYTES], const lv_comm *comm, const cJSON *config,
                          const char *resume)
{
    cJSON *own = cJSON_Duplicate(config, true), *first = NULL;
    bool whole = own && cJSON_AddStringToObject(own, "--resume", resume);
    char *text = whole && comm->rank == 0 ? lv_json_print_line(own) : NULL;
    int64_t n = text ? (int64_t)strlen(text) : 0;
    int rc = lv_comm_broadcast(comm, &n, sizeof n);
    char *sent = rc == LV_OK && n > 0 ? calloc((size_t)n + 1, 1) : NULL;
    if (rc == LV_OK) {
        rc = lv_comm_agree(
            comm, whole && sent ? LV_OK : lv_fail(LV_ERR_MEMORY, "no memory for the config"));
    }
    if (rc == LV_OK && text) {
        memcpy(sent, text, (size_t)n);
    }
    if (rc == LV_OK) rc = lv_comm_broadcast(comm, sent, n);
    if (rc == LV_OK) {
        first = cJSON_Parse(sent);
        lv_job_config(out, own, first);
    }
    cJSON_Delete(first);
    cJSON_Delete(own);
    free(text);
    free(sent);
    return rc;
}

static void describe_build(char out[LV_JOB_TEXT_BYTES])
{
    lv_file_map program;
    if (lv_file_map_open(&program, "/proc/self/exe") == LV_OK) {
        uint64_t hash = lv_hash_bytes(LV_HASH_START, program.data, program.n_bytes);
        snprintf(out, LV_JOB_TEXT_BYTES, "%08" PRIx32, (uint32_t)(hash ^ hash >> 32));
        lv_file_map_close(&program);
    } else {
        put_text(out, "unknown");
    }
}

void lv_job_cpu(char out[LV_JOB_TEXT_BYTES], const char *path)
{
    enum { MAX_SOCKETS = 256 };
    struct utsname system;
    bool seen[MAX_SOCKETS] = {false};
    char line[256], model[LV_JOB_TEXT_BYTES] = "";
    int n_sockets = 0, socket;
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        if (!*model) {
            sscanf(line, "model name : %100[^\n]", model);
        }
        if (sscanf(line, "physical id : %d", &socket) == 1 && socket >= 0 && socket < MAX_SOCKETS) {
            n_sockets += !seen[socket];
            seen[socket] = true;
        }
    }
    if (file) {
        fclose(file);
    }
    if (!*model) {
        snprintf(model, sizeof model, "%s CPU", uname(&system) == 0 ? system.machine : "unknown");
    }
    char *text = n_sockets > 0
                     ? lv_path("%d socket%s of %s", n_sockets, n_sockets == 1 ? "" : "s", model)
                     : lv_path("%s", model);
    put_text(out, text);
    free(text);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, because launchers pass variables on in different orders. */
static int describe_environment(char out[LV_JOB_TEXT_BYTES])
{
    static const char *const prefixes[] = {"LLAVA_CPU=", "OMP_", "GOMP_", "KMP_", "OPENBLAS_"};
    size_t n = 0, n_kept = 0, n_bytes = 0;
    char *text = NULL;
    while (environ[n]) {
        n++;
    }
    char **kept = calloc(n + 1, sizeof *kept);
    for (size_t i = 0; kept && i < n; i++) {
        for (size_t w = 0; w < sizeof prefixes / sizeof *prefixes; w++) {
            if (strncmp(environ[i], prefixes[w], strlen(prefixes[w])) == 0) {
                kept[n_kept++] = environ[i];
                break;
            }
        }
    }
    FILE *list = kept ? open_memstream(&text, &n_bytes) : NULL;
    if (!list) {
        free(kept);
        return lv_fail(LV_ERR_MEMORY, "no memory for a list of environment variables");
    }
    qsort(kept, n_kept, sizeof *kept, compare_texts);
    for (size_t i = 0; i < n_kept; i++) {
        fprintf(list, "%s%s", i > 0 ? " " : "", kept[i]);
    }
    int rc = fclose(list) == 0 ? LV_OK : lv_fail(LV_ERR_MEMORY, "no memory for a text");
    if (rc == LV_OK) {
        put_text(out, text);
    }
    free(text);
    free(kept);
    return rc;
}

/* ---- how threads are bound ---- */

typedef struct {
    lv_cpu_set used, allowed;
    int32_t n_threads;
} bound_cpus;

static void add_cpus(lv_cpu_set *out, const lv_cpu_set *more)
{
    for (size_t w = 0; w < sizeof out->bits / sizeof *out->bits; w++) {
        out->bits[w] |= more->bits[w];
    }
}

/* The CPUs that this rank's threads run on. */
static lv_cpu_set used_cpus(void)
{
    lv_cpu_set used = {{0}};
#pragma omp parallel
    {
        lv_cpu_set own = {{0}};
        sched_getaffinity(0, sizeof own, (cpu_set_t *)&own);
#pragma omp critical
        add_cpus(&used, &own);
    }
    return used;
}

/* Collective. Where OpenMP binds threads by its variables, it does so in each rank as if that were
 * alone on the host. Too few cores for all is not reported here but in threads.c. */
static int find_bad_binding(char out[LV_JOB_TEXT_BYTES], const lv_comm *comm,
                            const lv_threads *threads)
{
    bound_cpus own = {
        .used = used_cpus(), .allowed = threads->slice, .n_threads = threads->n_threads};
    bound_cpus *ranks = calloc((size_t)comm->n_local_ranks, sizeof *ranks);
    lv_topology *topology = malloc(sizeof *topology);
    int rc = lv_comm_agree(comm, ranks && topology
                                     ? LV_OK
                                     : lv_fail(LV_ERR_MEMORY, "no memory for the cores of a host"));
    if (rc == LV_OK) rc = lv_comm_gather_host(comm, ranks, &own, sizeof own);
    if (rc == LV_OK && comm->local_rank == 0) {
        bound_cpus *all = &ranks[0];
        for (int r = 1; r < comm->n_local_ranks; r++) {
            add_cpus(&all->used, &ranks[r].used);
            add_cpus(&all->allowed, &ranks[r].allowed);
            all->n_threads += ranks[r].n_threads;
        }
        lv_topology_read(topology, "/sys/devices/system");
        int n_used = lv_core_count(&all->used, topology);
        int n_allowed = lv_core_count(&all->allowed, topology);
        if (all->n_threads > n_used && n_used < n_allowed) {
            snprintf(out, LV_JOB_TEXT_BYTES,
                     "OpenMP has bound %d threads to %d of %d cores; without OMP_PROC_BIND and "
                     "OMP_PLACES they get all",
                     (int)all->n_threads, n_used, n_allowed);
        }
    }
    free(topology);
    free(ranks);
    return rc;
}

/* ---- what the job computes with ---- */

char *lv_compute_text(lv_dtype dtype, const char *products)
{
    return lv_path("in %s on %s; %s", lv_dtype_name(dtype), lv_cpu_name(lv_cpu()), products);
}

int lv_compute_rate(double *flop_per_s, const lv_comm *comm)
{
    int rc = lv_comm_agree(comm, LV_OK); /* all begin together */
    double rate = rc == LV_OK ? lv_gemm_rate() : 0;
    if (rc == LV_OK) rc = lv_comm_sum_double(comm, &rate, 1);
    if (rc == LV_OK) *flop_per_s = rate;
    return rc;
}

/* ---- all together ---- */

static int describe_rank(lv_job_rank *own, const lv_comm *comm, const lv_threads *threads,
                         const char *products)
{
    char host[LV_JOB_TEXT_BYTES] = "";
    gethostname(host, sizeof host - 1);
    put_text(own->fact[LV_JOB_HOST], host);
    put_text(own->fact[LV_JOB_VERSION], LV_VERSION);
    describe_build(own->fact[LV_JOB_BUILD]);
    lv_job_cpu(own->fact[LV_JOB_CPU], "/proc/cpuinfo");
    char *compute = lv_path("%s; %s", lv_cpu_name(lv_cpu()), products);
    put_text(own->fact[LV_JOB_COMPUTE], compute);
    free(compute);
    snprintf(own->fact[LV_JOB_THREADS], LV_JOB_TEXT_BYTES, "%d", threads->n_threads);
    int rc = describe_environment(own->fact[LV_JOB_ENVIRONMENT]);
    rc = lv_comm_agree(comm, rc);
    return rc < 0 ? rc : find_bad_binding(own->fact[LV_JOB_BINDING], comm, threads);
}

/* On rank 0. */
static int print_report(const lv_job_rank *ranks, int n_ranks, lv_dtype wire)
{
    char *lines = NULL, *line = lv_job_line(ranks, n_ranks, wire);
    int rc = line ? lv_job_compare(&lines, ranks, n_ranks)
                  : lv_fail(LV_ERR_MEMORY, "no memory for a line about %d ranks", n_ranks);
    if (line) {
        printf("%s\n", line);
        fflush(stdout);
    }
    if (lines) {
        lv_message_write(STDERR_FILENO, lines, strlen(lines));
    }
    free(lines);
    free(line);
    return rc;
}

int lv_job_start(const lv_comm *comm, const cJSON *config, const char *resume,
                 const lv_threads *threads, const char *products, lv_dtype wire)
{
    lv_job_rank own = {0}, *ranks = NULL;
    lv_comm_library(own.fact[LV_JOB_MPI], LV_JOB_TEXT_BYTES, comm);
    int rc = lv_comm_agree(comm, check_launcher(comm, own.fact[LV_JOB_MPI]));
    if (rc == LV_OK) rc = compare_config(own.fact[LV_JOB_CONFIG], comm, config, resume);
    if (rc == LV_OK) rc = describe_rank(&own, comm, threads, products);
    if (rc == LV_OK && comm->rank == 0) {
        ranks = calloc((size_t)comm->n_ranks, sizeof *ranks);
        rc = ranks ? LV_OK : lv_fail(LV_ERR_MEMORY, "no memory for %d ranks", comm->n_ranks);
    }
    rc = lv_comm_agree(comm, rc);
    if (rc == LV_OK) rc = lv_comm_gather(comm, ranks, &own, sizeof own);
    if (rc == LV_OK && comm->rank == 0) rc = print_report(ranks, comm->n_ranks, wire);
    free(ranks);
    return lv_comm_agree(comm, rc);
}
