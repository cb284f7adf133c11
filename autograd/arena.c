/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/arena.h"

#include "autograd/error.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static const size_t ALIGN_BYTES = 64;
static const size_t GRAIN_BYTES = (size_t)32 << 20; /* made usable at a time */

struct lv_arena {
    const char *name;
    char *base;
    size_t limit_bytes;  /* reserved addresses, a multiple of GRAIN_BYTES */
    size_t usable_bytes; /* of which may be touched */
    size_t used_bytes, peak_bytes;
};

static size_t physical_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (size_t)pages * (size_t)page_bytes : (size_t)1 << 40;
}

static size_t round_up(size_t bytes, size_t multiple)
{
    return (bytes + multiple - 1) / multiple * multiple;
}

/* Some batch systems limit a job's addresses where they mean its memory. */
static int no_addresses(const char *name, size_t n_bytes)
{
    struct rlimit limit;
    int rc = lv_fail_errno(LV_ERR_MEMORY, "%s arena: cannot reserve %zu bytes of addresses", name,
                           n_bytes);
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        rc = lv_fail(rc,
                     "%s; addresses, which take no memory, are limited to %llu bytes here: lift "
                     "that (ulimit -v unlimited)",
                     lv_error_message(), (unsigned long long)limit.rlim_cur);
    }
    return rc;
}

int lv_arena_create(lv_arena **out, const char *name, size_t limit_bytes)
{
    size_t limit = limit_bytes ? limit_bytes : physical_bytes();
    lv_arena *arena = malloc(sizeof *arena);
    if (!arena || limit > SIZE_MAX - GRAIN_BYTES) {
        free(arena);
        return lv_fail(LV_ERR_MEMORY, "%s arena: no memory", name);
    }
    limit = round_up(limit, GRAIN_BYTES);
    void *base = mmap(NULL, limit, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        int rc = no_addresses(name, limit);
        free(arena);
        return rc;
    }
    *arena = (lv_arena){.name = name, .base = base, .limit_bytes = limit};
    *out = arena;
    return 0;
}

void lv_arena_destroy(lv_arena **arena)
{
    if (!arena || !*arena) {
        return;
    }
    munmap((*arena)->base, (*arena)->limit_bytes);
    free(*arena);
    *arena = NULL;
}

static void make_usable(lv_arena *arena, size_t end)
{
    size_t usable = round_up(end, GRAIN_BYTES);
    int rc = mprotect(arena->base + arena->usable_bytes, usable - arena->usable_bytes,
                      PROT_READ | PROT_WRITE);
    LV_CHECK(rc == 0,
             "%s arena: the system gives no more memory after %zu bytes: "
             "lower train.micro_batch_tokens",
             arena->name, arena->usable_bytes);
    /* Ops walk over several arrays at once, more pages of 4 kB than a TLB holds. Advice alone: a
     * kernel without huge pages refuses it. */
    (void)madvise(arena->base + arena->usable_bytes, usable - arena->usable_bytes, MADV_HUGEPAGE);
    arena->usable_bytes = usable;
}

void *lv_arena_alloc(lv_arena *arena, size_t bytes)
{
    size_t left = arena->limit_bytes - arena->used_bytes;
    LV_CHECK(bytes <= left,
             "%s arena: %zu bytes asked for, %zu of %zu in use: lower train.micro_batch_tokens",
             arena->name, bytes, arena->used_bytes, arena->limit_bytes);
    char *result = arena->base + arena->used_bytes;
    arena->used_bytes += round_up(bytes, ALIGN_BYTES);
    if (arena->used_bytes > arena->usable_bytes) {
        make_usable(arena, arena->used_bytes);
    }
    if (arena->used_bytes > arena->peak_bytes) {
        arena->peak_bytes = arena->used_bytes;
    }
    return result;
}

size_t lv_arena_mark(const lv_arena *arena)
{
    return arena->used_bytes;
}

void lv_arena_release(lv_arena *arena, size_t mark)
{
    LV_CHECK(mark <= arena->used_bytes, "%s arena: mark %zu is above the %zu bytes in use",
             arena->name, mark, arena->used_bytes);
    arena->used_bytes = mark;
}

size_t lv_arena_peak_bytes(const lv_arena *arena)
{
    return arena->peak_bytes;
}
