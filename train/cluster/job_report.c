/* SPDX-License-Identifier: Apache-2.0 */
#include "train/cluster/job.h"

#include "autograd/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VALUES = 3, MAX_RANGES = 4, MAX_HOSTS = 3 }; /* named in a line */

typedef struct {
    const char *what, *blank; /* blank: shown for "" */
    bool refused;
    const char *consequence;
} fact_kind;

static const fact_kind kinds[LV_JOB_N_FACTS] = {
    [LV_JOB_VERSION] = {"version of llava", "none", true, "install one version on all hosts"},
    [LV_JOB_CONFIG] = {"config", "rank 0's", true, "all ranks must be given one file and flags"},
    [LV_JOB_BUILD] = {"build of llava", "unknown", false, "are they made from one source?"},
    [LV_JOB_MPI] = {"MPI library", "none", false, "several in one job may hang or crash"},
    [LV_JOB_CPU] = {"CPU", "unknown", false, "the slowest decides how long a step takes"},
    [LV_JOB_COMPUTE] = {"instructions and libraries", "unknown", false,
                        "the last bits of losses depend on which rank has which"},
    [LV_JOB_THREADS] = {"threads a rank", "unknown", false,
                        "all get as much work, and wait for those with the fewest"},
    [LV_JOB_ENVIRONMENT] = {"environment", "no variable", false,
                            "mpirun -x NAME passes a variable to all hosts"},
};

static bool same_fact(const lv_job_rank *a, const lv_job_rank *b, lv_job_fact fact)
{
    return strcmp(a->fact[fact], b->fact[fact]) == 0;
}

/* "0-3,8": the ranks whose value of a fact is that of rank `like`. */
static void write_ranks(FILE *out, const lv_job_rank *ranks, int n_ranks, lv_job_fact fact,
                        int like)
{
    int n_ranges = 0, n_found = 0;
    for (int r = like; r < n_ranks; r++) {
        n_found += same_fact(&ranks[r], &ranks[like], fact);
    }
    fprintf(out, n_found == 1 ? "rank " : "ranks ");
    for (int r = like, last; r < n_ranks; r = last + 1) {
        last = r;
        if (!same_fact(&ranks[r], &ranks[like], fact)) {
            continue;
        }
        while (last + 1 < n_ranks && same_fact(&ranks[last + 1], &ranks[like], fact)) {
            last++;
        }
        if (n_ranges++ == MAX_RANGES) {
            fprintf(out, ",... (%d in all)", n_found);
            return;
        }
        fprintf(out, last > r ? "%s%d-%d" : "%s%d", n_ranges > 1 ? "," : "", r, last);
    }
}

static bool host_came_before(const lv_job_rank *ranks, lv_job_fact fact, int like, int rank)
{
    for (int r = rank - 1; r >= like; r--) {
        if (same_fact(&ranks[r], &ranks[like], fact) &&
            same_fact(&ranks[r], &ranks[rank], LV_JOB_HOST)) {
            return true;
        }
    }
    return false;
}

/* "n001, n002 and 14 more": the hosts of those ranks, each once. */
static void write_hosts(FILE *out, const lv_job_rank *ranks, int n_ranks, lv_job_fact fact,
                        int like)
{
    int n_hosts = 0;
    for (int r = like; r < n_ranks; r++) {
        if (!same_fact(&ranks[r], &ranks[like], fact) || host_came_before(ranks, fact, like, r)) {
            continue;
        }
        if (n_hosts++ < MAX_HOSTS) {
            fprintf(out, "%s%s", n_hosts > 1 ? ", " : "", ranks[r].fact[LV_JOB_HOST]);
        }
    }
    if (n_hosts > MAX_HOSTS) {
        fprintf(out, " and %d more", n_hosts - MAX_HOSTS);
    }
}

/* The lowest rank whose value is none of those of the ranks in shown; n_ranks if there is none. */
static int next_value(const lv_job_rank *ranks, int n_ranks, lv_job_fact fact, const int *shown,
                      int n_shown)
{
    int r = 0, v = 0;
    for (; r < n_ranks; r++) {
        for (v = 0; v < n_shown && !same_fact(&ranks[r], &ranks[shown[v]], fact); v++) {
        }
        if (v == n_shown) {
            break;
        }
    }
    return r;
}

