/* SPDX-License-Identifier: Apache-2.0
 *
 * One sample of LLaVA's JSON: id, image (a name or a list of names; absent, null or an empty list
 * for text only), conversations, a list of {"from": "human" or "gpt", "value": text}, and perhaps
 * system_prompt. Other keys are ignored, as LLaVA does.
 */
#ifndef LV_DATA_CHAT_RECORD_H
#define LV_DATA_CHAT_RECORD_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { LV_ROLE_HUMAN, LV_ROLE_GPT } lv_role;

typedef struct {
    lv_role role;
    const char *text;
} lv_turn;

typedef struct {
    const char *id; /* a number in the file is kept as its digits; "" if there is none */
    size_t n_images;
    const char **images;
    size_t n_turns;
    lv_turn *turns;
    const char *system_prompt; /* NULL (or "" in the file) if the sample has none of its own */
} lv_record;

/* lv_record_parse: read one element of the array. The record borrows its texts from json; free it
 * with lv_record_free before json.
 * fails  LV_ERR_FORMAT: what is missing or of the wrong type */
int lv_record_parse(lv_record *out, const cJSON *json);
void lv_record_free(lv_record *record);

/* lv_record_keys: the different keys of a file's records, {0} at first; those beyond the limits are
 * left out. One that may be a misspelling of a key that is read ("images", "Conversations ") has
 * the right key in nearest, "" otherwise, and the number of records that have it, not empty,
 * without the right one. No pointers: ranks exchange it.
 * add    the keys of one element of the array, read or refused
 * merge  those of another part of the file */
enum { LV_RECORD_MAX_KEYS = 32, LV_RECORD_KEY_BYTES = 32 };
typedef struct {
    char text[LV_RECORD_KEY_BYTES], nearest[LV_RECORD_KEY_BYTES];
    int64_t n_records;
} lv_record_key;
typedef struct {
    int n;
    lv_record_key items[LV_RECORD_MAX_KEYS];
} lv_record_keys;
void lv_record_keys_add(lv_record_keys *keys, const cJSON *json);
void lv_record_keys_merge(lv_record_keys *keys, const lv_record_keys *more);

/* lv_record_keys_warning: a sentence about the misspelt ones, for a terminal. malloc'ed; NULL if
 * there are none. */
char *lv_record_keys_warning(const lv_record_keys *keys);

#endif
