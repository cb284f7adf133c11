/* SPDX-License-Identifier: Apache-2.0
 *
 * One sample of LLaVA's JSON: id, image (a name or a list of names; absent, null or an empty list
 * for text only), conversations, a list of {"from": "human" or "gpt", "value": text}, and perhaps
 * system_prompt. Other keys are ignored, as LLaVA does, but for one that is a known key misspelt
 * ("images", "Conversations ") where the known one is missing.
 */
#ifndef LV_DATA_CHAT_RECORD_H
#define LV_DATA_CHAT_RECORD_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

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
 * fails  LV_ERR_FORMAT: what is missing, misspelt or of the wrong type */
int lv_record_parse(lv_record *out, const cJSON *json);
void lv_record_free(lv_record *record);

#endif
