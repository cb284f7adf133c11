/* SPDX-License-Identifier: Apache-2.0
 *
 * Distinct image names, numbered in the order in which they are added. Memory: up to 64 bytes an
 * image beside the name.
 */
#ifndef LV_DATA_PACK_WRITE_NAMES_H
#define LV_DATA_PACK_WRITE_NAMES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *name;
    int64_t first_record; /* index of the first record that names it */
    uint32_t hash;
    uint32_t n_led; /* records with it as their first image */
} lv_pack_name;

/* lv_pack_names: start it with {0}. */
typedef struct {
    int64_t n, capacity;
    lv_pack_name *items; /* [n] */
    int64_t n_slots;     /* a power of two */
    uint32_t *slots;     /* hash table: 1 + number of the name, 0 if free */
    char **blocks;       /* the texts of the names */
    int64_t n_blocks;
    int64_t n_left; /* bytes free in the last block */
    char *free_text;
    const char **reasons; /* [n] why an image cannot be used, NULL if it can; or NULL: all can */
} lv_pack_names;
void lv_pack_names_free(lv_pack_names *names);

/* lv_pack_names_add: unless it is there; leads: it is the first image of that record.
 * fails  LV_ERR_MEMORY */
int lv_pack_names_add(lv_pack_names *names, const char *name, int64_t record, bool leads);

/* lv_pack_names_find: its number, -1 if it was never added. */
int64_t lv_pack_names_find(const lv_pack_names *names, const char *name);

/* lv_pack_names_set_reason: once all names are added; the text is borrowed.
 * fails  LV_ERR_MEMORY */
int lv_pack_names_set_reason(lv_pack_names *names, int64_t number, const char *reason);
const char *lv_pack_names_reason(const lv_pack_names *names, int64_t number);

#endif
