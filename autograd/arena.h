/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_arena: memory handed out by moving one pointer up, given back all at once or down to a mark.
 * The address range is reserved once and made usable as it is needed, so pointers never move and
 * no allocation happens inside a step once the largest step has been seen.
 */
#ifndef LV_AUTOGRAD_ARENA_H
#define LV_AUTOGRAD_ARENA_H

#include <stddef.h>

typedef struct lv_arena lv_arena;

/* lv_arena_create: reserve an address range; no memory is used yet.
 * in     name: for messages, a string literal; limit_bytes: 0 = this machine's physical memory
 * fails  LV_ERR_MEMORY */
int lv_arena_create(lv_arena **out, const char *name, size_t limit_bytes);
void lv_arena_destroy(lv_arena **arena);

/* lv_arena_alloc: 64-byte aligned, not cleared; owned by the arena.
 * fails  ends the job with a message that names the arena and what was asked for */
void *lv_arena_alloc(lv_arena *arena, size_t bytes);

/* lv_arena_mark / lv_arena_release: everything allocated after the mark is gone. */
size_t lv_arena_mark(const lv_arena *arena);
void lv_arena_release(lv_arena *arena, size_t mark);

/* lv_arena_peak_bytes: the most that was in use at once. */
size_t lv_arena_peak_bytes(const lv_arena *arena);

#endif
