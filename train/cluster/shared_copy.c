/* SPDX-License-Identifier: Apache-2.0 */
#include "train/cluster/shared_copy.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "train/host/memory.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HUGE_PAGE_BYTES = 2 << 20 };

/* What the ranks of a host tell each other. */
typedef struct {
    int group;
    socklen_t address_bytes;
    struct sockaddr_un address;
} member;

typedef struct {
    const lv_comm *comm;
    member *members; /* of the host, by local rank */
    member own;
    int leader; /* of the group: its lowest local rank */
    int socket, memory;
} exchange;

/* ---- sockets ---- */

/* A socket whose name the system chooses: one that no other has as long as it is open. */
static int open_socket(exchange *e)
{
    const sa_family_t family = AF_UNIX;
    e->own.address_bytes = sizeof e->own.address;
    e->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return e->socket >= 0 &&
                   bind(e->socket, (const struct sockaddr *)&family, sizeof family) == 0 &&
                   getsockname(e->socket, (struct sockaddr *)&e->own.address,
                               &e->own.address_bytes) == 0
               ? LV_OK
               : lv_fail_errno(LV_ERR_IO, "sharing memory: a Unix socket");
}

typedef union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
} control;

static int send_memory(const exchange *e, member *to)
{
    control c = {0};
    char byte = 0;
    struct iovec text = {&byte, 1};
    struct msghdr message = {.msg_name = &to->address,
                             .msg_namelen = to->address_bytes,
                             .msg_iov = &text,
                             .msg_iovlen = 1,
                             .msg_control = c.bytes,
                             .msg_controllen = sizeof c.bytes};
    c.header.cmsg_level = SOL_SOCKET;
    c.header.cmsg_type = SCM_RIGHTS;
    c.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&c.header), &e->memory, sizeof(int));
    return sendmsg(e->socket, &message, 0) == 1
               ? LV_OK
               : lv_fail_errno(LV_ERR_IO, "sharing memory: to another rank of this host");
}

