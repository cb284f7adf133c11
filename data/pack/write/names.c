/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pack/write/names.h"

#include "autograd/error.h"
#include "data/base/hash.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 1024, BLOCK_BYTES = 1 << 18 };

void lv_pack_names_free(lv_pack_names *names)
{
    for (int64_t i = 0; i < names->n_blocks; i++) {
        free(names->blocks[i]);
    }
    free(names->blocks);
    free(names->items);
    free(names->slots);
    free(names->reasons);
    *names = (lv_pack_names){0};
}

static int no_memory(void)
{
    return lv_fail(LV_ERR_MEMORY, "no memory for the names of the images");
}

static uint32_t hash_of(const char *name)
{
    uint64_t hash = lv_hash_text(LV_HASH_START, name);
    return (uint32_t)(hash ^ hash >> 32);
}

/* The slot of the name, or the free one where it belongs. */
static int64_t slot_of(const lv_pack_names *names, const char *name, uint32_t hash)
{
    int64_t mask = names->n_slots - 1;
    int64_t at = (int64_t)hash & mask;
    for (; names->slots[at]; at = (at + 1) & mask) {
        const lv_pack_name *item = &names->items[names->slots[at] - 1];
        if (item->hash == hash && strcmp(item->name, name) == 0) {
            break;
        }
    }
    return at;
}

static int grow_names(lv_pack_names *names)
{
    int64_t capacity = names->capacity ? 2 * names->capacity : FIRST_CAPACITY;
    if (capacity > UINT32_MAX) {
        return lv_fail(LV_ERR_UNSUPPORTED, "more than 2^31 images");
    }
    lv_pack_name *items = realloc(names->items, (size_t)capacity * sizeof *items);
    if (items) {
        names->items = items;
    }
    uint32_t *slots = calloc((size_t)capacity * 2, sizeof *slots);
    if (!items || !slots) {
        free(slots);
        return no_memory();
    }
    free(names->slots);
    names->slots = slots;
    names->n_slots = 2 * capacity;
    names->capacity = capacity;
    for (int64_t i = 0; i < names->n; i++) {
        slots[slot_of(names, items[i].name, items[i].hash)] = (uint32_t)i + 1;
    }
    return LV_OK;
}

/* A copy of the name in the blocks; NULL if memory is out. */
static const char *keep(lv_pack_names *names, const char *name)
{
    int64_t n = (int64_t)strlen(name) + 1;
    if (n > names->n_left) {
        int64_t n_block = n > BLOCK_BYTES ? n : BLOCK_BYTES;
        char **blocks = realloc(names->blocks, ((size_t)names->n_blocks + 1) * sizeof *blocks);
        char *block = malloc((size_t)n_block);
        names->blocks = blocks ? blocks : names->blocks;
        if (!blocks || !block) {
            free(block);
            return NULL;
        }
        blocks[names->n_blocks++] = block;
        names->free_text = block;
        names->n_left = n_block;
    }
    char *copy = names->free_text;
    memcpy(copy, name, (size_t)n);
    names->free_text += n;
    names->n_left -= n;
    return copy;
}

int lv_pack_names_add(lv_pack_names *names, const char *name, int64_t record, bool leads)
{
    int rc = names->n == names->capacity ? grow_names(names) : LV_OK;
    if (rc < 0) {
        return rc;
    }
    uint32_t hash = hash_of(name);
    int64_t slot = slot_of(names, name, hash);
    if (!names->slots[slot]) {
        const char *copy = keep(names, name);
        if (!copy) {
            return no_memory();
        }
        names->items[names->n] = (lv_pack_name){.name = copy, .first_record = record, .hash = hash};
        names->slots[slot] = (uint32_t)++names->n;
    }
    names->items[names->slots[slot] - 1].n_led += leads;
    return LV_OK;
}

int64_t lv_pack_names_find(const lv_pack_names *names, const char *name)
{
    return names->n_slots ? (int64_t)names->slots[slot_of(names, name, hash_of(name))] - 1 : -1;
}

int lv_pack_names_set_reason(lv_pack_names *names, int64_t number, const char *reason)
{
    if (!names->reasons) {
        names->reasons = calloc((size_t)names->n, sizeof *names->reasons);
    }
    if (!names->reasons) {
        return no_memory();
    }
    names->reasons[number] = reason;
    return LV_OK;
}

const char *lv_pack_names_reason(const lv_pack_names *names, int64_t number)
{
    return names->reasons ? names->reasons[number] : NULL;
}
