/* SPDX-License-Identifier: Apache-2.0 */
#include "train/cluster/ranks_compare.h"

#include "autograd/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_NAMED = 8, LIST_BYTES = MAX_NAMED * 96 };

/* The rank whose value most ranks have; of equally many, the lowest. */
static int find_reference(const lv_rank_value *ranks, int n_ranks)
{
    int best = 0, most = 0;
    for (int r = 0; r < n_ranks && 2 * most <= n_ranks; r++) {
        int n = 0;
        for (int other = r; other < n_ranks; other++) {
            n += ranks[other].value == ranks[r].value;
        }
        if (n > most) {
            most = n;
            best = r;
        }
    }
    return best;
}

/* "n07 (rank 12), n09 (rank 16) and 3 more": each host once, by its first rank that differs. */
static void list_differing_hosts(char list[LIST_BYTES], const lv_rank_value *ranks, int n_ranks,
                                 uint64_t value)
{
    size_t at = 0;
    int n = 0;
    list[0] = '\0';
    for (int r = 0; r < n_ranks; r++) {
        bool seen = ranks[r].value == value;
        for (int before = 0; before < r && !seen; before++) {
            seen = ranks[before].value != value && strcmp(ranks[before].host, ranks[r].host) == 0;
        }
        if (!seen && n++ < MAX_NAMED) {
            at += (size_t)snprintf(list + at, LIST_BYTES - at, "%s%s (rank %d)", at ? ", " : "",
                                   ranks[r].host, r);
        }
    }
    if (n > MAX_NAMED) {
        snprintf(list + at, LIST_BYTES - at, " and %d more", n - MAX_NAMED);
    }
}

int lv_ranks_differ(const lv_rank_value *ranks, int n_ranks, const char *what, const char *why)
{
    char list[LIST_BYTES];
    const int reference = find_reference(ranks, n_ranks);
    list_differing_hosts(list, ranks, n_ranks, ranks[reference].value);
    return *list ? lv_fail(LV_ERR_FORMAT,
                           "%s are not the same on all ranks: on %s they are not those of rank %d "
                           "on %s; %s",
                           what, list, reference, ranks[reference].host, why)
                 : LV_OK;
}

int lv_ranks_compare(const lv_comm *comm, uint64_t value, const char *what, const char *why)
{
    lv_rank_value own = {.value = value};
    lv_rank_value *ranks = calloc((size_t)comm->n_ranks, sizeof *ranks);
    int rc = lv_comm_agree(comm, ranks ? LV_OK : lv_fail(LV_ERR_MEMORY, "no memory for ranks"));
    gethostname(own.host, sizeof own.host - 1);
    if (rc == LV_OK) rc = lv_comm_gather_all(comm, ranks, &own, sizeof own);
    if (rc == LV_OK) rc = lv_ranks_differ(ranks, comm->n_ranks, what, why);
    free(ranks);
    return rc;
}
