/* SPDX-License-Identifier: Apache-2.0
 *
 * Distinct image names, numbered in the order in which they are added.
 */
#ifndef LV_DATA_PACK_NAMES_H
#define LV_DATA_PACK_NAMES_H

#include <stdint.h>

typedef struct {
    char *name;
    char *reason;         /* why the image cannot be used, NULL if it can */
    int64_t first_record; /* index of the first record that names it */
} lv_pack_name;

/* lv_pack_names: start it with {0}. */
typedef struct {
    int64_t n, capacity;
    lv_pack_name *items; /* [n] */
    int64_t n_slots;     /* a power of two */
    int64_t *slots;      /* hash table: number of the name, -1 if free */
} lv_pack_names;
void lv_pack_names_free(lv_pack_names *names);

/* lv_pack_names_add: unless it is there. fails  LV_ERR_MEMORY */
int lv_pack_names_add(lv_pack_names *names, const char *name, int64_t record);

/* lv_pack_names_find: its number, -1 if it was never added. */
int64_t lv_pack_names_find(const lv_pack_names *names, const char *name);

#endif
