/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pack_names.h"

#include "autograd/error.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 1024 };

void lv_pack_names_free(lv_pack_names *names)
{
    for (int64_t i = 0; i < names->n; i++) {
        free(names->names[i]);
        free(names->reasons[i]);
    }
    free(names->names);
    free(names->reasons);
    free(names->first_record);
    free(names->slots);
    *names = (lv_pack_names){0};
}

/* FNV-1a, 64 bits (Fowler, Noll, Vo). */
static uint64_t hash_of(const char *text)
{
    uint64_t hash = 14695981039346656037U;
    for (; *text; text++) {
        hash = (hash ^ (unsigned char)*text) * 1099511628211U;
    }
    return hash;
}

/* The slot of the name, or the free one where it belongs. */
static int64_t slot_of(const lv_pack_names *names, const char *name)
{
    int64_t mask = names->n_slots - 1;
    int64_t at = (int64_t)(hash_of(name) & (uint64_t)mask);
    while (names->slots[at] >= 0 && strcmp(names->names[names->slots[at]], name) != 0) {
        at = (at + 1) & mask;
    }
    return at;
}

static bool grow_array(void *array, int64_t n, size_t element_bytes)
{
    void **place = array;
    void *grown = realloc(*place, (size_t)n * element_bytes);
    if (grown) {
        *place = grown;
    }
    return grown != NULL;
}

static int grow(lv_pack_names *names)
{
    int64_t capacity = names->capacity ? 2 * names->capacity : FIRST_CAPACITY;
    if (!grow_array(&names->names, capacity, sizeof *names->names) ||
        !grow_array(&names->reasons, capacity, sizeof *names->reasons) ||
        !grow_array(&names->first_record, capacity, sizeof *names->first_record) ||
        !grow_array(&names->slots, 2 * capacity, sizeof *names->slots)) {
        return lv_fail(LV_ERR_MEMORY, "no memory for the names of the images");
    }
    names->capacity = capacity;
    names->n_slots = 2 * capacity;
    memset(names->slots, 0xFF, (size_t)names->n_slots * sizeof *names->slots);
    for (int64_t i = 0; i < names->n; i++) {
        names->slots[slot_of(names, names->names[i])] = i;
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
    names->names[names->n] = copy;
    names->reasons[names->n] = NULL;
    names->first_record[names->n] = record;
    names->slots[slot] = names->n++;
    return LV_OK;
}

int64_t lv_pack_names_find(const lv_pack_names *names, const char *name)
{
    return names->n_slots ? names->slots[slot_of(names, name)] : -1;
}