/* returns the descriptor of the next message, -1 if it has none; is_leader: it is the leader's */
static int next_message(const exchange *e, bool *is_leader, int *rc)
{
    const member *leader = &e->members[e->leader];
    control c = {0};
    char byte;
    int fd = -1;
    struct sockaddr_un from = {0};
    struct iovec text = {&byte, 1};
    struct msghdr message = {.msg_name = &from,
                             .msg_namelen = sizeof from,
                             .msg_iov = &text,
                             .msg_iovlen = 1,
                             .msg_control = c.bytes,
                             .msg_controllen = sizeof c.bytes};
    if (recvmsg(e->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0) {
        *rc = lv_fail_errno(LV_ERR_IO, "sharing memory: from rank %d of this host", e->leader);
        return fd;
    }
    if (message.msg_controllen >= CMSG_LEN(sizeof fd) && c.header.cmsg_type == SCM_RIGHTS) {
        memcpy(&fd, CMSG_DATA(&c.header), sizeof fd);
    }
    *is_leader = message.msg_namelen == leader->address_bytes &&
                 memcmp(&from, &leader->address, leader->address_bytes) == 0;
    return fd;
}

/* Takes the leader's message, which is there; what others may have sent is dropped. */
static int receive_memory(exchange *e)
{
    bool is_leader = false;
    int rc = LV_OK;
    while (rc == LV_OK && !is_leader) {
        int fd = next_message(e, &is_leader, &rc);
        if (is_leader) {
            e->memory = fd;
        } else if (fd >= 0) {
            close(fd);
        }
    }
    return rc == LV_OK && e->memory < 0
               ? lv_fail(LV_ERR_IO, "sharing memory: the descriptor was lost; too many open files?")
               : rc;
}

/* ---- memory ---- */

/* Is there room for what all groups of the host want? One rank asks. */
static int check_room(const lv_shared_copy *copy)
{
    char want[32], have[32];
    const int64_t left = lv_memory_left("/proc/meminfo", "/proc/self/cgroup", "/sys/fs/cgroup");
    return copy->n_bytes <= left / copy->n_copies
               ? LV_OK
               : lv_fail(LV_ERR_MEMORY, "%d x %s, but this host has %s of memory left",
                         copy->n_copies, lv_bytes_text(want, copy->n_bytes),
                         lv_bytes_text(have, left));
}

static int create_memory(int *fd, int64_t n_bytes)
{
    char want[32];
    *fd = memfd_create("llava-frozen-weights", MFD_CLOEXEC);
    return *fd >= 0 && ftruncate(*fd, (off_t)n_bytes) == 0
               ? LV_OK
               : lv_fail_errno(LV_ERR_MEMORY, "%s of shared memory", lv_bytes_text(want, n_bytes));
}

/* Maps fd, or memory of this process alone if it is -1, where huge pages can be. */
static int map_memory(lv_shared_copy *copy, int fd)
{
    char want[32];
    const size_t n = (size_t)copy->n_bytes, span = n + HUGE_PAGE_BYTES;
    char *all = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) {
        return lv_fail_errno(LV_ERR_MEMORY, "%s", lv_bytes_text(want, copy->n_bytes));
    }
    char *data = all + (HUGE_PAGE_BYTES - (uintptr_t)all % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    if (mmap(data, n, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) == MAP_FAILED) {
        int rc = lv_fail_errno(LV_ERR_MEMORY, "%s", lv_bytes_text(want, copy->n_bytes));
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

/* ---- all of it ---- */

static int begin(exchange *e)
{
    e->members = calloc((size_t)e->comm->n_local_ranks, sizeof *e->members);
    return !e->members ? lv_fail(LV_ERR_MEMORY, "no memory for the ranks of a host")
           : e->comm->n_local_ranks > 1 ? open_socket(e)
                                        : LV_OK;
}

static void find_group(exchange *e, lv_shared_copy *copy)
{
    e->leader = -1;
    for (int r = 0; r < e->comm->n_local_ranks; r++) {
        bool first = true;
        for (int before = 0; before < r && first; before++) {
            first = e->members[before].group != e->members[r].group;
        }
        copy->n_copies += first;
        if (e->members[r].group == e->own.group) {
            e->leader = e->leader < 0 ? r : e->leader;
            copy->part += r < e->comm->local_rank;
            copy->n_parts++;
        }
    }
}

/* The leader's part: memory, and word of it to the others. */
static int lead(exchange *e, lv_shared_copy *copy)
{
    int rc = e->comm->local_rank == 0 ? check_room(copy) : LV_OK;
    if (rc == LV_OK && copy->n_parts > 1) {
        rc = create_memory(&e->memory, copy->n_bytes);
    }
    if (rc == LV_OK) rc = map_memory(copy, e->memory);
    for (int r = e->leader + 1; rc == LV_OK && r < e->comm->n_local_ranks; r++) {
        if (e->members[r].group == e->own.group) {
            rc = send_memory(e, &e->members[r]);
        }
    }
    return rc;
}

static int follow(exchange *e, lv_shared_copy *copy)
{
    int rc = receive_memory(e);
    return rc < 0 ? rc : map_memory(copy, e->memory);
}

int lv_shared_copy_create(lv_shared_copy *out, const lv_comm *comm, int group, int64_t n_bytes)
{
    lv_shared_copy copy = {.n_bytes = n_bytes};
    exchange e = {.comm = comm, .own.group = group, .socket = -1, .memory = -1};
    LV_CHECK(n_bytes > 0, "%lld bytes to share", (long long)n_bytes);
    int rc = lv_comm_agree(comm, begin(&e));
    if (rc == LV_OK) rc = lv_comm_gather_host(comm, e.members, &e.own, sizeof e.own);
    if (rc < 0) {
        goto done;
    }
    find_group(&e, &copy);
    const bool leads = e.leader == comm->local_rank;
    rc = lv_comm_agree(comm, leads ? lead(&e, &copy) : LV_OK);
    if (rc == LV_OK) rc = lv_comm_agree(comm, leads ? LV_OK : follow(&e, &copy));
done:
    if (e.socket >= 0) {
        close(e.socket);
    }
    if (e.memory >= 0) {
        close(e.memory); /* the mapping holds it */
    }
    free(e.members);
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