/* "A on ranks 0-3 (n001), B on rank 4 (n002)". */
static void write_values(FILE *out, const lv_job_rank *ranks, int n_ranks, lv_job_fact fact)
{
    int shown[MAX_VALUES], n_shown = 0, rank;
    while ((rank = next_value(ranks, n_ranks, fact, shown, n_shown)) < n_ranks) {
        if (n_shown == MAX_VALUES) {
            fprintf(out, ", still others from rank %d (%s) on", rank,
                    ranks[rank].fact[LV_JOB_HOST]);
            return;
        }
        const char *text = ranks[rank].fact[fact];
        fprintf(out, "%s%s on ", n_shown ? ", " : "", *text ? text : kinds[fact].blank);
        write_ranks(out, ranks, n_ranks, fact, rank);
        fprintf(out, " (");
        write_hosts(out, ranks, n_ranks, fact, rank);
        fprintf(out, ")");
        shown[n_shown++] = rank;
    }
}

static bool all_same(const lv_job_rank *ranks, int n_ranks, lv_job_fact fact)
{
    const int first = 0;
    return next_value(ranks, n_ranks, fact, &first, 1) == n_ranks;
}

/* The value that all ranks have, or `differ`. */
static const char *common_value(const lv_job_rank *ranks, int n_ranks, lv_job_fact fact,
                                const char *differ)
{
    return all_same(ranks, n_ranks, fact) ? ranks[0].fact[fact] : differ;
}

char *lv_job_line(const lv_job_rank *ranks, int n_ranks, lv_dtype wire)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (!out) {
        return NULL;
    }
    const char *mpi = common_value(ranks, n_ranks, LV_JOB_MPI, "several MPIs");
    fprintf(out, "llava %s, build %s%s%s; on ", ranks[0].fact[LV_JOB_VERSION],
            common_value(ranks, n_ranks, LV_JOB_BUILD, "not the same"), *mpi ? "; " : "", mpi);
    /* all hosts: those of one version, or the job ends here */
    write_hosts(out, ranks, n_ranks, LV_JOB_VERSION, 0);
    fprintf(out, ": %s", common_value(ranks, n_ranks, LV_JOB_CPU, "several kinds of CPU"));
    if (n_ranks > 1) {
        fprintf(out, "; gradients are sent in %s", lv_dtype_name(wire));
    }
    return fclose(out) == 0 ? text : NULL;
}

/* Lines about hosts whose threads are bound badly. */
static void write_bindings(FILE *out, const lv_job_rank *ranks, int n_ranks)
{
    int shown[MAX_VALUES], n_shown = 0, rank;
    while (n_shown < MAX_VALUES &&
           (rank = next_value(ranks, n_ranks, LV_JOB_BINDING, shown, n_shown)) < n_ranks) {
        shown[n_shown++] = rank;
        if (*ranks[rank].fact[LV_JOB_BINDING]) {
            fprintf(out, "llava: on ");
            write_hosts(out, ranks, n_ranks, LV_JOB_BINDING, rank);
            fprintf(out, ": %s\n", ranks[rank].fact[LV_JOB_BINDING]);
        }
    }
}

/* The error for a fact that must be the same. */
static int refuse_fact(const lv_job_rank *ranks, int n_ranks, lv_job_fact fact)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (out) {
        write_values(out, ranks, n_ranks, fact);
    }
    int rc = !out || fclose(out) != 0
                 ? lv_fail(LV_ERR_MEMORY, "no memory for a message about %d ranks", n_ranks)
                 : lv_fail(LV_ERR_CONFIG, "%s: not the same on all ranks: %s; %s", kinds[fact].what,
                           text, kinds[fact].consequence);
    free(text);
    return rc;
}

int lv_job_compare(char **report, const lv_job_rank *ranks, int n_ranks)
{
    char *text = NULL;
    size_t n = 0;
    int rc = LV_OK;
    FILE *out = open_memstream(&text, &n);
    if (!out) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a report about %d ranks", n_ranks);
    }
    for (int fact = 0; rc == LV_OK && fact < LV_JOB_N_FACTS; fact++) {
        if (!kinds[fact].what || all_same(ranks, n_ranks, (lv_job_fact)fact)) {
            continue;
        }
        if (kinds[fact].refused) {
            rc = refuse_fact(ranks, n_ranks, (lv_job_fact)fact);
        } else {
            fprintf(out, "llava: %s: not the same on all ranks: ", kinds[fact].what);
            write_values(out, ranks, n_ranks, (lv_job_fact)fact);
            fprintf(out, "; %s\n", kinds[fact].consequence);
        }
    }
    write_bindings(out, ranks, n_ranks);
    if (fclose(out) != 0 || rc < 0) {
        free(text);
        return rc < 0 ? rc
                      : lv_fail(LV_ERR_MEMORY, "no memory for a report about %d ranks", n_ranks);
    }
    *report = text;
    return LV_OK;
}
