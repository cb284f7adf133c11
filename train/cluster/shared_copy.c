/* SPDX-License-Identifier: Apache-2.0 */
#include "train/cluster/shared_copy.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "train/host/memory.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HUGE_PAGE_BYTES = 2 << 20 };

/* Where a leader's memory is found by the ranks of its host: /proc/<pid>/fd/<fd>. */
typedef struct {
    int64_t pid, fd;
    uint64_t dev, ino; /* of that memory, and of no other file */
} memory_address;

/* ---- memory ---- */

/* For all groups of the host, on one of its ranks. */
static int check_room(const lv_shared_copy *copy)
{
    char size[32], have[32];
    const int64_t left = lv_memory_left("/proc", "/sys/fs/cgroup");
    return copy->n_bytes <= left / copy->n_copies
               ? LV_OK
               : lv_fail(LV_ERR_MEMORY, "%d x %s, but this host has %s of memory left",
                         copy->n_copies, lv_bytes_text(size, copy->n_bytes),
                         lv_bytes_text(have, left));
}

static int create_memory(int *fd, int64_t n_bytes)
{
    char size[32];
    *fd = memfd_create("llava-frozen-weights", MFD_CLOEXEC);
    return *fd >= 0 && ftruncate(*fd, (off_t)n_bytes) == 0
               ? LV_OK
               : lv_fail_errno(LV_ERR_MEMORY, "%s of shared memory", lv_bytes_text(size, n_bytes));
}

/* Maps fd, or memory of this process alone if it is -1, where huge pages can be. */
static int map_memory(lv_shared_copy *copy, int fd)
{
    char size[32];
    const size_t n = (size_t)copy->n_bytes, span = n + HUGE_PAGE_BYTES;
    char *all = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) {
        return lv_fail_errno(LV_ERR_MEMORY, "%s", lv_bytes_text(size, copy->n_bytes));
    }
    char *data = all + (HUGE_PAGE_BYTES - (uintptr_t)all % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    if (mmap(data, n, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) == MAP_FAILED) {
        int rc = lv_fail_errno(LV_ERR_MEMORY, "%s", lv_bytes_text(size, copy->n_bytes));
        munmap(all, span);
        return rc;
    }
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *end = data + (n + page - 1) / page * page;
    if (data > all) {
        munmap(all, (size_t)(data - all));
    }
    if (end < all + span) {
        munmap(end, (size_t)(all + span - end));
    }
    madvise(data, n, MADV_HUGEPAGE); /* advice: without it pages are small */
    copy->data = data;
    return LV_OK;
}

/* ---- the ranks of a host ---- */

/* returns the group's leader: its lowest local rank */
static int count_groups(lv_shared_copy *copy, const int *groups, const lv_comm *comm)
{
    int leader = -1;
    for (int r = 0; r < comm->n_local_ranks; r++) {
        bool first = true;
        for (int before = 0; before < r && first; before++) {
            first = groups[before] != groups[r];
        }
        copy->n_copies += first;
        if (groups[r] == groups[comm->local_rank]) {
            leader = leader < 0 ? r : leader;
            copy->part += r < comm->local_rank;
            copy->n_parts++;
        }
    }
    return leader;
}

static int lead(lv_shared_copy *copy, int *fd, memory_address *own, const lv_comm *comm)
{
    struct stat st;
    int rc = comm->local_rank == 0 ? check_room(copy) : LV_OK;
    if (rc == LV_OK && copy->n_parts > 1) {
        rc = create_memory(fd, copy->n_bytes);
        if (rc == LV_OK && fstat(*fd, &st) != 0) {
            rc = lv_fail_errno(LV_ERR_IO, "shared memory");
        }
        if (rc == LV_OK) *own = (memory_address){getpid(), *fd, st.st_dev, st.st_ino};
    }
    return rc < 0 ? rc : map_memory(copy, *fd);
}

/* A rank of another PID namespace finds no such process, or a process of its own by that number. */
static int open_memory(int *fd, const memory_address *at)
{
    static const char remedy[] =
        "the ranks of a host must be able to open one another's files in "
        "/proc: run them as one user and in one PID namespace (a container "
        "for each of them takes --pid=host), or set model.weights to map";
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)at->pid, (long long)at->fd);
    *fd = open(path, O_RDWR | O_CLOEXEC);
    if (*fd < 0) {
        lv_fail_errno(LV_ERR_IO, "%s", path);
        return lv_fail(LV_ERR_IO, "memory that another rank of this host shares: %s; %s",
                       lv_error_message(), remedy);
    }
    return fstat(*fd, &st) == 0 && st.st_dev == at->dev && st.st_ino == at->ino
               ? LV_OK
               : lv_fail(LV_ERR_IO,
                         "memory that another rank of this host shares: %s is another process's "
                         "file; %s",
                         path, remedy);
}

/* Collective over all ranks: each group's memory, created by its leader, mapped by all of it. */
static int share_memory(lv_shared_copy *copy, const lv_comm *comm, int leader, int *fd,
                        memory_address *addresses)
{
    memory_address own = {0};
    const bool leads = leader == comm->local_rank;
    int rc = lv_comm_agree(comm, leads ? lead(copy, fd, &own, comm) : LV_OK);
    if (rc == LV_OK) rc = lv_comm_gather_host(comm, addresses, &own, sizeof own);
    if (rc == LV_OK && !leads) {
        rc = open_memory(fd, &addresses[leader]);
        if (rc == LV_OK) rc = map_memory(copy, *fd);
    }
    return lv_comm_agree(comm, rc);
}

int lv_shared_copy_create(lv_shared_copy *out, const lv_comm *comm, int group, int64_t n_bytes)
{
    const size_t n = (size_t)comm->n_local_ranks;
    lv_shared_copy copy = {.n_bytes = n_bytes};
    int fd = -1, *groups = malloc(n * sizeof *groups);
    memory_address *addresses = malloc(n * sizeof *addresses);
    LV_CHECK(n_bytes > 0, "%lld bytes to share", (long long)n_bytes);
    int rc = lv_comm_agree(comm, groups && addresses
                                     ? LV_OK
                                     : lv_fail(LV_ERR_MEMORY, "no memory for the ranks of a host"));
    if (rc == LV_OK) rc = lv_comm_gather_host(comm, groups, &group, sizeof group);
    if (rc == LV_OK) {
        rc = share_memory(&copy, comm, count_groups(&copy, groups, comm), &fd, addresses);
    }
    if (fd >= 0) {
        close(fd); /* the mapping keeps the memory */
    }
    free(addresses);
    free(groups);
    if (rc < 0) {
        lv_shared_copy_destroy(&copy);
    } else {
        *out = copy;
    }
    return rc;
}

int lv_shared_copy_seal(const lv_shared_copy *copy)
{
    return mprotect(copy->data, (size_t)copy->n_bytes, PROT_READ) == 0
               ? LV_OK
               : lv_fail_errno(LV_ERR_IO, "protecting memory that ranks share");
}

void lv_shared_copy_destroy(lv_shared_copy *copy)
{
    if (copy->data) {
        munmap(copy->data, (size_t)copy->n_bytes);
    }
    *copy = (lv_shared_copy){0};
}
