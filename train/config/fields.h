/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys of the configuration, as a table. For config.c alone.
 */
#ifndef LV_TRAIN_CONFIG_FIELDS_H
#define LV_TRAIN_CONFIG_FIELDS_H

#include "train/config/config.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum {
    KIND_PATH,   /* const char * */
    KIND_TEXT,   /* const char * */
    KIND_PACKS,  /* lv_config_packs; min and max of a weight, 0: none may be given */
    KIND_TEXTS,  /* lv_text_list */
    KIND_INT,    /* int64_t */
    KIND_REAL,   /* double */
    KIND_BETAS,  /* two doubles */
    KIND_BOOL,   /* bool */
    KIND_CHOICE, /* an enum that begins at 0, or a bool: the index in choices */
    KIND_LAYER,  /* int64_t, null is LV_LAYER_NOT_GIVEN */
} lv_config_kind;

/* Whether the value may change when a run is resumed. */
typedef enum { MAY_DIFFER, MUST_MATCH } lv_config_on_resume;

typedef struct {
    const char *key;
    lv_config_kind kind;
    size_t offset, size;
    lv_config_on_resume on_resume;
    const char *preset;     /* JSON; NULL: the key must be given */
    double min, max;        /* of numbers */
    const char *choices[4]; /* of KIND_CHOICE */
} lv_config_field;

#define LV_CONFIG_NO_MAX 9007199254740992.0 /* 2^53: a bound that messages do not name */

extern const lv_config_field lv_config_fields[];
extern const size_t lv_config_n_fields;

/* lv_config_find: the field of a key, "a.b.c"; NULL if there is none. */
const lv_config_field *lv_config_find(const char *key);

/* lv_config_is_section: whether keys begin with this one and a dot. */
bool lv_config_is_section(const char *key);

/* lv_config_list_keys: the names in a section ("" for all sections), for a message. */
enum { LV_CONFIG_LIST_BYTES = 512 };
void lv_config_list_keys(char list[LV_CONFIG_LIST_BYTES], const char *section);

/* lv_config_store: check a value and put it into the configuration, which borrows its texts.
 * fails  LV_ERR_CONFIG with the key, what was expected and what was found */
int lv_config_store(lv_config *config, const lv_config_field *f, const cJSON *item);

#endif
