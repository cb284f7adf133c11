/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pack_names.h"

#include "autograd/error.h"
#include "data/hash.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 1024 };

void lv_pack_names_free(lv_pack_names *names)
{
    for (int64_t i = 0; i < names->n; i++) {
        free(names->items[i].name);
        free(names->items[i].reason);
    }
    free(names->items);
    free(names->slots);
    *names = (lv_pack_names){0};
}

/* The slot of the name, or the free one where it belongs. */
static int64_t slot_of(const lv_pack_names *names, const char *name)
{
    int64_t mask = names->n_slots - 1;
    int64_t at = (int64_t)(lv_hash_text(LV_HASH_START, name) & (uint64_t)mask);
    while (names->slots[at] >= 0 && strcmp(names->items[names->slots[at]].name, name) != 0) {
        at = (at + 1) & mask;
    }
    return at;
}

static int grow(lv_pack_names *names)
{
    int64_t capacity = names->capacity ? 2 * names->capacity : FIRST_CAPACITY;
    lv_pack_name *items = realloc(names->items, (size_t)capacity * sizeof *items);
    if (items) {
        names->items = items;
    }
    int64_t *slots = malloc((size_t)capacity * 2 * sizeof *slots);
    if (!items || !slots) {
        free(slots);
        return lv_fail(LV_ERR_MEMORY, "no memory for the names of the images");
    }
    free(names->slots);
    names->slots = slots;
    names->n_slots = 2 * capacity;
    names->capacity = capacity;
    memset(slots, 0xFF, (size_t)names->n_slots * sizeof *slots);
    for (int64_t i = 0; i < names->n; i++) {
        slots[slot_of(names, items[i].name)] = i;
    }
    return LV_OK;
}

int lv_pack_names_add(lv_pack_names *names, const char *name, int64_t record)
{
    int rc = names->n == names->capacity ? grow(names) : LV_OK;
    if (rc < 0) {
        return rc;
    }
    int64_t slot = slot_of(names, name);
    if (names->slots[slot] >= 0) {
        return LV_OK;
    }
    char *copy = strdup(name);
    if (!copy) {
        return lv_fail(LV_ERR_MEMORY, "no memory for the names of the images");
    }
    names->items[names->n] = (lv_pack_name){.name = copy, .first_record = record};
    names->slots[slot] = names->n++;
    return LV_OK;
}

int64_t lv_pack_names_find(const lv_pack_names *names, const char *name)
{
    return names->n_slots ? names->slots[slot_of(names, name)] : -1;
}
