/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of a template: lists for the text before, around, between and after the turns, each
 * part learnt or not. template_table.c holds the built-in ones, template_file.c reads others from
 * JSON, template.c fills them in.
 */
#ifndef LV_DATA_CHAT_TEMPLATE_TABLE_H
#define LV_DATA_CHAT_TEMPLATE_TABLE_H

#include "data/chat/template.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum {
    LV_PART_END,
    LV_PART_TEXT,   /* the text of the table */
    LV_PART_PIECE,  /* the tokenizer's piece of that name; its name as text if there is none */
    LV_PART_SYSTEM, /* the record's system prompt, or the template's */
    LV_PART_TURN,   /* the turn's text with its <image> marks */
    LV_PART_MARKS,  /* the turn's <image> marks alone */
    LV_PART_EOS,
    LV_PART_BOS,
} lv_part_kind;

typedef struct {
    lv_part_kind kind;
    const char *text; /* of TEXT and PIECE */
    bool learnt;
    int64_t learnt_tokens; /* > 0: of a learnt TEXT so many tokens, the first ones, alone */
} lv_part;

enum { LV_TEMPLATE_MAX_PARTS = 12, LV_TEMPLATE_NAME_BYTES = 128 };

/* A list that is shorter than the array ends with a part of kind END. */
struct lv_template {
    const char *name;
    char id[LV_TEMPLATE_NAME_BYTES]; /* the result of lv_template_name */
    const char *system;
    const char *stop;
    lv_part opening[LV_TEMPLATE_MAX_PARTS];
    lv_part human[LV_TEMPLATE_MAX_PARTS];
    lv_part human_empty[LV_TEMPLATE_MAX_PARTS]; /* a human turn without text; if none, human */
    lv_part gpt[LV_TEMPLATE_MAX_PARTS];
    lv_part between[LV_TEMPLATE_MAX_PARTS]; /* before every human turn but the first */
    lv_part closing[LV_TEMPLATE_MAX_PARTS];
    lv_part question[LV_TEMPLATE_MAX_PARTS]; /* at inference: all of the prompt */
    bool is_caption; /* two turns; the human's holds nothing but the image */
    bool free_turns; /* in any order, empty ones too */
    cJSON *file;     /* owns the texts of a template that was read from a file */
};

/* All of the lists. */
typedef struct {
    const char *key; /* in a file */
    size_t offset;   /* in lv_template */
} lv_part_list;
enum { LV_TEMPLATE_N_LISTS = 7 };
extern const lv_part_list LV_TEMPLATE_LISTS[LV_TEMPLATE_N_LISTS];

/* lv_template_builtin: NULL if there is none of that name. lv_template_builtin_names: "a, b, c". */
const lv_template *lv_template_builtin(const char *name);
void lv_template_builtin_names(char *text, size_t n);

/* lv_template_file_read: into a zeroed template, which lv_template_close frees also after a
 * failure.
 * fails  LV_ERR_IO, LV_ERR_FORMAT with the file and the key, LV_ERR_MEMORY */
int lv_template_file_read(lv_template *out, const char *path);

#endif
